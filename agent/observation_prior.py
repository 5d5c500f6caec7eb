"""The diffusion model in use: a noisy frame back to a clean one, a frame with holes made whole.

For y = x_0 + σ ε, take the step n with (1 − ᾱ_n)/ᾱ_n = σ² and x_n = √ᾱ_n y, and add no noise: the
denoiser's x̂_0 is Tweedie's estimate of E[x_0 | y]. It is a mean: two hypotheses show as two ghosts.
Images have values in [−1, 1]; a std is in those units, half of a pixel's range.
"""

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


def noise_std(frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
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
