"""The live window: shows views at a fixed rate and reports keyboard and mouse input."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_room import panels
from robot_room.drawing import draw, to_picture
from robot_room.panels import View
from robot_room.pen import Picture, import_pygame

ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
LETTERS = {"a": "left", "d": "right", "w": "up", "s": "down"}
INVISIBLE = ("offscreen", "dummy")
"""Video drivers of SDL that draw nowhere."""
NO_SCREEN = (
    "A window needs a screen ({error}). Without one, robot-room watch has --web, a page for a browser, "
    "and --record, a film; environments have render_mode='rgb_array'."
)


class Hands:
    """What a user does at keyboard and mouse.

    Attributes:
        keys: names of the keys that were pressed since `forget`, in order.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._held: set[str] = set()
        self._pointer: tuple[int, int] | None = None
        self._room: panels.Rect | None = None

    def see(self, room: panels.Rect) -> None:
        """Where the room is on the picture that the user has in front of them."""
        self._room = room

    def press(self, key: str) -> None:
        """A key goes down."""
        self.keys.append(key)
        self._held.add(key)

    def release(self, key: str) -> None:
        """A key goes up."""
        self._held.discard(key)

    def grab(self, pixel: tuple[int, int]) -> None:
        """The left button goes down; this starts a drag if it is inside the room."""
        inside = self._room is not None and panels.to_metres(self._room, pixel) is not None
        self._pointer = pixel if inside else None

    def move(self, pixel: tuple[int, int]) -> None:
        """The mouse moves."""
        if self._pointer is not None:
            self._pointer = pixel

    def let_go(self) -> None:
        """The left button goes up."""
        self._pointer = None

    def leave(self) -> None:
        """The user turns to something else, where a release would be missed."""
        self._held, self._pointer = set(), None

    def arrows(self) -> NDArray[np.float32]:
        """Direction (x, y) in {−1, 0, 1} of the held arrow keys or W, A, S, D."""
        direction = np.zeros(2, np.float32)
        for name in self._held & {*ARROWS, *LETTERS}:
            direction += ARROWS[LETTERS.get(name, name)]
        return np.clip(direction, -1, 1)

    def pointer(self) -> NDArray[np.float64] | None:
        """Mouse position (x, y) in metres while dragging, clamped to the room, or None."""
        if self._pointer is None or (box := self._room) is None:
            return None
        last = box.left + box.width - 1, box.top + box.height - 1
        x, y = np.clip(self._pointer, box[:2], last)
        return panels.to_metres(box, (int(x), int(y)))


class Viewer(Hands):
    """A resizable pygame window. A process has only one, which several viewers share.

    Args:
        size: initial width and height in points.
        frames_per_second: maximum rate at which `show` returns.
        title: the window's title.
        scale: pixels per point; None: according to the height of the screen.

    Attributes:
        keys: names of the keys pressed between the last two calls to `show`, in order.

    Raises:
        ImportError: pygame is missing or broken.
        RuntimeError: there is no display.
    """

    def __init__(
        self, size: tuple[int, int], frames_per_second: float, title: str, scale: float | None = None
    ) -> None:
        super().__init__()
        self._pygame: Any = import_pygame()
        self._frames_per_second = frames_per_second
        display = self._pygame.display
        try:
            display.init()
            driver = display.get_driver()
            if driver in INVISIBLE and os.environ.get("SDL_VIDEODRIVER") != driver:
                display.quit()  # SDL falls back to it: nobody would see the window, or could close it
                raise self._pygame.error(f"only the driver {driver}")
            self._scale = scale or _display_scale(display.get_desktop_sizes())
            self._size = round(size[0] * self._scale), round(size[1] * self._scale)
            display.set_mode(self._size, self._pygame.RESIZABLE)
        except self._pygame.error as error:
            raise RuntimeError(NO_SCREEN.format(error=error)) from error
        self._pygame.display.set_caption(title)
        self._clock = self._pygame.time.Clock()

    def show(self, view: View) -> bool:
        """Show a view and wait for the frame's time; returns False if the window was closed."""
        pygame = self._pygame
        window = pygame.display.get_surface()  # replaced when the user resizes it
        if window is None:  # another viewer has closed it
            pygame.display.init()
            window = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        window.blit(draw(view, window.get_size(), self._scale), (0, 0))
        pygame.display.flip()
        self.see(panels.layout(view, window.get_size(), self._scale).room)
        self._clock.tick(self._frames_per_second)
        self.keys, is_open = [], True
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                is_open = False
            elif event.type == pygame.KEYDOWN:
                self.press(pygame.key.name(event.key))
            elif event.type == pygame.KEYUP:
                self.release(pygame.key.name(event.key))
            elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
                self.grab(event.pos)
            elif event.type == pygame.MOUSEMOTION:
                self.move(event.pos)
            elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
                self.let_go()
            elif event.type == pygame.WINDOWFOCUSLOST:
                self.leave()
        return is_open

    def picture(self) -> Picture:
        """A screenshot of the window, (height, width, 3)."""
        return to_picture(self._pygame.display.get_surface())

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()


def _display_scale(desktops: list[tuple[int, int]]) -> float:
    """Pixels per point of the first screen: 1 up to 1,600 lines, 1.5 from there, 2 from 2,160."""
    height = desktops[0][1] if desktops else 0
    return max(height // 540, 2) / 2 if height > 1600 else 1.0
