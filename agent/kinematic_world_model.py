"""A world model of positions and velocities: z_t = (y_t, v_t), for tasks in which things have momentum.

    y_t: positions, read from a frame                      (`agent.positions`)
    p(v_t | z_{t−1}, a_{t−1}) = N(B (v_{t−1}, a_{t−1}) + f(z_{t−1}, a_{t−1}), σ(z_{t−1}, a_{t−1})²)
    p(y_t | z_{t−1}, a_{t−1}): mean y_{t−1} + S v_t, where S are typical speeds
    q(z_t | x_t, x_{t−1}, z_{t−1}, a_{t−1}): evidence of y_t from a frame and of v_t from two frames,
                                             weighed against the prediction as in a Kalman filter

Positions, speeds, B and the precision of the evidence are computed in closed form from the first
episodes. Only f, σ, the decoder, rewards and ends are trained. All but the decoder see few numbers, so
that they are trained on many remembered steps for the price of a few frames.

In all else this is the sequential VAE of `agent.world_model`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from agent.config import NonNegative, Positive, Width
from agent.distributions import Normal, kl_divergence, product
from agent.episodic_world_model import EpisodicWorldModel
from agent.networks import mlp, ridge
from agent.novelty import bonus
from agent.positions import LEAST_READ, Positions
from agent.posteriors import inverse_softplus
from agent.types import Batch
from agent.world_model import WorldModelConfig

LEAST_STD = 0.03  # of a predicted velocity, in typical speeds
LEAST_SPEED = 1e-2  # positions have unit variance
MOST_SPEED = 6.0  # typical speeds: faster is not imagined
REMEMBERED = 16_384  # steps
REHEARSED = 512  # of these, in each update
KERNEL = 0.5  # std of the density of states, for their novelty; typical positions and speeds
UNSEEN_STD = 100.0  # of evidence of a velocity from one frame


@dataclass(frozen=True)
class KinematicWorldModelConfig(WorldModelConfig):
    """Those of the sequential VAE, with other defaults.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    latent_dim: Width = 12
    """Twice the largest number of positions; even. Fewer are used where fewer are found."""
    hidden_dim: Width = 96
    reward_std: Positive = 0.1
    """As in the sequential VAE; smaller, as a small part of the rewards may decide."""
    open_loop_weight: NonNegative = 0.0
    """As in the sequential VAE. Not needed, as the transition is fitted to remembered steps."""
    continuation: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.posterior != "filter":
            raise ValueError(f"posterior: got {self.posterior!r}, allowed: 'filter'")
        if self.latent_dim % 2 != 0:
            raise ValueError(f"latent_dim: got {self.latent_dim}, allowed: an even number")


