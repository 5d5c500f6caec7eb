"""Alternatives to ingredients of the agent's world model, for the ablation.

Each is a world model that differs from the agent's in one respect. They are here and not in the agent
because none was significantly better in both environments (`benchmarks.model.ablation`).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.distributions import Normal, kl_divergence
from agent.networks import mlp
from agent.types import Batch
from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.engine.random_shifts import shifted

Loss = tuple[Tensor, dict[str, Tensor]]
Shape = tuple[int, int, int]


class OpenLoopRewardsAlone(WorldModel):
    """Without the open-loop term's KL."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """See `WorldModel.loss`."""
        loss, metrics = super().loss(batch, generator)
        return loss - self.config.open_loop_weight * metrics["open_loop_kl"], metrics


class OpenLoopLatentsAlone(WorldModel):
    """Without the open-loop term's rewards."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """See `WorldModel.loss`."""
        loss, metrics = super().loss(batch, generator)
        return loss + self.config.open_loop_weight * metrics["open_loop_log_p_rewards"], metrics


class FreeNats(WorldModel):
    """The KL counts only above 3 nats per step (arXiv 1811.04551)."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """See `WorldModel.loss`."""
        loss, metrics = super().loss(batch, generator)
        return loss + metrics["kl"].clamp(min=3.0) - metrics["kl"], metrics


class BalancedKL(WorldModel):
    """The KL trains the transition four times as hard as the posterior (arXiv 2010.02193)."""

    def divergence(self, q: Normal, p: Normal) -> Tensor:
        """See `WorldModel.divergence`."""
        fixed_q = Normal(q.mean.detach(), q.std.detach())
        fixed_p = Normal(p.mean.detach(), p.std.detach())
        return 0.8 * kl_divergence(fixed_q, p) + 0.2 * kl_divergence(q, fixed_p)


class Overshooting(WorldModel):
    """The open-loop term from every step of a window, not only from its first (arXiv 1811.04551)."""

    def open_loop(
        self, q: Normal, p: Normal, z: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """See `WorldModel.open_loop`."""
        B, T = batch.mask.shape
        log_p, divergence = batch.mask.new_zeros(()), batch.mask.new_zeros(())
        rolled = z
        for distance in range(1, T):
            rolled = rolled[:, :-1]
            rows = rolled.flatten(0, 1)
            action = batch.actions[:, distance - 1 :].flatten(0, 1)
            density = self.transition(rows, action)
            rolled = density.sample(generator).view(B, T - distance, -1)
            told = self.outcome_inputs(rolled)
            log_p = log_p + self.log_p_rewards(told, batch, slice(distance, None)).sum() / (T - 1)
            if distance > 1:
                later = Normal(q.mean[:, distance:].flatten(0, 1), q.std[:, distance:].flatten(0, 1))
                kl = kl_divergence(later, density).view(B, -1) * batch.mask[:, distance:]
                divergence = divergence + kl.sum() / (T - 1)
        return log_p, divergence


class RandomShifts(WorldModel):
    """Each window is shifted by up to two pixels, repeating its edges (arXiv 2004.13649)."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """See `WorldModel.loss`."""
        frames = batch.frames.permute(0, 2, 3, 1, 4)  # (B, H, W, T, C)
        frames = shifted(frames, 2, generator)
        return super().loss(
            batch._replace(frames=frames.permute(0, 3, 1, 2, 4).contiguous()), generator
        )


class Ensemble(WorldModel):
    """Five transition networks, each trained on a fifth of the rows; planning takes their mean."""

    def __init__(self, shape: Shape, action_size: int, config: WorldModelConfig) -> None:
        super().__init__(shape, action_size, config)
        sizes = config.latent_dim + action_size, config.hidden_dim, 2 * config.latent_dim
        self.transition_net = _Ensemble(*sizes)


class _Ensemble(nn.Module):
    def __init__(self, size_in: int, width: int, size_out: int, members: int = 5) -> None:
        super().__init__()
        self.members = nn.ModuleList(mlp(size_in, width, size_out) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        outputs = torch.stack([member(x) for member in self.members])
        if not torch.is_grad_enabled():
            return outputs.mean(0)
        rows = torch.arange(len(x))
        return outputs[rows % len(outputs), rows]


class ConvolutionalEncoder(WorldModel):
    """Strided convolutions and a linear layer instead of keypoints (as in arXiv 1803.10122)."""

    def __init__(self, shape: Shape, action_size: int, config: WorldModelConfig) -> None:
        super().__init__(shape, action_size, config)
        self.encoder = _Convolutions(shape, config.num_keypoints)


class _Convolutions(nn.Module):
    def __init__(self, shape: Shape, features: int) -> None:
        super().__init__()
        sizes = (shape[2], 16, 32, 64)
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Conv2d(size_in, size_out, 4, stride=2, padding=1), nn.SiLU()]
        size = 64 * (shape[0] // 8) * (shape[1] // 8)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, features))

    def initialise(self, frames: Tensor) -> None:
        """There is nothing to fit before training."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames.permute(0, 3, 1, 2))


class WithoutWhitening(WorldModel):
    """The keypoint encoder at its random initialisation, without scaling or whitening."""

    def initialise_encoder(self, frames: Tensor) -> None:
        """Nothing."""


class ConvolutionalDecoder(WorldModel):
    """Transposed convolutions that render an image, instead of separable products."""

    def __init__(self, shape: Shape, action_size: int, config: WorldModelConfig) -> None:
        super().__init__(shape, action_size, config)
        self.decoder = _Deconvolutions(shape, config.latent_dim)


class _Deconvolutions(nn.Module):
    def __init__(self, shape: Shape, latents: int) -> None:
        super().__init__()
        self.height, self.width = shape[0] // 8, shape[1] // 8
        self.start = nn.Linear(latents, 64 * self.height * self.width)
        layers: list[nn.Module] = []
        for size_in, size_out in ((64, 32), (32, 16)):
            layers += [nn.ConvTranspose2d(size_in, size_out, 4, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(16, shape[2], 4, stride=2, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        images = F.silu(self.start(z)).view(len(z), 64, self.height, self.width)
        return self.layers(images).permute(0, 2, 3, 1)

    def squared_error(self, z: Tensor, frames: Tensor) -> Tensor:
        """‖frame − image(z)‖²."""
        return (frames - self(z)).square().sum((1, 2, 3))
