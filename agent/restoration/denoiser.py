"""The diffusion model of single frames: a small U-Net.

It estimates x_0 from y = x_n / √ᾱ_n = x_0 + σ ε around the mean frame m,

    x̂_0 = m + c_skip (y − m) + c_out F(c_in (y − m), c_noise)
    c_skip = k²/(σ² + k²),   c_out = σ s/√(σ² + k²),   c_in = 1/√(σ² + s²),   c_noise = ½ ln σ

with s the std of the frames around m: the preconditioning of arXiv 2206.00364, but with k = 0.02 in
place of s in c_skip and c_out. For σ ≫ k, F then predicts a frame, not noise: to remove noise from a
skipped y, F would have to reproduce the noise, which a small network cannot. (With k = s the error to
the exact denoiser was three times as large at σ = 0.1. With m = 0 and k = s = 1, F is −v, arXiv
2202.00512.) For σ < k, where y is nearly clean, F corrects it.

To be cheap on a CPU, frames are first folded into 4 × 4 patches (pixel-unshuffle), so that all
convolutions run on a sixteenth of the pixels, at two resolutions with one residual block each way.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le, MultipleOf
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agent.config import Config
from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule

PATCH = 4  # pixels
SKIP_STD = 0.02  # k: for σ below it the estimate starts from y
GROUPS = 8


@dataclass(frozen=True)
class DenoiserConfig(Config):
    """Sizes of the diffusion model.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    width: Annotated[int, Ge(GROUPS), MultipleOf(GROUPS)] = 32
    """Channels at the finer resolution, doubled at the coarser."""
    steps: Annotated[int, Ge(2), Le(10_000)] = 200
    """N, steps of the cosine schedule."""


class Block(nn.Module):
    """A residual block of two 3 × 3 convolutions; with `size_level`, FiLM conditioning on the noise."""

    def __init__(self, size_in: int, size_out: int, size_level: int | None = None) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(GROUPS, size_in), nn.GroupNorm(GROUPS, size_out)
        self.first = nn.Conv2d(size_in, size_out, 3, padding=1)
        self.second = nn.Conv2d(size_out, size_out, 3, padding=1)
        self.level = None if size_level is None else nn.Linear(size_level, 2 * size_out)
        self.skip = nn.Conv2d(size_in, size_out, 1) if size_in != size_out else nn.Identity()
        nn.init.zeros_(self.second.weight)  # a block starts as its skip connection
        if self.level is not None:
            nn.init.zeros_(self.level.weight)
            nn.init.zeros_(self.level.bias)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """The block's output, (B, size_out, H, W)."""
        h = self.norm_out(self.first(F.silu(self.norm_in(x))))
        if self.level is not None:
            scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.second(F.silu(h))


class FrameNetwork(nn.Module):
    """A network of images with values in [−1, 1] that knows their mean and the std around it.

    Args:
        shape: (H, W, C) of a frame.
    """

    mean_image: Tensor
    image_std: Tensor

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, channels = self.shape = shape
        self.register_buffer("mean_image", torch.zeros(channels, height, width))
        self.register_buffer("image_std", torch.ones(()))

    @torch.no_grad()
    def initialise(self, frames: UInt8[Tensor, "B H W C"]) -> None:
        """Set the mean image and the std around it from the data."""
        images = to_images(frames)
        self.mean_image.copy_(images.mean(0))
        # A static scene has zero std; the floor is one pixel level.
        self.image_std.copy_((images - self.mean_image).square().mean().sqrt().clamp(min=1 / 128))


