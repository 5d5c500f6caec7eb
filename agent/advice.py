"""Warnings while an agent learns: what goes wrong silently, and what to do about it."""

import warnings
from collections.abc import Callable

import numpy as np
import torch

from agent.kinematic_world_model import KinematicWorldModel
from agent.learner import Learner, Progress

LEAST_NATS = 0.02
"""KL[q ‖ p] of a step below which latents hold next to nothing."""
LEAST_EXPLAINED = 0.5
"""Share of what varies in frames that reconstructions should explain."""
WARMED_UP = 800
"""Updates before frames and latents are looked at."""
SAMPLED = 64
"""Frames that are reconstructed."""
LARGEST = 128 * 128
"""Pixels of a frame above which its size is questioned."""
CHECKED = 1000
"""Steps after which a reward that never varies is questioned."""


class LearningWarning(UserWarning):
    """Learning goes on, but is unlikely to lead anywhere as it is."""


class Advice:
    """A callback of `Agent.learn` that looks at the learner now and then, and says each thing once.

    It draws from no stream of the learner's, so that learning does not depend on it.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._left: dict[str, Callable[[], str | None]] = {
            "size": self._size,
            "positions": self._positions,
            "reward": self._reward,
            "latents": self._latents,
            "frames": self._frames,
        }
        self._next = 0

    def __call__(self, progress: Progress) -> None:
        """Look, at each doubling of the number of updates."""
        if progress.num_updates < self._next or not progress.metrics:
            return
        self._next = max(WARMED_UP, 2 * progress.num_updates)
        for name, look in list(self._left.items()):
            if (said := look()) is not None:
                del self._left[name]
                warnings.warn(said, LearningWarning, stacklevel=2)

    def _size(self) -> str | None:
        height, width, _ = self.learner.replay.episodes[0].frames[0].shape
        if height * width <= LARGEST:
            return None
        return (
            f"frames have {height} × {width} pixels: time and memory grow with them, and 64 × 64 are "
            "mostly enough; scale them, for example with agent.pixels or "
            "gymnasium.wrappers.ResizeObservation"
        )

    def _positions(self) -> str | None:
        model = self.learner.world_model
        if not isinstance(model, KinematicWorldModel) or bool(model.posterior.used.any()):
            return None
        if self.learner.progress.num_updates < WARMED_UP:
            return None
        return (
            "no positions were found: nothing in the frames moves as its last two positions foretell, "
            "so that the belief is empty; show more of the motion (random_steps, frame_repeat), or "
            "learn with the default settings"
        )

    def _reward(self) -> str | None:
        steps = self.learner.progress.num_timesteps
        if steps < CHECKED or self.learner.replay.returns_vary():
            return None
        return (
            f"the reward has been the same in all {steps} steps, so that no plan is better than "
            "another; explore for longer (random_steps, longest_episode) or more boldly, or with the "
            "default settings, which seek what is new"
        )

    def _latents(self) -> str | None:
        kl = self.learner.progress.metrics.get("kl", np.inf)
        if self.learner.progress.num_updates < WARMED_UP or kl > LEAST_NATS:
            return None
        return (
            f"the latents tell next to nothing of frames (KL {kl:.3g} nats a step): posterior "
            "collapse; a smaller frame_std weighs frames more"
        )

    @torch.no_grad()
    def _frames(self) -> str | None:
        learner, model = self.learner, self.learner.world_model
        if learner.progress.num_updates < WARMED_UP:
            return None
        generator = np.random.default_rng(0)
        frames = learner.replay.sample(SAMPLED, 1, generator).frames[:, 0].to(learner.device)
        prior, memory = model.initial(len(frames))
        still = prior.mean.new_zeros(len(frames), model.action_size)
        q, _ = model.posterior(model.features(frames), prior, still, memory)
        seen, drawn = (each.float() for each in (frames, model.decode(q.mean)))
        variation = (seen - seen.mean(0)).square().sum()
        explained = 1 - float((seen - drawn).square().sum() / variation.clamp(min=1e-9))
        if variation == 0 or explained >= LEAST_EXPLAINED:
            return None
        return (
            f"reconstructions explain {explained:.0%} of what varies in frames: small or many objects "
            "are missing from the belief; a smaller frame_std, a larger rank and more keypoints help"
        )
