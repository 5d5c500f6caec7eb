"""Random degradations of images, from which a blind restorer learns: y ~ p(y | x_0).

Each image goes through up to `MOST` operators, drawn and parametrised at random, in random order:
noise, blur, stuck pixels, rectangles, a change of all intensities, and a smooth change over the
frame. The family is broad on purpose and copies no particular camera. Images have values
in [−1, 1].
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MOST = 3  # operators per image
CLEAN = 0.1  # fraction of images that are left as they are
BLACK = 0.02  # fraction of images of which nothing is left
LARGEST_STD = 1.5  # of noise
LARGEST_BLUR = 4.0  # std in pixels
LARGEST_FRACTION = 0.5  # of stuck pixels
LARGEST_SIDE = 0.75  # of a rectangle, relative to the frame's
LARGEST_COUNT = 8  # rectangles per image
LARGEST_OFFSET = 0.9

Images = Float[Tensor, "B C H W"]
Operator = Callable[[Images, torch.Generator | None], Images]


def degraded(images: Images, generator: torch.Generator | None = None) -> Images:
    """Draw y for each image."""
    count = len(images)

    def draw() -> Tensor:
        return torch.rand(count, generator=generator)

    how_many = (draw() * MOST).long() + 1
    how_many[draw() < CLEAN] = 0
    result = images.clone()
    for turn in range(MOST):
        chosen = (draw() * len(OPERATORS)).long()
        chosen[how_many <= turn] = -1
        for number, operator in enumerate(OPERATORS):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows) > 0:
                result[rows] = operator(result[rows], generator).clamp(-1, 1)
    result[draw() < BLACK] = -1
    return result


def _uniform(images: Images, generator: torch.Generator | None, low: float, high: float) -> Tensor:
    """A number per image, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def noise(images: Images, generator: torch.Generator | None = None) -> Images:
    """Independent Gaussian noise, of a std that is uniform in its logarithm."""
    std = _uniform(images, generator, math.log(0.05), math.log(LARGEST_STD)).exp()
    return images + std * torch.randn(images.shape, generator=generator)


def blur(images: Images, generator: torch.Generator | None = None) -> Images:
    """A Gaussian blur; all images of a call share its std, other than along rows and columns."""
    for axis in (2, 3):
        std = 0.3 + (LARGEST_BLUR - 0.3) * torch.rand((), generator=generator).item()
        reach = min(math.ceil(2.5 * std), images.shape[axis] - 1)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / std).square())
        shape = [1, 1, 1, 1]
        shape[axis] = len(taps)
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        flat = F.pad(images, pad, mode="replicate").flatten(0, 1)[:, None]
        images = F.conv2d(flat, (taps / taps.sum()).view(shape)).view(images.shape)
    return images


def stuck_pixels(images: Images, generator: torch.Generator | None = None) -> Images:
    """A fraction of pixels, each black or white."""
    size = len(images), 1, *images.shape[2:]
    drawn = torch.rand(size, generator=generator)
    fraction = _uniform(images, generator, 0.0, LARGEST_FRACTION)
    white = torch.rand(size, generator=generator) < 0.5
    return torch.where(drawn < fraction, torch.where(white, 1.0, -1.0), images)


def rectangles(images: Images, generator: torch.Generator | None = None) -> Images:
    """Rectangles of any colour: one that may be large, or several small ones."""
    height, width = images.shape[2:]
    rows = torch.arange(height)[:, None]
    columns = torch.arange(width)
    images = images.clone()
    for image in images:
        count = int((LARGEST_COUNT + 1) ** torch.rand((), generator=generator).item())  # more often few
        places = torch.rand(count, 4, generator=generator)
        largest = LARGEST_SIDE / math.sqrt(count)
        for colour, (y, x, h, w) in zip(_colours(count, generator), places.tolist(), strict=True):
            tall, wide = (2 + (largest * size - 2) * part for size, part in ((height, h), (width, w)))
            top, left = y * (height - tall), x * (width - wide)
            inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
            image[:, inside] = colour[: len(image), None]
    return images


def _colours(count: int, generator: torch.Generator | None) -> Tensor:
    """Colours (count, 4): half of them with every channel at an end of its range."""
    colours = 2 * torch.rand(count, 4, generator=generator) - 1
    pure = torch.rand(count, 1, generator=generator) < 0.5
    grey = torch.rand(count, 1, generator=generator) < 0.5
    colours = torch.where(grey, colours[:, :1], colours)
    return torch.where(pure, colours.sign(), colours)


def offset(images: Images, generator: torch.Generator | None = None) -> Images:
    """A number added to every intensity, partly shared by the channels."""
    size = len(images), images.shape[1], 1, 1
    own = (2 * torch.rand(size, generator=generator) - 1) * LARGEST_OFFSET / 3
    shared = _uniform(images, generator, -LARGEST_OFFSET, LARGEST_OFFSET) * 2 / 3
    return images + shared + own


def smooth_change(images: Images, generator: torch.Generator | None = None) -> Images:
    """Add a field of low frequency, interpolated between normal values on a coarse grid."""
    side = int(torch.randint(2, 9, (), generator=generator))
    coarse = torch.randn(len(images), images.shape[1], side, side, generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        coarse = coarse[:, :1].expand_as(coarse)
    field = F.interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True)
    return images + _uniform(images, generator, 0.05, 0.6) * field


OPERATORS: tuple[Operator, ...] = (noise, blur, stuck_pixels, rectangles, offset, smooth_change)
