"""Restorers sit between camera and filter: they return restored frames, and how far to doubt them."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.restoration.autoencoder import Autoencoder
from agent.restoration.critic import Critic
from agent.restoration.denoiser import check_frames, to_frames, to_images
from agent.restoration.harm import Harm
from agent.restoration.inpainting import inpaint_implausible
from agent.restoration.noise import denoise_frames
from agent.types import SOUND_DOUBT

MAX_INPAINTED_FRACTION = 0.9  # a frame with more inpainted pixels is rejected


class Restored(NamedTuple):
    """Restored frames, with score and doubt."""

    frames: UInt8[Tensor, "N H W C"]
    score: Float[Tensor, "N"]  # noqa: F821 - anomaly score; ∞ if nearly all is inpainted
    doubt: Float[Tensor, "N"]  # noqa: F821 - h: the frame's variance is to be 1 + h times as large

    @property
    def plausible(self) -> Bool[Tensor, "N"]:  # noqa: F821 - a shape
        """Whether the frame may be taken for what the camera should show."""
        return self.doubt <= SOUND_DOUBT


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
        none = self.implausibility(frames)
        return Restored(frames, none, none)

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
        plausible = score <= self.critic.threshold
        return Restored(frames, score, torch.where(plausible, 0.0, torch.inf))

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """The critic's score."""
        return self.critic.score(frames)


@dataclass(frozen=True)
class BlindRestorer:
    """Restores every frame in one pass of an autoencoder, and doubts it as far as it may mislead.

    Created by `agent.calibration.calibrate_restorer`.
    """

    autoencoder: Autoencoder
    harm: Harm
    """h, from the autoencoder's summary of a frame."""
    plan_weight: float = 0.0
    """Weight of the doubt about imagined frames when choosing a plan; 0 disables it."""

    def restore(self, frames: UInt8[Tensor, "N H W C"]) -> Restored:
        """Restore frames.

        Raises:
            ValueError: see `check_frames`.
        """
        check_frames(self.autoencoder, frames)
        images, summary = self.autoencoder.read(to_images(frames))
        doubt = self.harm(summary)
        return Restored(to_frames(images), doubt, doubt)

    def implausibility(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """log(1 + h)."""
        return self.restore(frames).doubt.log1p()
