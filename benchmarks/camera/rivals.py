"""Simple ways to meet a failing camera, against which the restorer is held."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.restoration.autoencoder import Autoencoder
from agent.restoration.denoiser import to_frames, to_images
from agent.restoration.noise import neighbourhood_median
from agent.restoration.restorer import Identity, Restored
from robot_room.app.evaluation.protocol import Policy


class Median(Identity):
    """The 3 × 3 median of each channel."""

    def restore(self, frames: Tensor) -> Restored:
        """See `Restorer`."""
        return super().restore(to_frames(neighbourhood_median(to_images(frames))))


@dataclass(frozen=True)
class Nearest(Identity):
    """The nearest of some clean frames, by squared distance."""

    clean: Tensor  # (F, H, W, C) uint8

    def restore(self, frames: Tensor) -> Restored:
        """See `Restorer`."""
        known, seen = (each.flatten(1).float() for each in (self.clean, frames))
        return super().restore(self.clean[torch.cdist(seen, known).argmin(1)])


@dataclass(frozen=True)
class Plain(Identity):
    """An autoencoder's frames, never doubted."""

    autoencoder: Autoencoder

    def restore(self, frames: Tensor) -> Restored:
        """See `Restorer`."""
        return super().restore(to_frames(self.autoencoder.read(to_images(frames)).images))


class TemporalMedian:
    """A policy that is shown the median of the last three frames of an episode, pixel by pixel."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """See `Policy.predict`."""
        inner, last = state or (None, np.repeat(observation[None], 3, 0))
        starts = np.ones(len(observation), bool) if state is None else episode_start
        last = np.concatenate([last[1:], observation[None].copy()])
        last[:, starts] = observation[starts]
        shown = np.median(last, 0).astype(np.uint8)
        action, inner = self.policy.predict(shown, inner, episode_start, deterministic)
        return action, (inner, last)
