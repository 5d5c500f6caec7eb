"""The diffusion model in use: noisy frames cleaned, holes filled, and frames that cannot be told.

For y = x_0 + σ ε, take the step n with (1 − ᾱ_n)/ᾱ_n = σ² and x_n = √ᾱ_n y, and add no noise: the
denoiser's x̂_0 is Tweedie's estimate of E[x_0 | y]. It is a mean: two hypotheses show as two ghosts.
Images have values in [−1, 1]; a std is in those units, half of a pixel's range.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent import diffusion
from agent.denoiser import Denoiser, to_frames, to_images

QUIET = 0.02  # std below which a frame counts as clean; rounding to 256 levels has 0.002
NORMAL_MAD = 0.6745  # median of |ε|, ε ~ N(0, 1)


class Purified(NamedTuple):
    """Frames as the prior gives them back, and how noisy it found them."""

    frames: UInt8[Tensor, "N H W C"]
    noise_std: Float[Tensor, "N"]  # noqa: F821 - a shape, not a name


def noise_std(frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The std of independent noise on each frame: median |Haar HH| / 0.6745 (Donoho 1995).

    HH = (a − b − c + d)/2 over blocks of 2 × 2 pixels has the noise's std, and is 0 inside everything
    flat. Pixels that differ from the median of their 3 × 3 neighbourhood by more than four times a
    first estimate are replaced by it before the second: dead pixels are no noise.
    """
    images = to_images(frames)
    first = _haar_std(images)
    medians = _neighbourhood_median(images)
    outlying = (images - medians).abs() > 4 * first.view(-1, 1, 1, 1) + 1 / 128
    return torch.minimum(first, _haar_std(torch.where(outlying, medians, images)))


def _haar_std(images: Tensor) -> Tensor:
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    return ((a - b - c + d) / 2).abs().flatten(1).median(1).values / NORMAL_MAD


def _neighbourhood_median(images: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values


@torch.no_grad()
def purify(denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"]) -> Purified:
    """Tweedie's estimate of each frame at the noise that it is found to have; clean ones stay."""
    std = noise_std(frames)
    noisy = std > QUIET
    result = frames.clone()
    if noisy.any():
        levels = std[noisy].tolist()
        n = torch.tensor([denoiser.schedule.nearest(level) for level in levels], device=frames.device)
        images = to_images(frames[noisy])
        alpha_bar = diffusion.at(denoiser.schedule.alpha_bar, n, images).float()
        result[noisy] = to_frames(denoiser(alpha_bar.sqrt() * images, n))
    return Purified(result, std)


@torch.no_grad()
def repair(
    denoiser: Denoiser,
    frames: UInt8[Tensor, "N H W C"],
    missing: Bool[Tensor, "N H W"],
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> UInt8[Tensor, "N H W C"]:
    """Fill pixels that are known to be missing, by a few DDIM steps from noise.

    After each step the pixels that are there are put back at that step's noise (arXiv 2201.09865,
    without its resampling). They come out as they were.

    Args:
        denoiser: the diffusion model.
        frames: what the missing pixels hold does not matter.
        missing: which they are.
        steps: DDIM steps.
        generator: of the noise.
    """
    images, schedule = to_images(frames), denoiser.schedule
    there = ~missing[:, None]

    def noise() -> Tensor:
        return torch.randn(images.shape, generator=generator, device=images.device)

    down = diffusion.sub_sequence(schedule, steps)
    x = noise()
    for n, m in zip(down, [*down[1:], 0], strict=True):
        x = torch.where(there, diffusion.diffuse(schedule, images, n, noise()), x)
        x = diffusion.ddim_step(schedule, x, denoiser.denoise(x, n), n, m, 1.0, noise())
    return torch.where(missing[..., None], to_frames(x), frames)


CRITICAL_STDS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)
"""Noise at which a frame is criticised: a little asks for its details, much for its layout."""


class Critic(NamedTuple):
    """How clean frames fare under the diffusion model, and from which score on a frame is none.

    At each of some noise levels a frame is made noisy and denoised; e is the logarithm of the mean
    squared error of x̂_0. A clean frame has a typical e. What cannot be is denoised worse, or, as an
    empty room, better: so the score is two-sided, the largest |e − mean| / std over the levels.
    """

    denoiser: Denoiser
    mean: Float[Tensor, "S"]  # noqa: F821 - of e, per level
    std: Float[Tensor, "S"]  # noqa: F821 - of e, per level
    threshold: float

    def score(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """How far each frame is from what is usual, in stds of the level where it is farthest."""
        return ((_log_errors(self.denoiser, frames) - self.mean) / self.std).abs().max(1).values


def calibrate(
    denoiser: Denoiser,
    episodes: Sequence[UInt8[Tensor, "T H W C"]],
    false_alarms: float = 0.01,
    generator: torch.Generator | None = None,
) -> Critic:
    """A critic that is wrong about a clean frame with probability `false_alarms` at most.

    Every other episode tells what is usual. From each of the rest one frame is drawn; as episodes are
    independent, the ⌈(m + 1)(1 − α)⌉-th smallest of their m scores holds that promise for a frame of a
    new episode (split conformal prediction, arXiv 2107.07511).

    Args:
        denoiser: the diffusion model.
        episodes: clean ones that did not train it.
        false_alarms: α.
        generator: of the draws.

    Raises:
        ValueError: α is not in (0, 1), or there are too few episodes to promise it.
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms: got {false_alarms}, allowed: above 0, below 1")
    usual, rest = episodes[::2], episodes[1::2]
    rank = math.ceil((len(rest) + 1) * (1 - false_alarms) - 1e-9)
    if rank > len(rest):
        least = 2 * (math.ceil(1 / false_alarms - 1e-9) - 1)
        allowed = f"at least {least} for false_alarms = {false_alarms}"
        raise ValueError(f"episodes: got {len(episodes)}, allowed: {allowed}")
    errors = _log_errors(denoiser, torch.cat(list(usual)))
    critic = Critic(denoiser, errors.mean(0), errors.std(0).clamp(min=1e-6), math.inf)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in rest]
    scores = critic.score(torch.stack(drawn))
    return critic._replace(threshold=scores.sort().values[rank - 1].item())


@torch.no_grad()
def _log_errors(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], batch: int = 256
) -> Float[Tensor, "N S"]:
    """E of each frame at each level; the noise is one fixed draw for each level."""
    parts = []
    for some in frames.split(batch):
        images, columns = to_images(some), []
        for number, std in enumerate(CRITICAL_STDS):
            generator = torch.Generator(images.device).manual_seed(number)
            eps = torch.randn(images.shape[1:], generator=generator, device=images.device)
            n = denoiser.schedule.nearest(std)
            xn = diffusion.diffuse(denoiser.schedule, images, n, eps.expand_as(images))
            error = (denoiser.denoise(xn, n) - images).square().mean((1, 2, 3))
            columns.append((error + 1e-8).log())
        parts.append(torch.stack(columns, 1))
    return torch.cat(parts)
