"""The live window: shows views at a fixed rate and reports keyboard and mouse input."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_room import panels
from robot_room.panels import View

ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
LETTERS = {"a": "left", "d": "right", "w": "up", "s": "down"}
INVISIBLE = ("offscreen", "dummy")
"""Video drivers of SDL that draw nowhere."""


class Viewer:
    """A resizable pygame window. A process has only one, which several viewers share.

    Args:
        size: initial width and height in pixels.
        frames_per_second: maximum rate at which `show` returns.
        title: the window's title.

    Attributes:
        keys: names of the keys pressed between the last two calls to `show`, in order.

    Raises:
        ImportError: pygame is missing or broken.
        RuntimeError: there is no display.
    """

    def __init__(self, size: tuple[int, int], frames_per_second: float, title: str) -> None:
        self._pygame: Any = panels.import_pygame()
        self._size = size
        self._frames_per_second = frames_per_second
        self.keys: list[str] = []
        self._held: set[str] = set()
        self._pointer: tuple[int, int] | None = None
        display = self._pygame.display
        try:
            display.init()
            driver = display.get_driver()
            if driver in INVISIBLE and os.environ.get("SDL_VIDEODRIVER") != driver:
                display.quit()  # SDL falls back to it: nobody would see the window, or could close it
                raise self._pygame.error(f"only the driver {driver}")
            display.set_mode(size, self._pygame.RESIZABLE)
        except self._pygame.error as error:
            raise RuntimeError(
                f"A window needs a screen ({error}); without one, record to a file or use "
                'render_mode="rgb_array" (SDL_VIDEODRIVER=dummy draws without a display).'
            ) from error
        self._pygame.display.set_caption(title)
        self._clock = self._pygame.time.Clock()
        self._shown: View | None = None

    def show(self, view: View) -> bool:
        """Show a view and wait for the frame's time; returns False if the window was closed."""
        pygame, self._shown = self._pygame, view
        window = pygame.display.get_surface()  # replaced when the user resizes it
        if window is None:  # another viewer has closed it
            pygame.display.init()
            window = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        window.blit(panels.draw(view, window.get_size()), (0, 0))
        pygame.display.flip()
        self._clock.tick(self._frames_per_second)
        self.keys, is_open = [], True
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                is_open = False
            elif event.type == pygame.KEYDOWN:
                self.keys.append(pygame.key.name(event.key))
                self._held.add(pygame.key.name(event.key))
            elif event.type == pygame.KEYUP:
                self._held.discard(pygame.key.name(event.key))
            elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
                self._pointer = event.pos if self._place(event.pos) is not None else None
            elif event.type == pygame.MOUSEMOTION and self._pointer is not None:
                self._pointer = event.pos
            elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
                self._pointer = None
            elif event.type == pygame.WINDOWFOCUSLOST:  # a release elsewhere would be missed
                self._held, self._pointer = set(), None
        return is_open

    def arrows(self) -> NDArray[np.float32]:
        """Direction (x, y) in {−1, 0, 1} of the held arrow keys or W, A, S, D."""
        direction = np.zeros(2, np.float32)
        for name in self._held & {*ARROWS, *LETTERS}:
            direction += ARROWS[LETTERS.get(name, name)]
        return np.clip(direction, -1, 1)

    def pointer(self) -> NDArray[np.float64] | None:
        """Mouse position (x, y) in metres while dragging, clamped to the room, or None.

        A drag starts when the left button is pressed inside the room.
        """
        return None if self._pointer is None else self._place(self._pointer, nearest=True)

    def _place(self, pixel: tuple[int, int], nearest: bool = False) -> NDArray[np.float64] | None:
        if self._shown is None:
            return None
        size = self._pygame.display.get_surface().get_size()
        box = panels.layout(self._shown, size).room
        if nearest:
            last = box.left + box.width - 1, box.top + box.height - 1
            x, y = np.clip(pixel, box[:2], last)
            pixel = int(x), int(y)
        return panels.to_metres(box, pixel)

    def picture(self) -> panels.Picture:
        """A screenshot of the window, (height, width, 3)."""
        return panels.to_picture(self._pygame.display.get_surface())

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
