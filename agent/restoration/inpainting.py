"""Inpainting of implausible or missing pixels with the diffusion model."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.denoiser import Denoiser, check_frames, to_frames, to_images
from agent.restoration.noise import tweedie

PIXEL_ERROR_THRESHOLD = 0.85  # |image − estimate| of implausible pixels; images in [−1, 1]
INPAINTING_STD = 0.3


@torch.no_grad()
def inpaint_implausible(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], guesses: Float[Tensor, "N C H W"]
) -> tuple[UInt8[Tensor, "N H W C"], Float[Tensor, "N"]]:  # noqa: F821 - a shape
    """Inpaint implausible pixels with two Tweedie estimates, without sampling.

    Pixels far from a strongly denoised estimate, which depends on layout only, are treated as missing.
    They are filled from that estimate and replaced by a second one at lower noise, which uses all
    other pixels.

    Args:
        denoiser: the diffusion model.
        frames: frames with occlusions or dead pixels.
        guesses: x̂_0 of each frame at a large noise.

    Returns:
        The frames, and the fraction of each that was inpainted.
    """
    images = to_images(frames)
    missing = (images - guesses).abs().amax(1, keepdim=True) > PIXEL_ERROR_THRESHOLD
    filled = torch.where(missing, guesses, images)
    std = torch.full((len(frames),), INPAINTING_STD)
    estimates = tweedie(denoiser, filled, std)
    inpainted = torch.where(missing.permute(0, 2, 3, 1), to_frames(estimates), frames)
    return inpainted, missing.float().mean((1, 2, 3))


@torch.no_grad()
def inpaint(
    denoiser: Denoiser,
    frames: UInt8[Tensor, "N H W C"],
    missing: Bool[Tensor, "N H W"],
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> UInt8[Tensor, "N H W C"]:
    """Inpaint pixels that are known to be missing, with a few DDIM steps from noise.

    At each step the known pixels are replaced by the frame's, diffused to that step's noise (arXiv
    2201.09865, without resampling). They are unchanged in the result.

    Args:
        denoiser: the diffusion model.
        frames: the frames; values of missing pixels are ignored.
        missing: mask of the missing pixels.
        steps: DDIM steps.
        generator: generator of the noise.

    Raises:
        ValueError: see `check_frames`; a mask of another shape or dtype; more steps than the schedule.
    """
    check_frames(denoiser, frames)
    if missing.dtype != torch.bool or missing.shape != frames.shape[:3]:
        got = f"{missing.dtype} {tuple(missing.shape)}"
        raise ValueError(f"missing: got {got}, allowed: torch.bool {tuple(frames.shape[:3])}")
    images, schedule = to_images(frames), denoiser.schedule
    known = ~missing[:, None]

    def noise() -> Tensor:
        return torch.randn(images.shape, generator=generator, device=images.device)

    down = diffusion.sub_sequence(schedule, steps)
    x = noise()
    for n, m in zip(down, [*down[1:], 0], strict=True):
        x = torch.where(known, diffusion.diffuse(schedule, images, n, noise()), x)
        x = diffusion.ddim_step(schedule, x, denoiser.denoise(x, n), n, m, 1.0, noise())
    return torch.where(missing[..., None], to_frames(x), frames)
