"""Layout and drawing of the window's contents, without opening a window.

A `View` holds the data to show; `draw` renders it at any size. The room is always shown; panels
without data collapse:

    room, with an overlay  │ frames: camera, belief, …
                           │ curves
                           │ status
    filmstrip
    keys
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room.room import HALF_WIDTH

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER, INK, FAINT, ALARM = (22, 24, 29), (232, 234, 237), (140, 146, 156), (255, 138, 76)
CURVES: tuple[Colour, ...] = ((255, 64, 160), (120, 200, 255), (255, 214, 90))
MARGIN, LINE = 12, 20  # pixels
SIZE = (1080, 760)
"""Size in pixels of a window that shows all panels."""


@dataclass(frozen=True)
class View:
    """The contents of a window."""

    room: Picture
    """Picture of the room, (H, W, 3)."""
    title: str = "the room"
    """Title above the room."""
    alarm: str = ""
    """Warning written across the room."""
    overlay: "Overlay | None" = None
    """Draws over the room, beneath the alarm."""
    frames: Mapping[str, Picture] = field(default_factory=dict)
    """Small pictures by name."""
    filmstrip: Mapping[str, Picture] = field(default_factory=dict)
    """A row of small pictures in temporal order, by name."""
    filmstrip_title: str = ""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Curves of one plot by name, the newest value at the right."""
    curves_title: str = ""
    status: Sequence[str] = ()
    """Lines of text beside the room."""
    help: Sequence[str] = ()
    """Lines of text at the bottom."""


class Rect(NamedTuple):
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int


Overlay = Callable[[Any, Rect], None]
"""Draws on a pygame surface in the room's rectangle; `to_pixels` converts positions to pixels."""


class PanelLayout(NamedTuple):
    """Rectangles and text positions of all panels, in pixels."""

    room: Rect
    frames: list[Rect]
    curves: Rect | None
    status: tuple[int, int]
    filmstrip: list[Rect]
    help: tuple[int, int]


