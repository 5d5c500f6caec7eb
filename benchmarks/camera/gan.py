"""A generative adversarial network of frames (arXiv 1406.2661), a rival of the diffusion model.

A generator G turns latents h ~ N(0, I) into images, with density p_g; a discriminator D tells them from
real ones, of density p_r. With D = sigmoid(l) they play for the value

    V(D, G) = E_{p_r}[log D(x)] + E_{p_g}[log(1 − D(x))].

For a fixed G the best discriminator is D* = p_r/(p_r + p_g); then V = −2 log 2 + 2 JSD(p_r ‖ p_g).

    minimax          G minimises E_{p_g}[log(1 − D)], whose derivative in l is −D: it vanishes where
                     the discriminator is sure that an image is not real
    non-saturating   G minimises −E_{p_g}[log D], whose derivative −(1 − D) does not

Where p_r and p_g hardly overlap, the gradient of JSD vanishes for every good discriminator. There are
two remedies: noise on all images that the discriminator sees, which widens both densities
(arXiv 1701.04862), and the penalty (γ/2) E_{p_r}‖∇l(x)‖², which keeps the discriminator's slope small
(R1, arXiv 1801.04406).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MultipleOf
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from agent.config import Config, Count, NonNegative, Positive
from agent.restoration.denoiser import to_frames, to_images
from agent.seeded import Seeded

GeneratorLoss = Literal["minimax", "non-saturating"]
PATCH = 4  # pixels; both networks work on patches, as the denoiser does
SLOPE = 0.2  # of leaky ReLUs


@dataclass(frozen=True)
class GanConfig(Config):
    """Sizes and optimisation of a GAN.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    latent_dim: Count = 16
    """Dimensions of h."""
    width: Annotated[int, Ge(8), MultipleOf(8)] = 32
    """Channels at a quarter of the frame's resolution, doubled below."""
    loss: GeneratorLoss = "non-saturating"
    """What the generator minimises."""
    penalty: NonNegative = 1.0
    """γ, weight of the R1 penalty; 0 switches it off."""
    noise_std: NonNegative = 0.1
    """Std of the noise on all images that the discriminator sees; images have values in [−1, 1]."""
    batch_size: Count = 32
    """Real images per update, and as many generated ones."""
    learning_rate: Positive = 1e-3
    """Of Adam, with β = (0, 0.99), for both networks."""
    decay: Annotated[float, Ge(0)] = 0.995
    """Decay of the average of the generator's weights, which draws the samples."""


def value(real: Float[Tensor, "N"], fake: Float[Tensor, "N"]) -> Tensor:  # noqa: F821 - a shape
    """V(D, G) estimated from the discriminator's logits; it maximises it."""
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


def generator_loss(fake: Float[Tensor, "N"], loss: GeneratorLoss) -> Tensor:  # noqa: F821
    """What the generator minimises, estimated from the logits of its images."""
    return F.logsigmoid(-fake).mean() if loss == "minimax" else -F.logsigmoid(fake).mean()


def gradient_penalty(logits: Float[Tensor, "N"], images: Tensor) -> Tensor:  # noqa: F821
    """E‖∇l(x)‖² at images that require gradients; differentiable itself."""
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()


class Generator(nn.Module):
    """G: latents (N, latent_dim) to images (N, C, H, W), as changes of the mean image."""

    mean_image: Tensor

    def __init__(self, shape: tuple[int, int, int], config: GanConfig) -> None:
        super().__init__()
        height, width, channels = shape
        self.coarse = 2 * config.width, height // (2 * PATCH), width // (2 * PATCH)
        self.enter = nn.Linear(config.latent_dim, math.prod(self.coarse))
        self.layers = nn.Sequential(
            nn.GroupNorm(8, 2 * config.width),
            nn.SiLU(),
            nn.Conv2d(2 * config.width, 4 * config.width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.GroupNorm(8, config.width),
            nn.SiLU(),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.width, channels * PATCH**2, 3, padding=1),
            nn.PixelShuffle(PATCH),
        )
        self.register_buffer("mean_image", torch.zeros(channels, height, width))

    def forward(self, h: Float[Tensor, "N D"]) -> Float[Tensor, "N C H W"]:
        """The images."""
        return self.mean_image + self.layers(self.enter(h).view(-1, *self.coarse))


