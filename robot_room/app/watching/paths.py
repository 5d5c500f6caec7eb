"""Imagined paths and the estimated robot position, drawn over the room."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_room.panels import Rect, import_pygame, to_pixels

CANDIDATE, ELITE, CHOSEN = (120, 210, 255, 100), (255, 214, 90, 170), (255, 64, 160, 255)


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

    def draw(self, surface: Any, box: Rect) -> None:
        """Draw candidates faintly, elites more strongly, and the plan brightly with a dot per step.

        Args:
            surface: a pygame surface.
            box: the area of the surface that shows the room.
        """
        pygame = import_pygame()
        veil = pygame.Surface((box.width, box.height), pygame.SRCALPHA)
        inside = Rect(0, 0, box.width, box.height)
        for paths, colour, width in (
            (self.candidates, CANDIDATE, 1),
            (self.elites, ELITE, 2),
            (self.chosen[None], CHOSEN, 4),
        ):
            for path in to_pixels(inside, paths):
                path = path[np.isfinite(path).all(1)]
                if len(path) > 1:
                    pygame.draw.lines(veil, colour, False, path.tolist(), width)
        chosen = to_pixels(inside, self.chosen)
        for place in chosen[np.isfinite(chosen).all(1)].tolist():
            pygame.draw.circle(veil, CHOSEN, place, 4)
        surface.blit(veil, box[:2])
        if self.believed is not None and np.isfinite(self.believed).all():
            pygame.draw.circle(surface, CHOSEN[:3], to_pixels(box, self.believed), 7, 2)
