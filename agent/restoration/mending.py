"""Pixels that cannot be right, or are known to be missing, filled by the diffusion model."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.denoiser import Denoiser, check_frames, to_frames, to_images
from agent.restoration.noise import tweedie

IMPLAUSIBLE = 0.85  # of the distance of black and of white from grey, which is 1
MENDING_STD = 0.3


@torch.no_grad()
def mend(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], guesses: Float[Tensor, "N C H W"]
) -> tuple[UInt8[Tensor, "N H W C"], Float[Tensor, "N"]]:  # noqa: F821 - a shape
    """Replace what a frame cannot be showing, by two Tweedie estimates and no sampling.

    Pixels far from a first guess at the frame, made under so much noise that only its layout
    mattered, are taken for missing; the guess fills them, and a second estimate at less noise, which
    sees all the other pixels, gives what they become.

    Args:
        denoiser: the diffusion model.
        frames: what is partly hidden, or stuck.
        guesses: x̂_0 of each at a large noise.

    Returns:
        The frames, and the share of each that was replaced.
    """
    images = to_images(frames)
    missing = (images - guesses).abs().amax(1, keepdim=True) > IMPLAUSIBLE
    filled = torch.where(missing, guesses, images)
    std = torch.full((len(frames),), MENDING_STD)
    again = tweedie(denoiser, filled, std)
    mended = torch.where(missing.permute(0, 2, 3, 1), to_frames(again), frames)
    return mended, missing.float().mean((1, 2, 3))


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

    Raises:
        ValueError: see `check_frames`; a mask of another shape or dtype; more steps than there are.
    """
    check_frames(denoiser, frames)
    if missing.dtype != torch.bool or missing.shape != frames.shape[:3]:
        got = f"{missing.dtype} {tuple(missing.shape)}"
        raise ValueError(f"missing: got {got}, allowed: torch.bool {tuple(frames.shape[:3])}")
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
