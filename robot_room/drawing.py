"""Drawing of a view: every panel where its layout says."""

from typing import Any

import numpy as np

from robot_room.panels import SIZE, Frame, Sign, View, layout
from robot_room.pen import Pen, Picture, Rect, import_pygame, text_size
from robot_room.plots import SMALL, draw_plot

FLOOR_CHIP = (128, 128, 128)  # a legend's lines are shown on the room's floor


def draw(view: View, size: tuple[int, int] = SIZE, scale: float = 1.0) -> Any:
    """Draw the view on a new pygame surface.

    Args:
        view: the view.
        size: width and height in pixels.
        scale: pixels per point of text and lines.

    Raises:
        ImportError: pygame is missing.
    """
    surface = import_pygame().Surface(size)
    pen, places, theme = Pen(surface, view.theme, scale), layout(view, size, scale), view.theme
    surface.fill(theme.paper)
    if places.title.height:
        _draw_title(pen, view, places.title)
    pen.paste(view.room, places.room)
    if view.overlay is not None:
        view.overlay(pen, places.room)
    if view.alarm:
        _draw_alarm(pen, view.alarm, places.room)
    for box, sign in zip(places.legend, view.legend, strict=False):
        _draw_sign(pen, box, sign)
    for box, frame in zip(places.frames, view.frames, strict=False):
        _draw_frame(pen, box, frame, places.caption)
    for box, frame in zip(places.filmstrip, view.filmstrip, strict=False):
        _draw_frame(pen, box, frame, pen.points(20))
    if places.filmstrip:
        box = places.filmstrip[0]
        above = box.top - pen.points(42)
        pen.write(view.filmstrip_title, (box.left, above), size=13, bold=True, width=places.title.width)
    for box, plot in zip(places.plots, view.plots, strict=False):
        draw_plot(pen, box, plot)
    for box, (name, value) in zip(places.facts, view.facts, strict=False):
        indent = pen.points(84)
        pen.write(name, box[:2], theme.faint, width=indent - pen.points(8))
        pen.write(value, (box.left + indent, box.top), width=box.width - indent)
    for box, key in zip(places.keys, view.keys, strict=False):
        _draw_key(pen, box, *key)
    return surface


def to_picture(surface: Any) -> Picture:
    """The pixels of a surface, (height, width, 3)."""
    width, height = surface.get_size()
    pixels = import_pygame().image.tobytes(surface, "RGB")  # faster than surfarray and a transposition
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3).copy()


def _draw_title(pen: Pen, view: View, box: Rect) -> None:
    pen.write(view.title, box[:2], size=16, bold=True, width=box.width)
    if view.notice:
        taken = min(text_size(view.title, 16 * pen.scale, True)[0] + pen.points(24), box.width)
        place = box.left + box.width, box.top + pen.points(3)
        free = box.width - taken
        pen.write(view.notice, place, pen.theme.alarm, width=free, align="right")


def _draw_alarm(pen: Pen, text: str, room: Rect) -> None:
    width, height = text_size(text, 14 * pen.scale, True)
    pad = pen.points(8)
    box = Rect(room.left + pad, room.top + pad, width + 2 * pad, height + pad)
    pen.box(box, (17, 19, 24), 6, 0.85)
    place = box.left + pad, box.top + pad // 2
    pen.write(text, place, (255, 170, 110), 14, bold=True, width=room.width - 4 * pad)


def _draw_sign(pen: Pen, box: Rect, sign: Sign) -> None:
    """A line or ring on a piece of the room's floor, and its meaning."""
    chip = Rect(box.left, box.top + pen.points(2), pen.points(26), pen.points(14))
    pen.box(chip, FLOOR_CHIP, 3)
    middle = np.array([chip.left + chip.width / 2, chip.top + chip.height / 2])
    if sign.ring:
        pen.ring(middle, sign.colour, 9, 2)
    else:
        half = np.array([0.3 * chip.width, 0])
        pen.lines([np.stack([middle - half, middle + half])], sign.colour, 3)
    place = box.left + pen.points(32), box.top + pen.points(1)
    pen.write(sign.name, place, pen.theme.faint, SMALL, width=box.width - pen.points(32))


def _draw_frame(pen: Pen, box: Rect, frame: Frame, caption: int) -> None:
    colour = pen.theme.alarm if frame.alarm else None
    top = box.top - caption
    noted = caption > pen.points(30)
    small = box.width < pen.points(128)
    pen.write(frame.name, (box.left, top), colour, SMALL if small else 13, not small, box.width)
    if noted:
        place = box.left, top + pen.points(17)
        pen.write(frame.note, place, pen.theme.faint, SMALL, width=box.width)
    pen.paste(frame.picture, box, frame.smooth)
    pen.frame(box, colour or pen.theme.rule, width=2 if frame.alarm else 1)


def _draw_key(pen: Pen, box: Rect, key: str, action: str) -> None:
    """A keycap and what it does."""
    text, line = text_size(key, SMALL * pen.scale)
    width = max(text + pen.points(12), pen.points(22))
    cap = Rect(box.left, box.top, min(width, box.width), box.height)
    pen.box(cap, pen.theme.panel, 4)
    pen.frame(cap, pen.theme.rule, 4)
    top = box.top + (box.height - line) // 2
    pen.write(key, (cap.left + cap.width // 2, top), None, SMALL, align="centre")
    left = cap.left + cap.width + pen.points(6)
    free = box.left + box.width - left
    pen.write(action, (left, top), pen.theme.faint, SMALL, width=free + 1)
