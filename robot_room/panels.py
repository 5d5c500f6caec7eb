"""What a window shows, and where: nothing is drawn here, and no window is opened.

A `View` holds what is shown; `robot_room.drawing` draws it. The room is always shown. Panels
without contents collapse, and what does not fit is left out, in the order of `OPTIONAL`:

    room, with an overlay  │ frames: camera, belief, …
                           │ plots
    legend                 │ facts
    filmstrip
    keys

A window narrower than `NARROW` points has one column.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room.pen import Pen, Picture, Rect, text_size
from robot_room.plots import SMALL, Plot
from robot_room.room import HALF_WIDTH
from robot_room.theme import DARK, Colour, Theme

SIZE = (1120, 780)
"""Size in points of a window that shows all panels."""
NARROW = 640  # points
MARGIN, GAP, LINE = 16, 12, 20  # points
HEADER = LINE + 10  # points
OPTIONAL = ("keys", "filmstrip", "facts", "plots", "legend", "frames")


class Frame(NamedTuple):
    """A small picture with its caption."""

    name: str
    picture: Picture
    note: str = ""
    """A few words on what it shows."""
    alarm: bool = False
    """Whether something is out of the ordinary."""
    smooth: bool = False
    """Whether it is interpolated when enlarged; camera frames show their pixels."""


class Sign(NamedTuple):
    """An entry of the legend."""

    name: str
    colour: Colour
    ring: bool = False
    """A ring, or a line."""


@dataclass(frozen=True)
class View:
    """The contents of a window."""

    room: Picture
    """Picture of the room, (H, W, 3)."""
    title: str = "the room"
    notice: str = ""
    """A message at the right of the title."""
    alarm: str = ""
    """A word in a corner of the room, such as "paused"."""
    overlay: "Overlay | None" = None
    """Draws over the room, beneath the alarm."""
    legend: Sequence["Sign"] = ()
    """What the overlay's lines mean."""
    frames: Sequence[Frame] = ()
    filmstrip: Sequence[Frame] = ()
    """A row of small pictures in temporal order."""
    filmstrip_title: str = ""
    plots: Sequence[Plot] = ()
    facts: Sequence[tuple[str, str]] = ()
    """Names and values beside the room."""
    keys: Sequence[tuple[str, str]] = ()
    """Keys and what they do."""
    theme: Theme = DARK


Overlay = Callable[[Pen, Rect], None]
"""Draws in the room's rectangle; `to_pixels` converts positions to pixels."""


class PanelLayout(NamedTuple):
    """Rectangles of all panels, in pixels; a list is empty if its panel is not shown."""

    title: Rect
    room: Rect
    legend: list[Rect]
    frames: list[Rect]
    """The pictures; their captions are above them."""
    caption: int
    """Height of these captions; notes are left out of low ones."""
    plots: list[Rect]
    """With title, labels and ticks."""
    facts: list[Rect]
    filmstrip: list[Rect]
    keys: list[Rect]


_Upper = tuple[Rect, list[Rect], list[Rect], int, list[Rect], list[Rect]]
"""Room, legend, frames, caption, plots and facts."""


def layout(view: View, size: tuple[int, int], scale: float = 1.0) -> PanelLayout:
    """Arrange the panels of a view.

    Args:
        view: the view.
        size: width and height of the surface in pixels.
        scale: pixels per point.
    """
    for count in range(len(OPTIONAL) + 1):
        shown: Any = {name: () for name in OPTIONAL[:count]}
        arranged = _Arrangement(replace(view, **shown), size, scale).panels()
        if arranged is not None:
            return arranged
    room = _fitted(view.room, *size)
    return PanelLayout(Rect(0, 0, size[0], 0), Rect(0, 0, *room), [], [], 0, [], [], [], [])


