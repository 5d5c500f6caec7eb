"""The inner loops of N rooms, by numpy or compiled by numba: the same bits either way.

Both kinds write into the arrays that they are given. Which one runs is decided once, when the rooms
are made; nothing else asks.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_room import distractors, rendering, room, sensors
from robot_room.randomness import Keys
from robot_room.rendering import Frames, Scene
from robot_room.room import Float, Walls


class Loops(Protocol):
    """What is done for every room at every step."""

    def move(
        self,
        robot: Float,
        actions: Float,
        noise: Float | None,
        goal: Float,
        walls: Walls | None,
        distance: Float,
    ) -> None:
        """Write `room.transition` into `robot` and `room.distance` into `distance`."""
        ...

    def draw(self, frames: Frames, background: Frames, scene: Scene, alike: bool, again: bool) -> None:
        """Write the background, and `rendering.draw` on top of it, into `frames`.

        Args:
            frames: (N, S, S, 3), written.
            background: (N, S, S, 3).
            scene: of N rooms.
            alike: all backgrounds are the same, so one need be read.
            again: `frames` is what the last call with `again` wrote, and nobody has touched it since.
        """
        ...

    def forget(self, some: slice) -> None:
        """The background of these rooms is another one now."""
        ...

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """Write `sensors.add_gaussian` into `frames`."""
        ...

    def stick(self, frames: Frames, keep: Frames, stuck: Frames) -> None:
        """Write `sensors.stick` into `frames`."""
        ...


class NumpyLoops:
    """The loops as numpy's batched operations; see `Loops`."""

    add_gaussian = staticmethod(sensors.add_gaussian)
    stick = staticmethod(sensors.stick)

    def move(
        self,
        robot: Float,
        actions: Float,
        noise: Float | None,
        goal: Float,
        walls: Walls | None,
        distance: Float,
    ) -> None:
        """See `Loops.move`."""
        robot[:] = room.transition(robot, actions, noise, walls)
        distance[:] = room.distance(robot, goal)

    def draw(self, frames: Frames, background: Frames, scene: Scene, alike: bool, again: bool) -> None:
        """See `Loops.draw`; frames are always drawn whole."""
        np.copyto(frames, background)
        rendering.draw(frames, scene)

    def forget(self, some: slice) -> None:
        """See `Loops.forget`; there is nothing to forget."""


class CompiledLoops:
    """The loops compiled by numba; see `Loops`.

    Args:
        count: N.
        squares: distractors in each room.

    Raises:
        ImportError: numba is missing.
    """

    def __init__(self, count: int, squares: int) -> None:
        from robot_room import compiled  # numba is wanted only now

        self._kernels = compiled
        self._arguments = count, squares
        # Compiled code wants an array even where there is nothing.
        everywhere = np.array([-room.ROBOT_LIMIT, room.ROBOT_LIMIT])
        runs = np.broadcast_to(everywhere, (count, 1, 1, 2)).copy()
        self._no_walls = Walls(np.empty((count, 0)), np.empty((count, 0)), runs, runs)
        self._no_masks = np.empty((0, 0, 0), np.bool_)
        self._no_noise = np.empty((0, 2))
        self._no_distractors = np.empty((count, 0, 2))
        self._colours = distractors.COLOURS.astype(np.float64)
        # Where a buffer that is written again differs from its background, see `compiled.draw`.
        self._drawn = np.full((count, squares + 1, 2), -1, np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments  # a module cannot be pickled, and nothing else is state

    def move(
        self,
        robot: Float,
        actions: Float,
        noise: Float | None,
        goal: Float,
        walls: Walls | None,
        distance: Float,
    ) -> None:
        """See `Loops.move`."""
        noise = self._no_noise if noise is None else noise
        self._kernels.move(robot, actions, noise, goal, *(walls or self._no_walls), distance)

    def draw(self, frames: Frames, background: Frames, scene: Scene, alike: bool, again: bool) -> None:
        """See `Loops.draw`; with `again`, only what moved is drawn."""
        self._kernels.draw(
            _rows(frames),
            _rows(background[:1] if alike else background),
            scene.robot,
            scene.goal,
            self._no_distractors if scene.distractors is None else scene.distractors,
            self._colours,
            self._no_masks if scene.walls is None else scene.walls,
            self._drawn,
            again,
        )

    def forget(self, some: slice) -> None:
        """See `Loops.forget`."""
        self._drawn[some] = -1

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """See `Loops.add_gaussian`."""
        places = sensors.gaussian_places(key, step, frames.shape[1])
        self._kernels.add_gaussian(_rows(frames), *sensors.gaussian_bank(severity), places)

    def stick(self, frames: Frames, keep: Frames, stuck: Frames) -> None:
        """See `Loops.stick`."""
        self._kernels.stick(_rows(frames), _rows(keep), _rows(stuck))


def _rows(frames: Frames) -> Frames:
    """Frames (N, S, S, 3) as rows of bytes, (N, S, 3 S)."""
    return frames.reshape(*frames.shape[:2], -1)
