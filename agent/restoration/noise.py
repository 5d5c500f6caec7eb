"""Noise estimation and denoising.

For y = x_0 + σ ε, take the step n with (1 − ᾱ_n)/ᾱ_n = σ² and x_n = √ᾱ_n y, without adding noise: the
denoiser's x̂_0 is Tweedie's estimate of E[x_0 | y]. As a posterior mean, it blends the possible
explanations of an ambiguous frame. Images have values in [−1, 1], and stds are in these units.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.denoiser import Denoiser, check_frames, to_frames, to_images

CLEAN_NOISE_STD = 0.02  # below it a frame counts as clean; rounding to 256 levels gives 0.002
NORMAL_MAD = 0.6745  # median of |ε|, ε ~ N(0, 1)


class DenoisedFrames(NamedTuple):
    """Denoised frames, and their estimated noise stds."""

    frames: UInt8[Tensor, "N H W C"]
    noise_std: Float[Tensor, "N"]  # noqa: F821 - a shape, not a name


def noise_std(frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The std of independent noise on each frame: median |Haar HH| / 0.6745 (Donoho 1995).

    HH = (a − b − c + d)/2 over blocks of 2 × 2 pixels has the noise's std, and is 0 in flat regions.
    To exclude dead pixels, those that differ from the median of their 3 × 3 neighbourhood by more than
    four times a first estimate are replaced by this median before a second estimate.
    """
    images = to_images(frames)
    first = _haar_std(images)
    noisy = first > CLEAN_NOISE_STD
    if not noisy.any():  # skip the medians, which dominate the cost
        return first
    some, scale = images[noisy], first[noisy]
    medians = neighbourhood_median(some)
    outlying = (some - medians).abs() > 4 * scale.view(-1, 1, 1, 1) + 1 / 128
    std = first.clone()
    std[noisy] = torch.minimum(scale, _haar_std(torch.where(outlying, medians, some)))
    return std


def _haar_std(images: Tensor) -> Tensor:
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    return ((a - b - c + d) / 2).abs().flatten(1).median(1).values / NORMAL_MAD


def neighbourhood_median(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The median of each pixel's 3 × 3 neighbourhood, per channel, with edge padding.

    Columns are sorted first; the median is then the middle one of the largest low, the median middle
    and the smallest high. This takes a fifth of the time of sorting all nine values.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    low, middle, high = _sorted(padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:])
    columns = [(each[..., :-2], each[..., 1:-1], each[..., 2:]) for each in (low, middle, high)]
    lows, middles, highs = (_sorted(*each) for each in columns)
    return _sorted(lows[2], middles[1], highs[0])[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


@torch.no_grad()
def denoise_frames(denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"]) -> DenoisedFrames:
    """Denoise each frame at its estimated noise by Tweedie's formula; clean frames are unchanged.

    Raises:
        ValueError: see `check_frames`.
    """
    check_frames(denoiser, frames)
    std = noise_std(frames)
    noisy = std > CLEAN_NOISE_STD
    result = frames.clone()
    if noisy.any():
        result[noisy] = to_frames(tweedie(denoiser, to_images(frames[noisy]), std[noisy]))
    return DenoisedFrames(result, std)


def tweedie(denoiser: Denoiser, images: Tensor, std: Tensor) -> Tensor:
    """The estimate of E[x_0 | x_0 + σ ε = image], at the step nearest to each image's σ."""
    levels = [denoiser.schedule.nearest(level) for level in std.tolist()]
    n = torch.tensor(levels, device=images.device)
    alpha_bar = diffusion.at(denoiser.schedule.alpha_bar, n, images).float()
    return denoiser(alpha_bar.sqrt() * images, n).clamp(-1, 1)
