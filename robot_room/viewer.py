"""The live window, and the only file that imports pygame (only when a window is asked for)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE_HEIGHT = 24  # pixels
INK, PAPER = (32, 32, 32), (245, 245, 245)
ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
LETTERS = {"a": "left", "d": "right", "w": "up", "s": "down"}


class Viewer:
    """A pygame window that shows RGB pictures at a steady rate, and says what its user does.

    Args:
        size: width and height of the pictures, in pixels.
        frames_per_second: the rate at which `show` returns.
        title: the window's title.
        lines: of text, beneath the picture.

    Attributes:
        keys: names of the keys that were pressed since the last picture but one.

    Raises:
        ImportError: pygame is missing or broken.
        RuntimeError: there is no screen.
    """

    def __init__(
        self, size: tuple[int, int], frames_per_second: float, title: str, lines: int = 0
    ) -> None:
        try:
            import pygame
        except ImportError as error:
            raise ImportError(
                "A window needs pygame: pip install pygame. (pygame and pygame-ce overwrite each "
                "other; if both were installed, remove both and install one again.)"
            ) from error
        self._pygame: Any = pygame
        self._frames_per_second = frames_per_second
        self._lines = lines
        self.keys: set[str] = set()
        try:
            pygame.display.init()
            self._window = pygame.display.set_mode((size[0], size[1] + lines * LINE_HEIGHT))
        except pygame.error as error:
            raise RuntimeError(
                f"A window needs a screen ({error}); without one, record to a file or use "
                'render_mode="rgb_array" (SDL_VIDEODRIVER=dummy draws where nobody looks).'
            ) from error
        pygame.display.set_caption(title)
        self._clock = pygame.time.Clock()
        self._font: Any = None
        if lines:
            pygame.font.init()
            self._font = pygame.font.Font(None, LINE_HEIGHT)

    def show(self, picture: NDArray[np.uint8], text: Sequence[str] = ()) -> bool:
        """Show a picture, (height, width, 3), and wait for its time; False if it was closed."""
        surface = self._pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._window.fill(PAPER)
        self._window.blit(surface, (0, 0))
        for number, line in enumerate(text[: self._lines]):
            written = self._font.render(line, True, INK)
            self._window.blit(written, (6, picture.shape[0] + number * LINE_HEIGHT + 4))
        self._pygame.display.flip()
        self._clock.tick(self._frames_per_second)
        events = self._pygame.event.get()
        pressed = [event.key for event in events if event.type == self._pygame.KEYDOWN]
        self.keys = {self._pygame.key.name(key) for key in pressed}
        return not any(event.type == self._pygame.QUIT for event in events)

    def arrows(self) -> NDArray[np.float32]:
        """The direction, (x, y) in {−1, 0, 1}, of the arrow keys or W, A, S, D that are held down."""
        held = self._pygame.key.get_pressed()
        direction = np.zeros(2, np.float32)
        for name in [*ARROWS, *LETTERS]:
            if held[self._pygame.key.key_code(name)]:
                direction += ARROWS[LETTERS.get(name, name)]
        return np.clip(direction, -1, 1)

    def pointer(self) -> tuple[int, int] | None:
        """Where the mouse is held down, in pixels from the upper left; None if it is not."""
        return self._pygame.mouse.get_pos() if self._pygame.mouse.get_pressed()[0] else None

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
