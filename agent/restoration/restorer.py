"""Restorers sit between camera and filter: they return restored frames and a plausibility verdict."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.restoration.critic import Critic
from agent.restoration.inpainting import inpaint_implausible
from agent.restoration.noise import denoise_frames

MAX_INPAINTED_FRACTION = 0.9  # a frame with more inpainted pixels is rejected


class Restored(NamedTuple):
    """Restored frames, with score and verdict."""

    frames: UInt8[Tensor, "N H W C"]
    score: Float[Tensor, "N"]  # noqa: F821 - anomaly score; ∞ if nearly all is inpainted
    plausible: Bool[Tensor, "N"]  # noqa: F821 - whether the filter may use it


@runtime_checkable
class Restorer(Protocol):
    """Interface of a restorer."""

    @property
    def plan_weight(self) -> float:
        """Weight of `implausibility` when choosing among the best plans; 0 disables it."""
        ...

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """Restore frames, and score the result."""
        ...

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """Anomaly scores of frames, camera or imagined."""
        ...


@dataclass(frozen=True)
class Identity:
    """The restorer that returns every frame unchanged, as plausible."""

    plan_weight = 0.0

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """Return the frames unchanged."""
        everywhere = torch.ones(len(frames), dtype=torch.bool, device=frames.device)
        return Restored(frames, self.implausibility(frames), everywhere)

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """Zero for every frame."""
        return torch.zeros(len(frames), device=frames.device)


@dataclass(frozen=True)
class DiffusionRestorer:
    """Denoises frames, scores them, and inpaints and rescores those that are implausible.

    Created by `agent.calibration.calibrate_restorer`.
    """

    critic: Critic
    """The critic, which also holds the denoiser."""
    cleans: bool = True
    """Whether frames are denoised and inpainted; if not, they are only scored."""
    plan_weight: float = 0.0
    """Weight of the critic's score of imagined frames when choosing a plan; 0 disables it."""

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """Denoise, score and inpaint frames."""
        if self.cleans:
            frames = denoise_frames(self.critic.denoiser, frames).frames
        score, guesses = self.critic.judge(frames)
        flagged = score > self.critic.threshold
        if self.cleans and flagged.any():
            frames, score = frames.clone(), score.clone()
            frames[flagged], replaced = inpaint_implausible(
                self.critic.denoiser, frames[flagged], guesses[flagged]
            )
            score[flagged] = self.critic.score(frames[flagged])
            score[flagged] = score[flagged].masked_fill(replaced > MAX_INPAINTED_FRACTION, math.inf)
        return Restored(frames, score, score <= self.critic.threshold)

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """The critic's score."""
        return self.critic.score(frames)