class Denoiser(FrameNetwork):
    """E[x_0 | x_n] of images with values in [−1, 1].

    `initialise` must be called on the frames before training.

    Args:
        shape: (H, W, C) of a frame; H and W are multiples of 8.
        config: sizes.

    Raises:
        ValueError: H or W is not a multiple of 8.
    """

    def __init__(self, shape: tuple[int, int, int], config: DenoiserConfig | None = None) -> None:
        super().__init__(shape)
        self.config = config or DenoiserConfig()
        height, width, channels = shape
        if height % (2 * PATCH) or width % (2 * PATCH):
            raise ValueError(f"shape: got {shape}, allowed: H and W multiples of {2 * PATCH}")
        self.schedule = Schedule.cosine(self.config.steps)
        fine, coarse, level = self.config.width, 2 * self.config.width, 2 * self.config.width
        folded = channels * PATCH**2
        self.level = nn.Sequential(
            nn.Linear(fine, level), nn.SiLU(), nn.Linear(level, level), nn.SiLU()
        )
        self.enter = nn.Conv2d(folded, fine, 3, padding=1)
        self.fine_down = Block(fine, fine, level)
        self.down = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.coarse = Block(coarse, coarse, level)
        self.middle = Block(coarse, coarse, level)
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine_up = Block(2 * fine, fine, level)
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.leave = nn.Conv2d(fine, folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        xn: Float[Tensor, "B C H W"],
        n: Int[Tensor, "B"],  # noqa: F821 - a shape, not a name
    ) -> Float[Tensor, "B C H W"]:
        """x̂_0 from images x_n and their steps."""
        y, std = diffusion.to_ncsn(self.schedule, xn, n)
        std, scale = std.float(), self.image_std
        centred, total = y - self.mean_image, torch.hypot(std, torch.full_like(std, SKIP_STD))
        c_noise = -0.25 * self.schedule.snr[n.cpu()].log().float().to(n.device)
        c_skip, c_out = (SKIP_STD / total).square(), std / total * scale
        scaled = centred / torch.hypot(std, scale)  # c_in = 1/√(σ² + s²)
        change = self._network(scaled, self.level(self._sinusoids(c_noise)))
        return self.mean_image + c_skip * centred + c_out * change

    def _network(self, x: Tensor, level: Tensor) -> Tensor:
        fine = self.fine_down(self.enter(F.pixel_unshuffle(x, PATCH)), level)
        h = self.middle(self.coarse(self.down(fine), level), level)
        h = self.fine_up(torch.cat([F.pixel_shuffle(self.up(h), 2), fine], 1), level)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), PATCH)

    def _sinusoids(self, c_noise: Tensor) -> Tensor:
        """Sinusoidal embedding of c_noise = ½ ln σ, (B, width)."""
        count = self.config.width // 2
        frequency = torch.exp(torch.linspace(0, math.log(30), count, device=c_noise.device))
        angle = c_noise[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)

    @torch.no_grad()
    def denoise(self, xn: Float[Tensor, "B C H W"], n: int) -> Float[Tensor, "B C H W"]:
        """x̂_0 at one step, clipped to [−1, 1]; for `diffusion.sample`.

        Raises:
            ValueError: n is not a step of the schedule.
        """
        if not 1 <= n <= self.schedule.steps:
            raise ValueError(f"n: got {n}, allowed: 1 to {self.schedule.steps}")
        return self(xn, torch.full((len(xn),), n, device=xn.device)).clamp(-1, 1)

    def loss(
        self, frames: UInt8[Tensor, "B H W C"], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of x̂_0 per pixel, weighted by 1/σ² + 1/s², at a random step per frame.

        Returns:
            The loss, and metrics: `loss_quiet` and `loss_noisy`, over the less and more noisy halves.
        """
        x0 = to_images(frames)
        steps = self.schedule.steps
        # Stratified sampling: one step from each of B equal parts of the schedule.
        spread = torch.rand(len(x0), generator=generator, device=x0.device)
        n = ((torch.arange(len(x0), device=x0.device) + spread) * steps / len(x0)).long() + 1
        n = n.clamp(max=steps)  # in case a draw near 1 is rounded up
        eps = torch.randn(x0.shape, generator=generator, device=x0.device)
        xn = diffusion.diffuse(self.schedule, x0, n, eps)
        variance = (1 / diffusion.at(self.schedule.snr, n, xn)).float()
        weight = 1 / variance + 1 / self.image_std.square()
        error = (weight * (self(xn, n) - x0).square()).mean((1, 2, 3))
        half = len(error) // 2
        metrics = {"loss_quiet": error[:half].mean(), "loss_noisy": error[half:].mean()}
        return error.mean(), metrics

    @torch.no_grad()
    def bound(
        self, frames: UInt8[Tensor, "B H W C"], generator: torch.Generator | None = None
    ) -> dict[str, float]:
        """The terms of −log p(x_0) ≤ L_N + Σ L_{n−1} + L_0, averaged over frames.

        Every n is evaluated once per frame, with one sample of x_n.

        Returns:
            `prior`, `denoising`, `decoder` and their sum `bound`, in nats per frame, and
            `bits_per_dimension`.
        """
        x0 = to_images(frames)
        terms = {"prior": diffusion.prior_matching(self.schedule, x0).mean().item(), "denoising": 0.0}
        for n in range(1, self.schedule.steps + 1):
            eps = torch.randn(x0.shape, generator=generator, device=x0.device)
            xn = diffusion.diffuse(self.schedule, x0, n, eps)
            x0_hat = self.denoise(xn, n)
            if n == 1:
                decoder = diffusion.decoder_term(self.schedule, x0, xn, x0_hat)
                terms["decoder"] = decoder.mean().item()
            else:
                term = diffusion.denoising_term(self.schedule, x0, xn, n, x0_hat)
                terms["denoising"] += term.mean().item()
        total = torch.tensor(sum(terms.values()), dtype=torch.float64)
        bits = diffusion.bits_per_dimension(total, x0).item()
        return terms | {"bound": total.item(), "bits_per_dimension": bits}


def to_images(frames: UInt8[Tensor, "B H W C"]) -> Float[Tensor, "B C H W"]:
    """Frames as images with values in [−1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B H W C"]:
    """Images as frames, rounded and clipped."""
    pixels = ((images + 1) * 127.5 + 0.5).clamp(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@runtime_checkable
class Shaped(Protocol):
    """A network of frames of one shape."""

    shape: tuple[int, int, int]


def check_frames(network: Shaped, frames: Tensor) -> None:
    """Check that frames fit a network.

    Raises:
        ValueError: the shape is not the network's, or the dtype is not uint8.
    """
    if not isinstance(frames, Tensor):
        raise ValueError(f"frames: got {frames!r:.200}, allowed: a tensor of frames")
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != network.shape:
        got, allowed = f"{frames.dtype} {tuple(frames.shape)}", f"torch.uint8 (N, *{network.shape})"
        raise ValueError(f"frames: got {got}, allowed: {allowed}, values 0 to 255")
