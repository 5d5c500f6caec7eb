"""A restorer stands between camera and filter: it gives frames, and what it knows of them."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.restoration.critic import Critic
from agent.restoration.mending import mend
from agent.restoration.noise import purify

MOST = 0.9  # share of a frame that is made up, beyond which it is no evidence


class Restored(NamedTuple):
    """Frames as a restorer gives them back, and what it knows of them."""

    frames: UInt8[Tensor, "N H W C"]
    score: Float[Tensor, "N"]  # noqa: F821 - how odd each is; ∞ where nearly all of it is made up
    plausible: Bool[Tensor, "N"]  # noqa: F821 - whether it can be a frame at all


@runtime_checkable
class Restorer(Protocol):
    """What control needs of a restorer."""

    @property
    def plan_weight(self) -> float:
        """Of `implausibility` in the choice among the best plans; 0: it is not asked."""
        ...

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """The frames to believe, and what is known of them."""
        ...

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """How odd frames are, those that a plan imagines too."""
        ...


@dataclass(frozen=True)
class Identity:
    """The restorer that changes nothing and finds everything plausible."""

    plan_weight = 0.0

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """The frames as they are."""
        everywhere = torch.ones(len(frames), dtype=torch.bool, device=frames.device)
        return Restored(frames, self.implausibility(frames), everywhere)

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """Nothing is odd."""
        return torch.zeros(len(frames), device=frames.device)


@dataclass(frozen=True)
class DiffusionRestorer:
    """Removes noise, asks whether what is left can be a frame, and if not mends it and asks again.

    Made by `agent.calibration.calibrate_restorer`.
    """

    critic: Critic
    """Holds the denoiser too."""
    purifies: bool = True
    """Whether noise is removed, and what cannot be is mended; if not, frames are only judged."""
    plan_weight: float = 0.0
    """Of the critic's score of imagined frames, in the choice among the best plans; 0: not asked."""

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """Clean and mend frames, and judge what has come out."""
        if self.purifies:
            frames = purify(self.critic.denoiser, frames).frames
        score, guesses = self.critic.judge(frames)
        odd = score > self.critic.threshold
        if self.purifies and odd.any():
            frames, score = frames.clone(), score.clone()
            frames[odd], replaced = mend(self.critic.denoiser, frames[odd], guesses[odd])
            score[odd] = self.critic.score(frames[odd])
            score[odd] = score[odd].masked_fill(replaced > MOST, math.inf)
        return Restored(frames, score, score <= self.critic.threshold)

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """The critic's score."""
        return self.critic.score(frames)