class KinematicWorldModel(EpisodicWorldModel):
    """The sequential VAE with z = (positions, velocities).

    Args:
        frame_shape: (H, W, C) of a frame.
        action_size: A.
        config: sizes and scales.
    """

    config_type = KinematicWorldModelConfig
    initial_length = 16
    training_buffers = ("remembered", "num_remembered")
    remembered: Tensor
    num_remembered: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: KinematicWorldModelConfig | None = None,
    ) -> None:
        config = config or KinematicWorldModelConfig()
        super().__init__(frame_shape, action_size, config)
        latents, self.num_positions = config.latent_dim, config.latent_dim // 2
        self.encoder = Positions(frame_shape, self.num_positions)
        self.posterior = KinematicPosterior(self.num_positions)
        self.drive = nn.Linear(self.num_positions + action_size, self.num_positions, bias=False)
        self.drive.requires_grad_(False)
        self.transition_net = mlp(latents + action_size, config.hidden_dim, latents)
        self.reward_net = mlp(latents, config.hidden_dim, 2)
        row = 2 * latents + action_size + self.num_positions + 2
        self.register_buffer("remembered", torch.zeros(REMEMBERED, row))
        self.register_buffer("num_remembered", torch.tensor(0))

    # ---- the densities -------------------------------------------------------------------------

    @torch.no_grad()
    def _features(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """Positions."""
        return self.encoder(frames + self.mean_frame)

    @torch.no_grad()  # it is trained by `further_loss` alone
    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1}); see the module's docstring."""
        read, speed = self.read_velocity(z, action), self.posterior.speed
        mean = torch.cat([z[:, : self.num_positions] + speed * read.mean, read.mean], -1)
        variance = read.std.square() - self.posterior.velocity_std.square()
        std = variance.clamp(min=LEAST_STD**2).sqrt()
        return Normal(mean, torch.cat([speed * std, std], -1))

    def read_velocity(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """The velocity that the next frame will show, (N, K), in typical speeds: v_t and noise."""
        mean, raw = self.transition_net(torch.cat([z, action], -1)).chunk(2, -1)
        mean = mean + self.drive(torch.cat([z[:, self.num_positions :], action], -1))
        mean = mean.clamp(-MOST_SPEED, MOST_SPEED) * self.posterior.used
        return Normal(mean, F.softplus(raw - 1.0) + LEAST_STD)

    def divergence(self, q: Normal, p: Normal) -> Tensor:
        """KL[q ‖ p], of which neither is trained by it."""
        return kl_divergence(q, p).detach()

    # ---- learning ------------------------------------------------------------------------------

    def further_loss(
        self, features: Tensor, q: Normal, batch: Batch, generator: torch.Generator | None
    ) -> Tensor:
        """−log p(v_t | z_{t−1}, a_{t−1}) and −log p(r_t, c_t | z_t) of remembered steps, means, nats.

        The velocities that are predicted are those read from frames, and not those of the filter: a
        filter that trusts its predictions too much would confirm them. So the std that is learned
        contains the noise of reading, which `transition` takes out again.
        """
        if torch.is_grad_enabled():
            self._remember(features.view(*batch.mask.shape, -1), q.mean, batch)
        count = min(int(self.num_remembered), REMEMBERED)
        if count == 0:
            return q.mean.new_zeros(())
        chosen = torch.randint(count, (REHEARSED,), generator=generator, device=q.mean.device)
        latents, positions = self.latent_dim, self.num_positions
        sizes = [latents, self.action_size, positions, latents, 1, 1]
        z, action, read, after, reward, continues = self.remembered[chosen].split(sizes, -1)
        shown = self.read_velocity(z, action)
        error = ((read - shown.mean) / shown.std).square() / 2 + shown.std.log()
        motion = (error * self.posterior.used).sum(-1)
        return (motion + self.outcome_loss(after, reward, continues)).mean()

    @torch.no_grad()
    def _remember(self, positions: Tensor, z: Tensor, batch: Batch) -> None:
        """Store the steps of a batch whose velocities are known, in place of the oldest ones."""
        mask = batch.mask.bool()
        steps = mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2]
        if not steps.any():
            return
        read = positions.diff(dim=1)[:, 1:] / self.posterior.speed
        told = torch.stack([batch.rewards, batch.continues], -1)[:, 2:]
        rows = torch.cat([z[:, 1:-1], batch.actions[:, 1:], read, z[:, 2:], told], -1)[steps]
        rows = rows[-REMEMBERED:]
        at = (self.num_remembered + torch.arange(len(rows), device=rows.device)) % REMEMBERED
        self.remembered[at] = rows
        self.num_remembered += len(rows)

    # ---- initialisation ------------------------------------------------------------------------

    def initialise_encoder(self, frames: Float[Tensor, "N H W C"]) -> None:
        """Nothing: `initialise` does more than whitening."""

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Identify positions and speeds, and fit the linear part of the transition."""
        super().initialise(batch)
        mask, posterior = batch.mask.bool(), self.posterior
        found = self.encoder.identify(batch.frames.float() / 255, mask)
        posterior.used.copy_(found.used)
        posterior.read_std.copy_(found.read_std)
        change = found.positions.diff(dim=1)
        pairs = mask[:, 1:] & mask[:, :-1]
        if not pairs.any():
            return
        posterior.speed.copy_(change[pairs].square().mean(0).sqrt().clamp(min=LEAST_SPEED))
        velocity = change / posterior.speed
        steps = pairs[:, 1:] & pairs[:, :-1]
        if not steps.any():
            return
        inputs = torch.cat([velocity[:, :-1], batch.actions[:, 1:]], -1)[steps]
        after = velocity[:, 1:][steps]
        weights = ridge(inputs, after)
        self.drive.weight.copy_(weights.T)
        last, std = self.transition_net[-1], (after - inputs @ weights).square().mean(0).sqrt()
        assert isinstance(last, nn.Linear)
        last.weight.mul_(0.1)
        last.bias[: len(std)] = 0
        last.bias[len(std) :] = inverse_softplus((std - LEAST_STD).clamp(min=0.01)) + 1.0

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """See `agent.novelty`; of positions and velocities."""
        if self.rewarded:
            return None
        count = min(int(self.num_remembered), REMEMBERED)
        used = self.posterior.used.repeat(2)
        return bonus(self.remembered[:count, : self.latent_dim] * used, KERNEL)


class KinematicPosterior(nn.Module):
    """q(z_t): a frame's evidence of positions, and two frames' of velocities, weighed with the prior.

    Its memory is the last frame's positions, and whether there was one.

    Args:
        count: K, number of positions.
    """

    used: Tensor
    read_std: Tensor
    speed: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.memory_size = count, count + 1
        self.register_buffer("used", torch.zeros(count, dtype=torch.bool))  # the others are always 0
        self.register_buffer("read_std", torch.full((count,), LEAST_READ))
        self.register_buffer("speed", torch.ones(count))  # RMS of a position's step

    @property
    def velocity_std(self) -> Float[Tensor, "K"]:  # noqa: F821 - a shape, not a name
        """How exactly velocities are read from two frames."""
        return math.sqrt(2) * self.read_std / self.speed

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See `agent.posteriors`; the features are those of `KinematicWorldModel.features`."""
        last, known = memory.split([self.count, 1], -1)
        velocity = (features - last) / self.speed
        velocity_std = torch.where(known > 0, self.velocity_std, UNSEEN_STD)
        stds = self.read_std.expand_as(features), velocity_std
        evidence = Normal(torch.cat([features, velocity], -1), torch.cat(stds, -1))
        return product(prior, evidence), torch.cat([features, torch.ones_like(known)], -1)
