"""Out-of-distribution score of frames under the diffusion model, normalised on clean frames."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.conformal import check_calibration_size, conformal_threshold
from agent.restoration.denoiser import Denoiser, check_frames, to_images

CRITIC_STDS = (0.5, 1.0)
"""Noise stds at which frames are scored: large enough that layout decides, not detail."""


class Critic(NamedTuple):
    """Statistics of clean frames, and the score above which a frame counts as implausible.

    At each noise level a frame is diffused and denoised. Its statistics are the logarithms of the error
    ‖x̂_0 − x_0‖² and of the signal ‖x̂_0 − m‖², m the mean image, which are standardised by their mean
    and std over clean frames. Implausible frames have larger errors. With objects missing the error may
    be smaller, but the signal is too small; with duplicated objects it is too large. So the score is
    the maximum, over the levels, of the z-score of the error and of the |z-score| of the signal.
    """

    denoiser: Denoiser
    mean: Float[Tensor, "S 2"]  # mean log error and log signal, per level
    std: Float[Tensor, "S 2"]
    threshold: float

    def score(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """The anomaly score of each frame: its largest deviation, in stds."""
        return self.judge(frames)[0]

    def judge(
        self, frames: UInt8[Tensor, "N H W C"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N C H W"]]:  # noqa: F821 - a shape
        """The scores, and x̂_0 of each frame at σ = 1, the input of `inpaint_implausible`.

        Raises:
            ValueError: see `check_frames`.
        """
        check_frames(self.denoiser, frames)
        found, guesses = _statistics(self.denoiser, frames)
        error, signal = ((found - self.mean) / self.std).unbind(2)
        return torch.maximum(error, signal.abs()).max(1).values, guesses


def calibrate(
    denoiser: Denoiser,
    episodes: Sequence[UInt8[Tensor, "_T H W C"]],
    false_alarms: float = 0.01,
    generator: torch.Generator | None = None,
) -> Critic:
    """A critic that rejects a clean frame with probability `false_alarms` at most.

    Every other episode fits the statistics. From each of the rest one frame is drawn to set the
    threshold; as episodes are independent, the guarantee holds for a frame of a new episode, see
    `conformal_threshold`.

    Args:
        denoiser: the diffusion model.
        episodes: clean episodes that it was not trained on.
        false_alarms: α.
        generator: generator of the draws.

    Raises:
        ValueError: α is not in (0, 1), or there are too few episodes for it.
    """
    fitting, rest = episodes[::2], episodes[1::2]
    check_calibration_size(len(episodes), false_alarms)
    found, _ = _statistics(denoiser, torch.cat(list(fitting)))
    critic = Critic(denoiser, found.mean(0), found.std(0).clamp(min=1e-6), math.inf)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in rest]
    scores = critic.score(torch.stack(drawn))
    return critic._replace(threshold=conformal_threshold(scores, false_alarms))


@torch.no_grad()
def _statistics(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], batch: int = 64
) -> tuple[Float[Tensor, "N S 2"], Float[Tensor, "N C H W"]]:
    """Log error and log signal per level, and x̂_0 at the last; the noise is the same for all frames."""
    levels = torch.tensor([denoiser.schedule.nearest(std) for std in CRITIC_STDS])
    eps = torch.stack([_fixed_noise(denoiser.shape, number) for number in range(len(levels))])
    numbers, guesses = [], []
    for some in frames.split(batch):
        images = to_images(some)
        repeated = images.repeat(len(levels), 1, 1, 1)  # all levels of all frames in one pass
        n = levels.repeat_interleave(len(images)).to(images.device)
        noise = eps.to(images.device).repeat_interleave(len(images), 0)
        xn = diffusion.diffuse(denoiser.schedule, repeated, n, noise)
        x0 = denoiser(xn, n).clamp(-1, 1)
        apart = torch.stack([x0 - repeated, x0 - denoiser.mean_image])
        energy = apart.square().mean((2, 3, 4)).view(2, len(levels), -1)
        numbers.append((energy + 1e-8).log().permute(2, 1, 0))
        guesses.append(x0[-len(images) :])
    return torch.cat(numbers), torch.cat(guesses)


@lru_cache
def _fixed_noise(shape: tuple[int, int, int], number: int) -> Tensor:
    height, width, channels = shape
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(number))
