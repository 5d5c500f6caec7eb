"""Can this be a frame at all? How it fares under the diffusion model, against what is usual."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.conformal import check_promise, conformal_threshold
from agent.restoration.denoiser import Denoiser, check_frames, to_images

CRITICAL_STDS = (0.5, 1.0)
"""Noise at which a frame is criticised: so much that not its details are judged, but its layout."""


class Critic(NamedTuple):
    """How clean frames fare under the diffusion model, and from which score on a frame is none.

    At each of some noise levels a frame is made noisy and denoised. Two numbers tell how it fared: the
    error ‖x̂_0 − x_0‖² and the signal found ‖x̂_0 − m‖², m the mean image; their logarithms have a mean
    and a std over clean frames. A frame that cannot be has a larger error. Where something is missing
    the error may well be smaller, an empty room being the easiest of all; but then too little signal is
    found, and too much where something is there twice. So the score is the largest, over the levels, of
    the z-score of the error and of the |z-score| of the signal.
    """

    denoiser: Denoiser
    mean: Float[Tensor, "S 2"]  # of the logarithms of error and signal, per level
    std: Float[Tensor, "S 2"]
    threshold: float

    def score(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """How far each frame is from what is usual, in stds of where it is farthest."""
        return self.judge(frames)[0]

    def judge(
        self, frames: UInt8[Tensor, "N H W C"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N C H W"]]:  # noqa: F821 - a shape
        """The scores, and x̂_0 of each frame at a noise of 1, which `mend` starts from.

        Raises:
            ValueError: see `check_frames`.
        """
        check_frames(self.denoiser, frames)
        found, guesses = _fares(self.denoiser, frames)
        error, signal = ((found - self.mean) / self.std).unbind(2)
        return torch.maximum(error, signal.abs()).max(1).values, guesses


def calibrate(
    denoiser: Denoiser,
    episodes: Sequence[UInt8[Tensor, "_T H W C"]],
    false_alarms: float = 0.01,
    generator: torch.Generator | None = None,
) -> Critic:
    """A critic that is wrong about a clean frame with probability `false_alarms` at most.

    Every other episode tells what is usual. From each of the rest one frame is drawn; as episodes are
    independent, the promise holds for a frame of a new episode, see `conformal_threshold`.

    Args:
        denoiser: the diffusion model.
        episodes: clean ones that did not train it.
        false_alarms: α.
        generator: of the draws.

    Raises:
        ValueError: α is not in (0, 1), or there are too few episodes to promise it.
    """
    usual, rest = episodes[::2], episodes[1::2]
    check_promise(len(episodes), false_alarms)
    found, _ = _fares(denoiser, torch.cat(list(usual)))
    critic = Critic(denoiser, found.mean(0), found.std(0).clamp(min=1e-6), math.inf)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in rest]
    scores = critic.score(torch.stack(drawn))
    return critic._replace(threshold=conformal_threshold(scores, false_alarms))


@torch.no_grad()
def _fares(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], batch: int = 64
) -> tuple[Float[Tensor, "N S 2"], Float[Tensor, "N C H W"]]:
    """Log error and log signal at each level, and x̂_0 at the last; one draw of noise for all frames."""
    levels = torch.tensor([denoiser.schedule.nearest(std) for std in CRITICAL_STDS])
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
