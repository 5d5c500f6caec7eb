"""The style of all figures: `figures.mplstyle` beside this file, and names at the ends of curves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("figures.mplstyle")
SPACING = 0.075  # of the axis between two names


@contextmanager
def styled_figure(path: Path, *shape: int, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure in the style, with its axes, which is written to `path` at the end of the block.

    Args:
        path: a file; its folder is created if it is missing.
        shape: rows and columns of axes.
        options: as for `plt.subplots`.
    """
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(*shape, **options)
        try:
            yield figure, axes
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        finally:
            plt.close(figure)


def name_curves(axis: Axes, at: float = 1.02) -> None:
    """Write each labelled curve's name in its colour beside its last point, and move them apart.

    Args:
        axis: its limits and scales must be set.
        at: where the names begin, as a share of the axis.
    """
    axis.minorticks_off()
    axis.figure.canvas.draw()  # settles limits that depend on the data
    ends = []
    for line in axis.get_lines():
        label, values = str(line.get_label()), np.asarray(line.get_ydata(), float)
        values = values[np.isfinite(values)]
        if not label.startswith("_") and len(values):
            y = axis.transData.transform((0.0 if axis.get_xscale() == "linear" else 1.0, values[-1]))
            place = axis.transAxes.inverted().transform(y)[1]
            ends.append((float(np.clip(place, 0, 1)), label, line.get_color()))
    ends.sort(key=lambda end: end[0])
    places = [end[0] for end in ends]
    inches = axis.get_window_extent().height / axis.figure.dpi
    spacing = SPACING * 2 / max(inches, 0.5)
    for _ in range(50):  # push neighbours apart until none overlap
        for i in range(len(places) - 1):
            overlap = spacing - (places[i + 1] - places[i])
            if overlap > 0:
                places[i] -= overlap / 2
                places[i + 1] += overlap / 2
    for place, (_, label, colour) in zip(places, ends, strict=True):
        axis.text(
            at,
            place,
            label,
            transform=axis.transAxes,
            va="center",
            size=9,
            color=colour,
            in_layout=True,
        )
