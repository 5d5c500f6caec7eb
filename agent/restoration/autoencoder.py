"""A denoising autoencoder: a clean frame from a degraded one in a single pass.

    x̂_0 = m + s F((y − m)/s),   trained to minimise E‖x̂_0 − x_0‖²,   y ~ p(y | x_0)

with m the mean frame and s the std around it. The minimiser is E[x_0 | y]. Unlike the diffusion model's
denoiser it is not told how strong the noise is, nor that there is noise: it is blind. y comes from
`degradation`, or from Gaussian noise alone, which makes it the plain denoising autoencoder (Vincent et
al. 2008).

F is a U-Net over 4 × 4 patches at three resolutions, the coarsest of which sees the whole frame.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, MultipleOf
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from agent.config import Config
from agent.restoration import degradation
from agent.restoration.denoiser import GROUPS, PATCH, Block, FrameNetwork, to_images

Degradation = Literal["broad", "noise"]
COARSEST = 4 * PATCH  # pixels per cell of the coarsest resolution


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """Sizes of the autoencoder, and what it learns from.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    width: Annotated[int, Ge(GROUPS), MultipleOf(GROUPS)] = 32
    """Channels at the finest resolution, doubled at the coarser ones."""
    degradation: Degradation = "broad"
    """"broad": random operators, see `agent.restoration.degradation`; "noise": Gaussian noise alone."""


class Reading(NamedTuple):
    """What the autoencoder makes of images."""

    images: Float[Tensor, "B C H W"]  # x̂_0
    summary: Float[Tensor, "B S"]  # of the coarsest features and of |y − x̂_0|; see `Harm`


class Autoencoder(FrameNetwork):
    """E[x_0 | y] of images with values in [−1, 1].

    `initialise` must be called on the frames before training.

    Args:
        shape: (H, W, C) of a frame; H and W are multiples of 16.
        config: sizes.

    Raises:
        ValueError: H or W is not a multiple of 16.
    """

    def __init__(self, shape: tuple[int, int, int], config: AutoencoderConfig | None = None) -> None:
        super().__init__(shape)
        self.config = config or AutoencoderConfig()
        height, width, channels = shape
        if height % COARSEST or width % COARSEST:
            raise ValueError(f"shape: got {shape}, allowed: H and W multiples of {COARSEST}")
        fine, coarse = self.config.width, 2 * self.config.width
        folded = channels * PATCH**2
        self.summary_size = 2 * coarse + 2
        self.enter = nn.Conv2d(folded, fine, 3, padding=1)
        self.fine_down = Block(fine, fine)
        self.down = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.coarse_down = Block(coarse, coarse)
        self.down_again = nn.Conv2d(coarse, coarse, 3, stride=2, padding=1)
        self.whole, self.middle = Block(coarse, coarse), Block(coarse, coarse)
        self.up = nn.Conv2d(coarse, 4 * coarse, 1)
        self.coarse_up = Block(2 * coarse, coarse)
        self.up_again = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine_up = Block(2 * fine, fine)
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.leave = nn.Conv2d(fine, folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """x̂_0, not clipped."""
        return self._restored(images)[0]

    def _restored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """x̂_0, and the coarsest features."""
        # Divided by 1/2 and not by s, by which what is far from all clean frames would be too large.
        fine = self.fine_down(self.enter(F.pixel_unshuffle(2 * (images - self.mean_image), PATCH)))
        coarse = self.coarse_down(self.down(fine))
        middle = self.middle(self.whole(self.down_again(coarse)))
        h = self.coarse_up(torch.cat([F.pixel_shuffle(self.up(middle), 2), coarse], 1))
        h = self.fine_up(torch.cat([F.pixel_shuffle(self.up_again(h), 2), fine], 1))
        change = F.pixel_shuffle(self.leave(F.silu(self.norm(h))), PATCH)
        return self.mean_image + self.image_std * change, middle

    @torch.no_grad()
    def read(self, images: Float[Tensor, "B C H W"]) -> Reading:
        """x̂_0, clipped to [−1, 1], and a summary of how it came about."""
        restored, middle = self._restored(images)
        restored = restored.clamp(-1, 1)
        apart = (images - restored).abs().flatten(1)
        numbers = torch.stack([apart.mean(1), apart.square().mean(1).sqrt()], 1)
        parts = [middle.mean((2, 3)), middle.amax((2, 3)), (numbers + 1e-3).log()]
        return Reading(restored, torch.cat(parts, 1))

    def loss(
        self, frames: UInt8[Tensor, "B H W C"], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of x̂_0 per pixel, relative to the frames' variance around their mean."""
        x0 = to_images(frames)
        degrade = degradation.degraded if self.config.degradation == "broad" else degradation.noise
        error = (self(degrade(x0, generator).clamp(-1, 1)) - x0).square().mean()
        return error / self.image_std.square(), {}
