"""Drawing on a pygame surface at the scale of a display: text, lines, boxes and pictures.

Places and rectangles are in pixels; sizes of text and widths of lines are in points, of which a
display of scale 1 has one per pixel.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room.theme import Colour, Theme

Picture = NDArray[np.uint8]
FONTS = Path(__file__).with_name("fonts")
FINE = 3
"""Text is drawn so many times larger and reduced, as fonts place letters on whole pixels only."""


class Rect(NamedTuple):
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int


class Pen:
    """Draws on a surface.

    Args:
        surface: a pygame surface.
        theme: the colours.
        scale: pixels per point.
    """

    def __init__(self, surface: Any, theme: Theme, scale: float = 1.0) -> None:
        self.surface, self.theme, self.scale = surface, theme, scale

    def points(self, length: float) -> int:
        """A length in points as whole pixels."""
        return round(length * self.scale)

    def write(
        self,
        text: str,
        place: tuple[int, int],
        colour: Colour | None = None,
        size: float = 13,
        bold: bool = False,
        width: int | None = None,
        align: str = "left",
    ) -> None:
        """Write a line of text; what exceeds `width` pixels is cut off and ends in "…".

        Args:
            text: the text.
            place: its left (right, centre) and top, pixels.
            colour: None: the theme's ink.
            size: points.
            bold: whether it is semi-bold.
            width: the most pixels that it may take.
            align: "left", "right" or "centre" of `place`.
        """
        pixels = max(self.points(size), 1)
        if width is not None:
            text = _shortened(text, pixels, bold, max(width, 0))
        if text:
            written = _written(text, colour or self.theme.ink, pixels, bold)
            share = {"left": 0.0, "centre": 0.5, "right": 1.0}[align]
            left = place[0] - round(share * written.get_width())
            self.surface.blit(written, (left, place[1]))

    def lines(
        self,
        paths: Iterable[NDArray[np.float64]],
        colour: Colour,
        width: float,
        opacity: float = 1.0,
    ) -> None:
        """Draw polylines with round joints and smooth edges; where they overlap they are one shape.

        Args:
            paths: each (N, 2), places in pixels, where (0, 0) is the corner of a pixel.
            colour: the colour.
            width: points.
            opacity: from 0 to 1.
        """
        paths = [path for path in paths if len(path)]
        if not paths:
            return
        reach = width * self.scale / 2 + 1
        limits = np.concatenate(paths)
        low = np.maximum(np.floor(limits.min(0) - reach), 0).astype(int)
        high = np.minimum(np.ceil(limits.max(0) + reach), self.surface.get_size()).astype(int)
        if (high <= low).any():
            return
        covered = coverage([path - low for path in paths], tuple(high - low), width * self.scale)
        self._veil(covered, low, colour, opacity)

    def _veil(
        self, covered: NDArray[Any], corner: NDArray[np.int_], colour: Colour, opacity: float
    ) -> None:
        """Lay a colour over the surface, as opaque as each pixel (width, height) is covered."""
        pygame = import_pygame()
        veil = pygame.Surface(covered.shape, pygame.SRCALPHA)
        veil.fill((*colour, 0))
        alpha = pygame.surfarray.pixels_alpha(veil)
        alpha[:] = (covered * (255 * opacity) + 0.5).astype(np.uint8)
        del alpha  # it locks the surface
        self.surface.blit(veil, corner.tolist())

    def dots(self, places: NDArray[np.float64], colour: Colour, size: float) -> None:
        """Draw discs of a diameter in points at places (N, 2) in pixels."""
        self.lines([place[None] for place in places], colour, size)

    def ring(self, place: NDArray[np.float64], colour: Colour, size: float, width: float) -> None:
        """Draw a circle of a diameter and a line width in points."""
        radius, line = size * self.scale / 2, width * self.scale
        low = np.floor(place - radius - line).astype(int)
        side = 2 * int(np.ceil(radius + line)) + 2
        x, y = (np.arange(side) + 0.5 - middle for middle in place - low)
        distance = np.abs(np.hypot(x[:, None], y[None]) - radius)
        self._veil(np.clip(line / 2 + 0.5 - distance, 0, min(line, 1)), low, colour, 1.0)

    def box(self, box: Rect, colour: Colour, radius: float = 0, opacity: float = 1.0) -> None:
        """Fill a rectangle with rounded corners of a radius in points."""
        self._rectangle(box, colour, radius, 0, opacity)

    def frame(self, box: Rect, colour: Colour, radius: float = 0, width: float = 1) -> None:
        """Draw the outline of a rectangle, on its inside."""
        self._rectangle(box, colour, radius, max(self.points(width), 1), 1.0)

    def _rectangle(self, box: Rect, colour: Colour, radius: float, width: int, opacity: float) -> None:
        shade = (*colour, round(255 * opacity))
        corners = radius * self.scale
        self.surface.blit(_rounded(box.width, box.height, shade, corners, width), box[:2])

    def paste(self, picture: Picture, box: Rect, smooth: bool = False) -> None:
        """Paste a picture, scaled to `box`; one channel is grey, stacked frames show the last one."""
        pygame = import_pygame()
        last = picture[..., -3:] if picture.shape[-1] >= 3 else picture[..., -1:]
        picture = np.broadcast_to(last, (*picture.shape[:2], 3))
        size = picture.shape[1], picture.shape[0]
        image = pygame.image.frombuffer(np.ascontiguousarray(picture).tobytes(), size, "RGB")
        if size != (box.width, box.height):
            shrinks = box.width < size[0] or box.height < size[1]
            scaled = pygame.transform.smoothscale if smooth or shrinks else pygame.transform.scale
            image = scaled(image, (box.width, box.height))
        self.surface.blit(image, box[:2])


def coverage(
    paths: Iterable[NDArray[np.float64]], size: tuple[int, ...], width: float
) -> NDArray[np.float32]:
    """How much of each pixel polylines cover, (width, height) from 0 to 1.

    A pixel's share is its distance from the line's edge, as if the edge were straight and parallel to
    the pixel's side; lines thinner than a pixel are fainter instead.

    Args:
        paths: each (N, 2), places in pixels.
        size: width and height in pixels.
        width: of the lines, in pixels.
    """
    covered = np.zeros(size, np.float32)
    reach, most = width / 2 + 0.5, np.float32(min(width, 1))
    x, y = (np.arange(length, dtype=np.float32) + 0.5 for length in size)
    for path in paths:
        path = path[:1].repeat(2, 0) if len(path) == 1 else path
        low = np.maximum(np.floor(np.minimum(path[:-1], path[1:]) - reach), 0).astype(int)
        high = np.minimum(np.ceil(np.maximum(path[:-1], path[1:]) + reach), size).astype(int)
        for start, end, (left, top), (right, bottom) in zip(
            path[:-1], path[1:], low, high, strict=True
        ):
            if right <= left or bottom <= top:
                continue
            dx, dy = (end - start).tolist()
            length = max(dx * dx + dy * dy, 1e-9)
            across, down = x[left:right, None] - start[0], y[None, top:bottom] - start[1]
            along = across * (dx / length) + down * (dy / length)
            np.minimum(np.maximum(along, 0, out=along), 1, out=along)
            share = reach - np.sqrt((across - along * dx) ** 2 + (down - along * dy) ** 2)
            part = covered[left:right, top:bottom]
            np.maximum(part, np.minimum(share, most, out=share), out=part)
    return covered


@lru_cache(maxsize=256)
def _rounded(
    width: int, height: int, shade: tuple[int, int, int, int], radius: float, line: int
) -> Any:
    """A rectangle, or its outline if `line` is not 0, with rounded corners."""
    pygame = import_pygame()
    fine = 4 if radius else 1  # pygame's corners are jagged
    veil = pygame.Surface((max(width, 1) * fine, max(height, 1) * fine), pygame.SRCALPHA)
    veil.fill((*shade[:3], 0))
    pygame.draw.rect(veil, shade, veil.get_rect(), line * fine, border_radius=round(radius * fine))
    return pygame.transform.smoothscale(veil, (max(width, 1), max(height, 1))) if fine > 1 else veil


@lru_cache(maxsize=1024)
def text_size(text: str, size: float, bold: bool = False) -> tuple[int, int]:
    """Width and height of a line of text in pixels, for a size in pixels."""
    width, height = _font(FINE * max(round(size), 1), bold).size(text)
    return -(-width // FINE), -(-height // FINE)


@lru_cache(maxsize=512)
def _shortened(text: str, size: int, bold: bool, width: int) -> str:
    if text_size(text, size, bold)[0] <= width:
        return text
    while text and text_size(text + "…", size, bold)[0] > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


@lru_cache(maxsize=512)
def _written(text: str, colour: Colour, size: int, bold: bool) -> Any:
    written = _font(FINE * size, bold).render(text, True, colour)
    return import_pygame().transform.smoothscale(written, text_size(text, size, bold))


def _font(size: int, bold: bool) -> Any:
    pygame = import_pygame()
    if not pygame.font.get_init():  # some environments quit pygame on close
        pygame.font.init()
        _kept_font.cache_clear()
    return _kept_font(size, bold)


@lru_cache(maxsize=32)
def _kept_font(size: int, bold: bool) -> Any:
    name = "Inter-SemiBold.otf" if bold else "Inter-Regular.otf"
    return import_pygame().font.Font(FONTS / name, size)


def import_pygame() -> Any:
    """Import pygame, which only drawing needs.

    Raises:
        ImportError: pygame is missing; the message says how to install it.
    """
    try:
        import pygame
    except ImportError as error:
        raise ImportError(
            "A window needs pygame: pip install pygame. (pygame and pygame-ce overwrite each "
            "other; if both were installed, remove both and install one again.)"
        ) from error
    return pygame
