"""Curves with axes: ticks at round numbers, units, and each curve's name at its end."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from robot_room.pen import Pen, Rect, text_size
from robot_room.theme import Colour

SMALL = 12  # points


class Plot(NamedTuple):
    """Curves over the steps of something."""

    title: str
    curves: Mapping[str, Sequence[float]]
    """Values by name; the last ones belong to the same step."""
    horizontal: str = "step"
    """Unit of the horizontal axis."""
    start: int = 0
    """Where on the horizontal axis the longest curve begins."""
    limits: tuple[float, float] | None = None
    """Ends of the vertical axis; None: those of the values."""
    every: float = 1
    """Distance of two values on the horizontal axis."""


def plot_area(box: Rect, plot: Plot, scale: float = 1.0) -> Rect:
    """The part of a plot's rectangle between its axes."""

    def px(points: float) -> int:
        return round(points * scale)

    names = max((text_size(name, SMALL * scale)[0] for name in plot.curves), default=0)
    right = names + px(12) if len(plot.curves) > 1 else px(6)
    left, top = px(44), px(22)
    width = max(box.width - left - right, 8)
    return Rect(box.left + left, box.top + top, width, max(box.height - top - px(20), 8))


def draw_plot(pen: Pen, box: Rect, plot: Plot) -> None:
    """Title, axes with ticks, curves, and each curve's name at its end."""
    theme, area = pen.theme, plot_area(box, plot, pen.scale)
    pen.write(plot.title, box[:2], size=13, bold=True, width=box.width)
    pen.box(area, theme.panel)
    values = [value for curve in plot.curves.values() for value in curve if np.isfinite(value)]
    longest = max((len(curve) for curve in plot.curves.values()), default=0)
    low, high = plot.limits or ((min(values), max(values)) if values else (0.0, 1.0))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    spare = 0 if plot.limits else 0.06 * (high - low)
    low, high = low - spare, high + spare
    bottom = area.top + area.height
    if values or plot.limits:
        for value in ticks(low, high, 2 if area.height < pen.points(70) else 4):
            y = bottom - (value - low) / (high - low) * area.height
            rule = np.array([[area.left, y], [area.left + area.width, y]])
            pen.lines([rule], theme.rule, 1)
            place = area.left - pen.points(6), round(y) - pen.points(8)
            pen.write(f"{value:g}", place, theme.faint, SMALL, align="right")
    span = max(longest - 1, 10)
    for number, name in ((plot.start, "left"), (plot.start + span * plot.every, "right")):
        x = area.left if name == "left" else area.left + area.width
        pen.write(f"{number:g}", (x, bottom + pen.points(2)), theme.faint, SMALL, align=name)
    middle = area.left + area.width // 2, bottom + pen.points(2)
    pen.write(plot.horizontal, middle, theme.faint, SMALL, align="centre")

    ends: list[tuple[float, str, Colour]] = []
    for colour, (name, curve) in zip(theme.curves, plot.curves.items(), strict=False):
        y = bottom - (np.array(curve, np.float64) - low) / (high - low) * area.height
        x = area.left + (np.arange(len(curve)) + longest - len(curve)) / span * area.width
        known = np.isfinite(y)
        if known.any():
            path = np.stack([x, y.clip(area.top, bottom)], 1)[known]
            pen.lines([path], colour, 2)
            pen.dots(path[-1:], colour, 5)
        ends.append((float(y[known][-1]) if known.any() else bottom, name, colour))
    if len(ends) > 1:
        line, y = pen.points(15), float(area.top)
        for i, (end, name, colour) in enumerate(sorted(ends)):
            last = bottom - (len(ends) - i) * line  # leaves room for those below it
            y = max(min(end - line / 2, last), y)
            place = area.left + area.width + pen.points(8), round(y)
            pen.write(name, place, colour, SMALL)
            y += line


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many round numbers from `low` to `high`, at equal distances, and at least one."""
    if not 1e-300 < high - low < 1e300:
        return [low]
    unit = 10 ** np.floor(np.log10(high - low)) / 10
    for step in (unit * factor for factor in (1, 2, 5, 10, 20, 50, 100)):
        found = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
        if 1 <= len(found) <= most:
            return [float(f"{value * step:.12g}") for value in found]
    return [low]
