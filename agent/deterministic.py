"""The base class of world models of one's own, with a deterministic latent state.

    z_t = encode(x_t) when a frame is seen,   (z_{t+1}, r_{t+1}) = step(z_t, a_t) when none is

A subclass defines `encode`, `step` and `loss`; everything else of `agent.protocols.Model` follows from
these, and may be overridden. Densities have a small, fixed standard deviation around the two functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from agent.config import Config
from agent.distributions import Normal, standard_normal
from agent.types import Batch, Step

STD = 0.05  # of the densities; latents should have about unit scale


class DeterministicModel(nn.Module, ABC):
    """A world model with a deterministic latent state; see the module.

    Its class is called with the shape of frames, A, and `AgentConfig.world_model`.

    Args:
        frame_shape: (H, W, C) of a frame.
        action_size: A.
        latent_dim: D.
    """

    config_type: type[Config] | None = None
    """The class of its settings, whose defaults are used if the agent is given no others; None: it is
    given a `WorldModelConfig`."""
    initial_length = 1
    training_buffers: tuple[str, ...] = ()
    reach_ends = False

    def __init__(self, frame_shape: tuple[int, int, int], action_size: int, latent_dim: int) -> None:
        super().__init__()
        self.frame_shape, self.action_size, self.latent_dim = frame_shape, action_size, latent_dim

    @abstractmethod
    def encode(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N D"]:
        """The latent state that frames show."""

    @abstractmethod
    def step(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> tuple[Tensor, Tensor]:
        """The next latent state, (N, D), and the reward that arrives with it, (N,)."""

    @abstractmethod
    def loss(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, a scalar, and scalars to log."""

    def initialise(self, batch: Batch) -> None:
        """Prepare for training, on the first data; nothing by default."""

    def refit(
        self,
        batch: Batch,
        rewards: Float[Tensor, "N"],  # noqa: F821 - a shape
        returns_vary: bool,
    ) -> None:
        """Nothing, by default; see `agent.protocols.Model.refit`."""

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """None, by default; see `agent.protocols.Model.novelty`."""
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters, at the learning rate."""
        return [{"params": list(self.parameters()), "rate": 1.0}]

    def initial(self, batch: int) -> tuple[Normal, Tensor]:
        """N(0, I), and no memory."""
        like = next(self.parameters())
        return standard_normal(batch, self.latent_dim, like), like.new_zeros(batch, 0)

    def features(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N D"]:
        """`encode`."""
        return self.encode(frames)

    def posterior(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """N(encode(x), σ²), whatever was predicted."""
        return Normal(features, torch.full_like(features, STD)), memory

    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """N(step(z, a), σ²)."""
        mean = self.step(z, action)[0]
        return Normal(mean, torch.full_like(mean, STD))

    def imagine(
        self, z: Float[Tensor, "N D"]
    ) -> tuple[Tensor, Step, Callable[[Tensor], Tensor] | None]:
        """All of z changes, by `step`, and no episode ends."""
        return z, self.step, None

    def sampled_step(self, generator: torch.Generator | None = None) -> Step:
        """`step`, as there is nothing to sample."""
        return self.step

    def continuation(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """1: no episode ends."""
        return torch.ones_like(z[:, 0])

    def decode(self, z: Float[Tensor, "N D"]) -> UInt8[Tensor, "N H W C"]:
        """Frames drawn from z.

        Raises:
            ValueError: this model draws none.
        """
        raise ValueError(
            f"decode: got {type(self).__name__}, which draws no frames; allowed: one that does"
        )
