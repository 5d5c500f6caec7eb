"""The live window, and the only file that imports pygame (only when a window is asked for)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Viewer:
    """A pygame window that shows RGB pictures at a steady rate.

    Args:
        size: width and height of the pictures and of the window, in pixels.
        frames_per_second: the rate at which `show` returns.
        title: the window's title.

    Raises:
        ImportError: pygame is missing or broken.
    """

    def __init__(self, size: tuple[int, int], frames_per_second: float, title: str) -> None:
        try:
            import pygame
        except ImportError as error:
            raise ImportError(
                "A window needs pygame: pip install pygame. (pygame and pygame-ce overwrite each "
                "other; if both were installed, remove both and install one again.)"
            ) from error
        self._pygame: Any = pygame
        self._frames_per_second = frames_per_second
        pygame.display.init()
        self._window = pygame.display.set_mode(size)
        pygame.display.set_caption(title)
        self._clock = pygame.time.Clock()

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """Show a picture, (height, width, 3), and wait for its time; False if it was closed."""
        surface = self._pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._window.blit(surface, (0, 0))
        self._pygame.display.flip()
        self._clock.tick(self._frames_per_second)
        events = self._pygame.event.get()
        return not any(event.type == self._pygame.QUIT for event in events)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