class _Arrangement:
    """The layout of all panels of a view, if they fit."""

    def __init__(self, view: View, size: tuple[int, int], scale: float) -> None:
        self.view, self.size, self.scale = view, size, scale
        self.margin, self.gap, self.line = self.px(MARGIN), self.px(GAP), self.px(LINE)
        self.width = size[0] - 2 * self.margin
        self.top = self.px(MARGIN - 4) + self.px(HEADER)

    def px(self, points: float) -> int:
        return round(points * self.scale)

    def panels(self) -> PanelLayout | None:
        """The layout; None if a panel does not fit, or too little is left to the room."""
        view, margin, width = self.view, self.margin, self.width
        narrow = self.size[0] < self.px(NARROW)
        widths = [key_width(*key, self.scale) for key in view.keys]
        keys = _flow(widths, width, self.px(22), self.px(14), self.px(6))
        bottom = self.size[1] - margin - _height(keys)
        keys = _moved(keys, margin, bottom)
        bottom -= self.gap if keys else 0
        filmstrip: list[Rect] = []
        if (count := len(view.filmstrip)) > 0:
            highest = self.px(104) if narrow else max(self.px(56), self.size[1] // 7)
            tile = min((width - (count - 1) * self.gap) // count, highest)
            filmstrip = _row(margin, bottom - tile, tile, self.gap, count)
            bottom -= tile + self.px(52)
            if tile < self.px(24):
                return None
        if bottom <= self.top or width < self.px(40):
            return None
        beside = bool(view.frames or view.plots or view.facts)
        upper = self._below(bottom) if narrow and beside else self._beside(bottom, beside)
        if upper is None:
            return None
        title = Rect(margin, self.px(MARGIN - 4), width, self.line)
        return PanelLayout(title, *upper, filmstrip, keys)

    def _beside(self, bottom: int, beside: bool) -> _Upper | None:
        """Room and legend at the left, all else at the right."""
        view, gap, line, down = self.view, self.gap, self.line, bottom - self.top
        across = self.width * 57 // 100 if beside else self.width
        legend: list[Rect] = []
        room_width = room_height = 0
        for _ in range(2):  # the legend's height depends on the room's width
            free = down - (_height(legend) + self.px(8) if view.legend else 0)
            room_width, room_height = _fitted(view.room, across, free)
            legend = self._legend(max(room_width, self.px(40)))
        room = Rect(self.margin, self.top, room_width, room_height)
        legend = _moved(legend, self.margin, self.top + room_height + self.px(8))
        small = min(room_width, room_height) < (0.33 if beside else 0.2) * min(self.size)
        if small or any(box.top + box.height > bottom for box in legend):
            return None

        left = self.margin + room_width + self.px(20)
        column = self.size[0] - self.margin - left
        lowest, highest = self.px(92), self.px(230)
        taken = len(view.facts) * line + len(view.plots) * (lowest + gap)
        caption, tile, number = 0, 0, 1
        for caption in (self.px(36), self.px(20)) if view.frames else ():  # notes, if they fit
            tile, number = _tile(column, down - taken, len(view.frames), caption, gap)
            if tile >= self.px(128):
                break
        if (view.frames and tile < self.px(56)) or (beside and column < self.px(150)):
            return None
        frames, y = [], self.top
        for first in range(0, len(view.frames), number):
            count = min(number, len(view.frames) - first)
            frames += _row(left, y + caption, tile, gap, count)
            y += caption + tile + gap
        rest = self.top + down - y - len(view.facts) * line - len(view.plots) * gap
        if rest < lowest * len(view.plots):
            return None
        height = min(rest // max(len(view.plots), 1), highest)
        plots = [Rect(left, y + i * (height + gap), column, height) for i in range(len(view.plots))]
        y += len(plots) * (height + gap)
        facts = [Rect(left, y + i * line, column, line) for i in range(len(view.facts))]
        return room, legend, frames, caption, plots, facts

    def _below(self, bottom: int) -> _Upper | None:
        """All panels below one another."""
        view, margin, gap = self.view, self.margin, self.gap
        legend = self._legend(self.width)
        caption, count, height = self.px(20), len(view.frames), self.px(96)
        tile = min((self.width - (count - 1) * gap) // count, self.px(120)) if count else 0
        framed = caption + tile + gap if count else 0
        taken = self.px(10) + _height(legend) + framed + len(view.plots) * (height + gap)
        taken += len(view.facts) * self.line
        room_width, room_height = _fitted(view.room, self.width, bottom - self.top - taken)
        if min(room_width, room_height) < 0.5 * min(self.size[0], self.size[1] * 3 // 4):
            return None
        room = Rect(margin + (self.width - room_width) // 2, self.top, room_width, room_height)
        y = self.top + room_height + self.px(8)
        legend = _moved(legend, margin, y)
        y += _height(legend) + self.px(2)
        frames = _row(margin, y + caption, tile, gap, count)
        y += framed
        plots = [
            Rect(margin, y + i * (height + gap), self.width, height) for i in range(len(view.plots))
        ]
        y += len(plots) * (height + gap)
        facts = [Rect(margin, y + i * self.line, self.width, self.line) for i in range(len(view.facts))]
        return room, legend, frames, caption, plots, facts

    def _legend(self, across: int) -> list[Rect]:
        widths = [legend_width(sign.name, self.scale) for sign in self.view.legend]
        return _flow(widths, across, self.line, self.px(14), 0)


def size_for(side: int) -> tuple[int, int]:
    """Size of a window that shows only a square room of `side` pixels, unscaled."""
    return side + 2 * MARGIN, side + 2 * MARGIN - 4 + HEADER


def _fitted(picture: Picture, width: int, height: int) -> tuple[int, int]:
    """The largest size of a picture in an area."""
    rows, columns = picture.shape[:2]
    scale = min(width / columns, max(height, 1) / rows)
    return max(int(columns * scale), 1), max(int(rows * scale), 1)


def _tile(across: int, down: int, count: int, caption: int, gap: int) -> tuple[int, int]:
    """Largest side of square pictures with captions that fit an area, and the columns that takes."""

    def side(columns: int) -> int:
        rows = -(-count // columns)
        return min((across - (columns - 1) * gap) // columns, down // rows - caption - gap)

    return max((side(columns), columns) for columns in range(1, count + 1))


def _row(left: int, top: int, side: int, gap: int, count: int) -> list[Rect]:
    """Squares beside one another."""
    return [Rect(left + i * (side + gap), top, side, side) for i in range(count)]


def _flow(widths: Sequence[int], across: int, height: int, gap: int, leading: int) -> list[Rect]:
    """Boxes of some widths in as many rows as they need, from (0, 0)."""
    boxes, left, top = [], 0, 0
    for width in widths:
        if left and left + width > across:
            left, top = 0, top + height + leading
        boxes.append(Rect(left, top, min(width, across), height))
        left += width + gap
    return boxes


def _height(boxes: Sequence[Rect]) -> int:
    return max((box.top + box.height for box in boxes), default=0) - min(
        (box.top for box in boxes), default=0
    )


def _moved(boxes: Sequence[Rect], right: int, down: int) -> list[Rect]:
    return [box._replace(left=box.left + right, top=box.top + down) for box in boxes]


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


def legend_width(name: str, scale: float) -> int:
    """Width of an entry of the legend, in pixels."""
    return text_size(name, SMALL * scale)[0] + round(34 * scale)


def key_width(key: str, action: str, scale: float) -> int:
    """Width of a key and what it does, in pixels."""
    cap = text_size(key, SMALL * scale)[0] + round(12 * scale)
    return max(cap, round(22 * scale)) + round(6 * scale) + text_size(action, SMALL * scale)[0]