def layout(view: View, size: tuple[int, int]) -> PanelLayout:
    """Compute the panels of a view for a surface of `size`, (width, height) in pixels."""
    width, height = size
    bottom = height - MARGIN - LINE * len(view.help)
    strip = min(150, height // 5) if view.filmstrip else 0
    main = max(bottom - strip - 2 * LINE - 2 * MARGIN, 32)
    alone = not (view.frames or view.curves or view.status)
    rows, columns = view.room.shape[:2]
    widest = width - 2 * MARGIN if alone else max(width * 58 // 100 - MARGIN, 32)
    scale = min(widest / columns, main / rows)
    room = Rect(MARGIN, MARGIN + LINE, max(int(columns * scale), 1), max(int(rows * scale), 1))

    left = room.left + room.width + MARGIN
    across = max(width - left - MARGIN, 32)
    count = len(view.frames)
    plot = max(height // 5, 90) if view.curves else 0
    free = max(main + LINE - LINE * (len(view.status) + 1) - plot, 32)
    tile, columns = max(_tile(across, free, count, columns) for columns in range(1, max(count, 1) + 1))
    frames = [
        Rect(
            left + number % columns * (tile + MARGIN),
            room.top + number // columns * (tile + LINE + MARGIN),
            tile,
            tile,
        )
        for number in range(count)
    ]
    top = room.top + -(-count // columns) * (tile + LINE + MARGIN)
    curves = Rect(left, top + LINE // 2, across, plot - LINE) if view.curves else None
    status = (left, top + plot)

    top = room.top + main + LINE
    number = len(view.filmstrip)
    side = max(min(strip - LINE - MARGIN, (width - MARGIN) // max(number, 1) - MARGIN), 8)
    filmstrip = [Rect(MARGIN + i * (side + MARGIN), top + LINE, side, side) for i in range(number)]
    return PanelLayout(room, frames, curves, status, filmstrip, (MARGIN, bottom))


def size_for(side: int) -> tuple[int, int]:
    """Size of a window that shows only a square room of `side` pixels, unscaled."""
    return side + 2 * MARGIN, side + 2 * LINE + 3 * MARGIN


def _tile(across: int, down: int, count: int, columns: int) -> tuple[int, int]:
    """Largest side of `count` squares that fit an area in `columns` columns, and `columns`."""
    rows = max(-(-count // columns), 1)
    side = min((across - (columns - 1) * MARGIN) // columns, down // rows - LINE - MARGIN)
    return max(side, 16), columns


def to_pixels(box: Rect, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert positions (…, 2) in metres to pixels in the room's rectangle; y points up."""
    share = (places * [1, -1] + HALF_WIDTH) / (2 * HALF_WIDTH)
    return share * [box.width, box.height] + [box.left, box.top]


def to_metres(box: Rect, pixel: tuple[int, int]) -> NDArray[np.float64] | None:
    """Convert a pixel to a position in the room, or None outside it."""
    share = (np.array(pixel) + 0.5 - [box.left, box.top]) / [box.width, box.height]
    if (share < 0).any() or (share > 1).any():
        return None
    return (share * 2 - 1) * HALF_WIDTH * [1, -1]


def draw(view: View, size: tuple[int, int] = SIZE) -> Any:
    """Draw the view on a new pygame surface.

    Raises:
        ImportError: pygame is missing.
    """
    pygame = import_pygame()
    surface, places = pygame.Surface(size), layout(view, size)
    surface.fill(PAPER)
    _write(surface, view.title, (MARGIN, MARGIN - 2), width=places.room.width)
    _paste(surface, view.room, places.room)
    if view.overlay is not None:
        view.overlay(surface, places.room)
    if view.alarm:
        box = places.room
        _write(surface, view.alarm, (box.left + MARGIN, box.top + box.height - 2 * LINE), ALARM, 28)
    for boxes, pictures in ((places.frames, view.frames), (places.filmstrip, view.filmstrip)):
        for box, (name, picture) in zip(boxes, pictures.items(), strict=True):
            _write(surface, name, (box.left, box.top - LINE + 3), FAINT, width=box.width)
            _paste(surface, picture, box)
    if places.filmstrip:
        box = places.filmstrip[0]
        _write(surface, view.filmstrip_title, (box.left, box.top - 2 * LINE + 8))
    if places.curves is not None:
        _draw_curves(surface, places.curves, view)
    for (left, top), lines in ((places.status, view.status), (places.help, view.help)):
        colour = INK if lines is view.status else FAINT
        for number, line in enumerate(lines):
            _write(surface, line, (left, top + number * LINE), colour)
    return surface


def to_picture(surface: Any) -> Picture:
    """The pixels of a surface, (height, width, 3)."""
    pixels = import_pygame().surfarray.array3d(surface)
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def _draw_curves(surface: Any, box: Rect, view: View) -> None:
    pygame = import_pygame()
    _write(surface, view.curves_title, (box.left, box.top - LINE // 2), FAINT)
    left = box.left + 12 + _font(18).size(view.curves_title)[0]
    values = [value for curve in view.curves.values() for value in curve]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    top, height = box.top + LINE // 2 + 4, box.height - LINE
    pygame.draw.rect(surface, (34, 37, 44), (box.left, top, box.width, height))
    longest = max((len(curve) for curve in view.curves.values()), default=0)
    for colour, (name, curve) in zip(CURVES, view.curves.items(), strict=False):
        _write(surface, name, (left, box.top - LINE // 2), colour)
        left += 12 + _font(18).size(name)[0]
        y = top + 3 + (high - np.array(curve, np.float64)) / (high - low) * (height - 6)
        x = box.left + (np.arange(len(curve)) + longest - len(curve)) / max(longest - 1, 1) * box.width
        if len(curve) > 1:
            pygame.draw.aalines(surface, colour, False, np.stack([x, y], 1).tolist())
    for value, place in ((high, top + 2), (low, top + height - 16)):
        _write(surface, f"{value:.2f}", (box.left + 4, place), FAINT, 16)


def _paste(surface: Any, picture: Picture, box: Rect) -> None:
    """Paste a picture, scaled to `box`; one channel is grey, stacked frames show the last one."""
    pygame = import_pygame()
    picture = np.broadcast_to(picture[..., -3:], (*picture.shape[:2], 3))
    size = picture.shape[1], picture.shape[0]
    image = pygame.image.frombuffer(np.ascontiguousarray(picture).tobytes(), size, "RGB")
    if size != (box.width, box.height):
        image = pygame.transform.scale(image, (box.width, box.height))
    surface.blit(image, box[:2])


def _write(
    surface: Any,
    text: str,
    place: tuple[int, int],
    colour: Colour = INK,
    size: int = 18,
    width: int = 10_000,
) -> None:
    """Write a line of text, clipped to `width` pixels."""
    if text:
        surface.blit(_written(text, colour, size), place, (0, 0, width, 2 * size))


@lru_cache(maxsize=512)
def _written(text: str, colour: Colour, size: int) -> Any:
    return _font(size).render(text, True, colour)


def _font(size: int) -> Any:
    pygame = import_pygame()
    if not pygame.font.get_init():  # some environments quit pygame on close
        pygame.font.init()
        _kept_font.cache_clear()
    return _kept_font(size)


@lru_cache(maxsize=8)
def _kept_font(size: int) -> Any:
    return import_pygame().font.Font(None, size)


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
