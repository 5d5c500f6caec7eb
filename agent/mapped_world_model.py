"""A world model whose state holds a static map beside what moves: z_t = (m_t, s_t).

    p(z_t | z_{t−1}, a_{t−1}) = p(m_t | m_{t−1}, a_{t−1}, surroundings of m_{t−1} on s_{t−1})
                                · N(s_t; s_{t−1}, σ_s² I)
    p(x_t | z_t): mean = mean frame + decoder(m_t) + image(s_t)
    p(r_t | z_t): mean = f(m_t, landmarks of image(s_1))

It is the sequential VAE of `agent.world_model` in all else, with the same ELBO. The map's densities
are fixed once the first episodes were seen (`agent.static_map`), so only m is learned by gradients.
`pointer`, a linear function of m, says where on the map the robot is. It, the encoder and the linear
part of the transition begin as least squares fits to the first episodes, so that the first gradient
steps do not have to find the robot, and training moves the encoder only slowly away from there.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.distributions import Normal, kl_divergence, product
from agent.networks import KeypointEncoder, SeparableDecoder, mlp
from agent.posteriors import MIN_STD, FilterPosterior, RecurrentPosterior, inverse_softplus, normal
from agent.static_map import StaticMap
from agent.types import Batch, Step
from agent.world_model import WorldModel, WorldModelConfig

MAP_CHANNELS = 8
LANDMARKS = 8  # features of the static image that rewards depend on
MAP_STD = 0.1  # of a frame's evidence of the map; its numbers have unit scale
MAP_DRIFT = 0.05  # σ_s
POINTER_SCALE = 2.0  # std of the two latents that tell the position: others have 1, for a coarser use
ENCODER_RATE = 0.1  # learning rate of the encoder, relative to the others
EVIDENCE_BIAS = -4.0  # std of a frame's evidence of m at first, before softplus


class MappedWorldModel(WorldModel):
    """The sequential VAE with z = (m, s): `latent_dim` dimensions that move, and a static map.

    Args:
        frame_shape: (H, W, C) of a frame.
        action_size: A.
        config: as for `WorldModel`.
    """

    initial_length = 16  # so that what moves has left its place by the end

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: WorldModelConfig | None = None,
    ) -> None:
        super().__init__(frame_shape, action_size, config)
        moving, width = self.config.latent_dim, self.config.hidden_dim
        self.map = StaticMap(frame_shape, MAP_CHANNELS)
        self.moving_dim, self.latent_dim = moving, moving + self.map.size
        posterior, decoder = self.posterior, self.decoder
        assert isinstance(posterior, FilterPosterior | RecurrentPosterior)
        assert isinstance(decoder, SeparableDecoder)
        self.posterior = MappedPosterior(posterior, moving)
        self.decoder = MappedDecoder(decoder, self.map, moving)
        self.landmarks = KeypointEncoder(frame_shape, self.config.num_keypoints, LANDMARKS)
        self.landmarks.requires_grad_(False)
        self.pointer = nn.Linear(moving, 2)  # m ↦ (row, column) in cells
        self.drive = nn.Linear(action_size, moving, bias=False)
        inputs = moving + action_size + self.map.num_surroundings
        self.transition_net = mlp(inputs, width, 2 * moving)
        self.reward_net = mlp(moving + LANDMARKS, width, 1)
        if self.continuation_net is not None:
            self.continuation_net = mlp(moving + LANDMARKS, width, 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `WorldModel.parameter_groups`."""
        slow = [*self.encoder.parameters(), *self.posterior.moving.parameters()]
        kept = {id(each) for each in slow}
        fast = [each for each in self.parameters() if id(each) not in kept and each.requires_grad]
        return [{"params": slow, "rate": ENCODER_RATE}, {"params": fast, "rate": 1.0}]

    # ---- the densities -------------------------------------------------------------------------

    def _features(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """What moves, by the encoder, then the map and whether its numbers are known."""
        s, known = self.map.read(frames)
        return torch.cat([self.encoder(frames - self.map.draw(s)), s, known.float()], -1)

    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1}); see the module's docstring."""
        m, s = self._split(z)
        moved, drift = self._moved(m, s, action), torch.full_like(s, MAP_DRIFT)
        return Normal(torch.cat([moved.mean, s], -1), torch.cat([moved.std, drift], -1))

    def _moved(self, m: Tensor, s: Tensor, action: Tensor) -> Normal:
        surroundings = self.map.surroundings(s, self.pointer(m))
        density = normal(self.transition_net(torch.cat([m, action, surroundings], -1)), bias=-1.0)
        return Normal(m + self.drive(action) + density.mean, density.std)

    def _outcome_inputs(self, z: Tensor) -> Tensor:
        """Inputs of rewards and continuation. The map of a sequence is that of its first time step."""
        m, s = self._split(z)
        if z.ndim == 3:
            landmarks = self.landmarks(self.map.draw(s[:, 0]))[:, None].expand(-1, z.shape[1], -1)
        else:
            landmarks = self.landmarks(self.map.draw(s))
        return torch.cat([m, landmarks], -1)

    def divergence(self, q: Normal, p: Normal) -> Tensor:
        """KL[q ‖ p] of what moves; that of the map has no parameters, and would add noise alone."""
        moving = (
            Normal(each.mean[..., : self.moving_dim], each.std[..., : self.moving_dim])
            for each in (q, p)
        )
        return kl_divergence(*moving)

    def imagine(self, z: Float[Tensor, "N D"]) -> tuple[Tensor, Step, Any]:
        """See `WorldModel.imagine`. Only m is rolled out: the map is held as it is."""
        m, s = self._split(z)
        landmarks = self.landmarks(self.map.draw(s))

        def beside(m: Tensor) -> Tensor:
            return torch.cat([m, landmarks.repeat_interleave(len(m) // len(landmarks), 0)], -1)

        @torch.no_grad()
        def step(m: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            m = self._moved(m, s, action).mean
            return m, self._reward(beside(m))

        @torch.no_grad()
        def continuation(m: Tensor) -> Tensor:
            return self._continuation_logit(beside(m)).sigmoid()

        return m, step, None if self.continuation_net is None else continuation

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        m, s = z.split([self.moving_dim, self.map.size], -1)
        return m, s

    # ---- initialisation ------------------------------------------------------------------------

    def initialise_encoder(self, frames: Float[Tensor, "N H W C"]) -> None:
        """Nothing: `initialise` does more than whitening."""

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Fit map, encoder, pointer and the linear part of the transition to whole episodes."""
        super().initialise(batch)
        mask = batch.mask.bool()
        frames = self._centred(batch.frames.flatten(0, 1))
        moving = self.map.initialise(frames.view(*mask.shape, *frames.shape[1:]), mask)
        s, _ = self.map.read(frames)
        static = self.map.draw(s)
        self.landmarks.initialise(static[mask.flatten()])
        frames = frames - static
        where = self.encoder.initialise_moving(frames[mask.flatten()], moving[mask], POINTER_SCALE)
        extent = where.new_tensor([self.map.rows - 1, self.map.columns - 1]) / 2
        self.pointer.weight.zero_()
        self.pointer.weight[:, :2] = extent[:, None] * where[:, :2]
        self.pointer.bias.copy_(extent * (where[:, 2] + 1))
        self.posterior.moving.start_std(EVIDENCE_BIAS)

        m = self.encoder(frames)[:, : self.moving_dim].view(*mask.shape, -1)
        pairs = mask[:, 1:]
        change, action = (m[:, 1:] - m[:, :-1])[pairs], batch.actions[pairs]
        drive = torch.linalg.lstsq(action, change).solution
        std = (change - action @ drive).std(0)
        self.drive.weight.copy_(drive.T)
        first, last = self.transition_net[0], self.transition_net[-1]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        first.weight[:, self.moving_dim + self.action_size :] = 0  # the map begins without influence
        last.weight.mul_(0.1)
        last.bias[: self.moving_dim] = 0
        last.bias[self.moving_dim :] = inverse_softplus((std - MIN_STD).clamp(min=0.01)) + 1.0


class MappedPosterior(nn.Module):
    """q(z_t) = q(m_t | ·) q(s_t | x_t, s_{t−1}), the latter a Kalman update where s is known.

    Args:
        moving: the posterior of m.
        size: dimensions of m.
    """

    def __init__(self, moving: FilterPosterior | RecurrentPosterior, size: int) -> None:
        super().__init__()
        self.moving, self.size, self.memory_size = moving, size, moving.memory_size

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See `agent.posteriors`. The features are those of m, then s and whether it is known."""
        static = Normal(prior.mean[:, self.size :], prior.std[:, self.size :])
        rest = features.shape[1] - 2 * static.mean.shape[1]
        seen, s, known = features.split([rest, *[static.mean.shape[1]] * 2], -1)
        moved = Normal(prior.mean[:, : self.size], prior.std[:, : self.size])
        q, memory = self.moving(seen, moved, action, memory)
        updated = product(static, Normal(s, torch.full_like(s, MAP_STD)))
        mean, std = (torch.where(known > 0, a, b) for a, b in zip(updated, static, strict=True))
        return Normal(torch.cat([q.mean, mean], -1), torch.cat([q.std, std], -1)), memory


class MappedDecoder(nn.Module):
    """z ↦ decoder(m) + image(s).

    Args:
        moving: the decoder of m.
        static: the map.
        size: dimensions of m.
    """

    def __init__(self, moving: SeparableDecoder, static: StaticMap, size: int) -> None:
        super().__init__()
        self.moving, self.size = moving, size
        self._static = [static]  # a list, as the map's buffers are saved with the model

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N H W C"]:
        """Images of z, in the units of `squared_error`'s frames."""
        return self.moving(z[:, : self.size]) + self._static[0].draw(z[:, self.size :])

    def squared_error(
        self, z: Float[Tensor, "N D"], frames: Float[Tensor, "N H W C"]
    ) -> Float[Tensor, "N"]:  # noqa: F821 - a shape, not a name
        """‖frame − image(z)‖²; see `SeparableDecoder`."""
        static = self._static[0].draw(z[:, self.size :])
        return self.moving.squared_error(z[:, : self.size], frames - static)