class Discriminator(nn.Module):
    """The logits l = log D − log(1 − D) of images (N, C, H, W)."""

    def __init__(self, shape: tuple[int, int, int], config: GanConfig) -> None:
        super().__init__()
        height, width, channels = shape
        wide = 2 * config.width
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(PATCH),
            nn.Conv2d(channels * PATCH**2, config.width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(config.width, wide, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(wide * (height // (2 * PATCH)) * (width // (2 * PATCH)), 1),
        )

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N"]:  # noqa: F821
        """The logits."""
        return self.layers(images)[:, 0]


class Gan:
    """Both networks and their training.

    Args:
        shape: (H, W, C) of a frame; H and W are multiples of 8.
        config: sizes and optimisation.
        seed: seed of parameters, batches, latents and noise.

    Raises:
        ValueError: H or W is not a multiple of 8.
    """

    def __init__(
        self, shape: tuple[int, int, int], config: GanConfig | None = None, seed: int = 0
    ) -> None:
        if shape[0] % (2 * PATCH) or shape[1] % (2 * PATCH):
            raise ValueError(f"shape: got {shape}, allowed: H and W multiples of {2 * PATCH}")
        self.config = config = config or GanConfig()
        with Seeded(seed):
            self.generator, self.averaged = Generator(shape, config), Generator(shape, config)
            self.discriminator = Discriminator(shape, config)
        self.averaged.load_state_dict(self.generator.state_dict())
        self.averaged.requires_grad_(False)
        self.random = torch.Generator().manual_seed(seed)
        how = {"lr": config.learning_rate, "betas": (0.0, 0.99)}
        self._generator_step = torch.optim.Adam(self.generator.parameters(), **how)
        self._discriminator_step = torch.optim.Adam(self.discriminator.parameters(), **how)

    def initialise(self, frames: UInt8[Tensor, "N H W C"]) -> None:
        """Set the mean image from the data, before the first update."""
        for each in (self.generator, self.averaged):
            each.mean_image.copy_(to_images(frames).mean(0))

    def update(self, frames: UInt8[Tensor, "N H W C"]) -> dict[str, float]:
        """One step of the discriminator and one of the generator, on random frames.

        Returns:
            `value`, the estimate of V(D, G), and `gradient`, the norm of the generator's gradient.
        """
        config, size = self.config, self.config.batch_size
        chosen = torch.randint(len(frames), (size,), generator=self.random)
        real = self._noisy(to_images(frames[chosen])).requires_grad_(config.penalty > 0)
        fake = self.generator(self.latents(size))

        logits = self.discriminator(real)
        played = value(logits, self.discriminator(self._noisy(fake.detach())))
        loss = -played
        if config.penalty > 0:
            loss = loss + config.penalty / 2 * gradient_penalty(logits, real)
        self._discriminator_step.zero_grad()
        loss.backward()
        self._discriminator_step.step()

        self._generator_step.zero_grad()
        generator_loss(self.discriminator(self._noisy(fake)), config.loss).backward()
        gradient = nn.utils.get_total_norm(
            [each.grad for each in self.generator.parameters() if each.grad is not None]
        )
        self._generator_step.step()
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.generator.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - config.decay)
        return {"value": played.item(), "gradient": gradient.item()}

    def latents(self, count: int) -> Float[Tensor, "N D"]:
        """Draw h ~ N(0, I)."""
        return torch.randn(count, self.config.latent_dim, generator=self.random)

    def _noisy(self, images: Tensor) -> Tensor:
        if self.config.noise_std == 0:
            return images
        return images + self.config.noise_std * torch.randn(images.shape, generator=self.random)

    @torch.no_grad()
    def sample(self, count: int) -> UInt8[Tensor, "N H W C"]:
        """Draw frames."""
        return to_frames(self.averaged(self.latents(count)))

    @torch.no_grad()
    def logits(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821
        """The discriminator's logits of frames: low for those that it finds not real."""
        return self.discriminator(self._noisy(to_images(frames)))

    def invert(
        self, frames: UInt8[Tensor, "N H W C"], steps: int = 100, starts: int = 4, rate: float = 0.1
    ) -> tuple[UInt8[Tensor, "N H W C"], Float[Tensor, "N"]]:  # noqa: F821 - a shape
        """The nearest images that G makes, by Adam on h from several starts, and their mean |error|.

        As a restorer, it projects a frame on G's range; as a detector, the error is the score. The
        absolute error is minimised, since it forgives a few pixels that are far off.
        """
        images = to_images(frames).repeat(starts, 1, 1, 1)
        h = self.latents(len(images)).requires_grad_()
        optimiser = torch.optim.Adam([h], rate)
        for _ in range(steps):
            optimiser.zero_grad()
            (self.averaged(h) - images).abs().flatten(1).sum(1).sum().backward()
            optimiser.step()
        with torch.no_grad():
            found = self.averaged(h)
            error = (found - images).abs().mean((1, 2, 3)).view(starts, len(frames))
            best, start = error.min(0)
            rows = start * len(frames) + torch.arange(len(frames))
            return to_frames(found[rows]), best
