"""Imagined paths and the estimated robot position, drawn over the room."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_room.panels import Sign, to_pixels
from robot_room.pen import Pen, Rect
from robot_room.theme import CANDIDATE, CHOSEN, ELITE

SHADOW = (20, 20, 24)
"""Around the plan, so that it stands out from any floor."""
LEGEND = (
    Sign("imagined futures", CANDIDATE),
    Sign("best of them", ELITE),
    Sign("plan", CHOSEN),
    Sign("believed position", CHOSEN, ring=True),
)


@dataclass(frozen=True)
class Paths:
    """Imagined paths, each a sequence of positions (x, y) in metres; NaN where unknown."""

    candidates: NDArray[np.float64]
    """(K, H, 2)."""
    elites: NDArray[np.float64]
    """(E, H, 2), the best candidates."""
    chosen: NDArray[np.float64]
    """(H, 2), the plan that is followed."""
    believed: NDArray[np.float64] | None = None
    """Estimated position of the robot, (2,)."""

    def draw(self, pen: Pen, box: Rect) -> None:
        """Draw candidates faintly, elites more strongly, and the plan brightly with a dot per step.

        Args:
            pen: draws on the surface.
            box: the area of the surface that shows the room.
        """
        for paths, colour, width, opacity in (
            (self.candidates, CANDIDATE, 1.0, 0.5),
            (self.elites, ELITE, 1.75, 0.8),
            (self.chosen[None], SHADOW, 5.5, 0.55),
            (self.chosen[None], CHOSEN, 3.5, 1.0),
        ):
            pen.lines([_known(path) for path in to_pixels(box, paths)], colour, width, opacity)
        pen.dots(_known(to_pixels(box, self.chosen))[1:], CHOSEN, 8)
        if self.believed is not None and np.isfinite(self.believed).all():
            place = to_pixels(box, self.believed)
            pen.ring(place, SHADOW, 17, 4.5)
            pen.ring(place, CHOSEN, 17, 2.5)


def _known(path: NDArray[np.float64]) -> NDArray[np.float64]:
    return path[np.isfinite(path).all(1)]
