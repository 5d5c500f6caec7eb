"""The inner loops of N rooms, in numpy or compiled by numba, with bit-identical results.

Both implementations write into the arrays passed to them. `Rooms` chooses one when it is created.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_room import distractors, rendering, room, sensors
from robot_room.randomness import Keys
from robot_room.rendering import Frames, Scene
from robot_room.room import Float, Walls


class Loops(Protocol):
    """Operations performed on all rooms at every step."""

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

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """Copy the background into `frames`, and draw the scene on top with `rendering.draw`.

        Args:
            frames: (N, S, S, 3), output.
            background: (N, S, S, 3).
            scene: the N rooms.
            shared_background: whether all backgrounds are identical, so that one is enough.
            incremental: whether `frames` is unchanged since the last incremental call.
        """
        ...

    def invalidate(self, rooms: slice) -> None:
        """Mark the frames of these rooms for a full redraw, as their background has changed."""
        ...

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """Write `sensors.add_gaussian` into `frames`."""
        ...

    def apply_dead_pixels(self, frames: Frames, keep: Frames, stuck: Frames) -> None:
        """Write `sensors.apply_dead_pixels` into `frames`."""
        ...


class NumpyLoops:
    """`Loops` in batched numpy operations."""

    add_gaussian = staticmethod(sensors.add_gaussian)
    apply_dead_pixels = staticmethod(sensors.apply_dead_pixels)

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

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """See `Loops.draw`; frames are always fully redrawn."""
        np.copyto(frames, background)
        rendering.draw(frames, scene)

    def invalidate(self, rooms: slice) -> None:
        """See `Loops.invalidate`; there is no state to invalidate."""


class CompiledLoops:
    """`Loops` compiled by numba.

    Args:
        count: number of rooms, N.
        squares: number of distractors in each room.

    Raises:
        ImportError: numba is missing.
    """

    def __init__(self, count: int, squares: int) -> None:
        from robot_room import kernels  # imports numba, which is optional

        self._kernels = kernels
        self._arguments = count, squares
        # The kernels need arrays even for absent inputs.
        everywhere = np.array([-room.ROBOT_LIMIT, room.ROBOT_LIMIT])
        intervals = np.broadcast_to(everywhere, (count, 1, 1, 2)).copy()
        self._no_walls = Walls(np.empty((count, 0)), np.empty((count, 0)), intervals, intervals)
        self._no_masks = np.empty((0, 0, 0), np.bool_)
        self._no_noise = np.empty((0, 2))
        self._no_distractors = np.empty((count, 0, 2))
        self._colours = distractors.COLOURS.astype(np.float64)
        # Where the reused buffer differs from its background; see `kernels.draw`.
        self._dirty_windows = np.full((count, squares + 1, 2), -1, np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments  # modules cannot be pickled; the rest is a cache

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

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """See `Loops.draw`; if `incremental`, only the dirty windows are redrawn."""
        self._kernels.draw(
            _rows(frames),
            _rows(background[:1] if shared_background else background),
            scene.robot,
            scene.goal,
            self._no_distractors if scene.distractors is None else scene.distractors,
            self._colours,
            self._no_masks if scene.walls is None else scene.walls,
            self._dirty_windows,
            incremental,
        )

    def invalidate(self, rooms: slice) -> None:
        """See `Loops.invalidate`."""
        self._dirty_windows[rooms] = -1

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """See `Loops.add_gaussian`."""
        offsets = sensors.gaussian_offsets(key, step, frames.shape[1])
        self._kernels.add_gaussian(_rows(frames), *sensors.gaussian_bank(severity), offsets)

    def apply_dead_pixels(self, frames: Frames, keep: Frames, stuck: Frames) -> None:
        """See `Loops.apply_dead_pixels`."""
        self._kernels.apply_dead_pixels(_rows(frames), _rows(keep), _rows(stuck))


def _rows(frames: Frames) -> Frames:
    """View frames (N, S, S, 3) as rows of bytes, (N, S, 3 S)."""
    return frames.reshape(*frames.shape[:2], -1)
