"""The inner loops of N rooms, in numpy or compiled from C, with bit-identical results.

Both implementations write into the arrays passed to them. `Rooms` chooses one when it is created.
C and not numba, because the room must be fast by default: importing numba alone takes longer than
importing Gymnasium, and its first step up to six seconds, while the extension loads in a millisecond.
"""

import warnings
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_room import appearance, distractors, randomness, rendering, room, sensors
from robot_room.appearance import Look
from robot_room.randomness import Keys
from robot_room.rendering import Frames, Scene
from robot_room.room import Float, Walls

try:
    from robot_room import _kernels
except ImportError:  # built where there was no compiler
    _kernels = None

_SOURCE = Path(__file__).with_name("_kernels.c")


def outdated(source: Path, checksum: int | None) -> bool:
    """Whether the compiled loops were made from another source than the one beside them."""
    return source.exists() and checksum != zlib.crc32(source.read_bytes()) >> 1


if _kernels is not None and outdated(_SOURCE, getattr(_kernels, "SOURCE_CRC", None)):
    warnings.warn(
        f"{_SOURCE} has changed since it was compiled, so that numpy is used; scripts/run compiles it",
        stacklevel=2,
    )
    _kernels = None


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
        arrived: NDArray[np.bool_],
    ) -> None:
        """Write `room.transition` into `robot`, and `room.distance` and `room.is_success`."""
        ...

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """Copy the background into `frames`, and draw the scene on top with `rendering.draw`.

        With dead pixels the background has them already, and what is drawn gets them too.

        Args:
            frames: (N, S, S, 3), output.
            background: (N, S, S, 3).
            scene: the N rooms.
            dead: the two masks of `sensors.apply_dead_pixels`, or None.
            shared_background: whether all backgrounds are identical, so that one is enough.
            incremental: whether `frames` is unchanged since the last incremental call.
        """
        ...

    def draw_varied(
        self,
        frames: Frames,
        background: Frames,
        look: Look,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        incremental: bool,
    ) -> None:
        """The same as `draw` where factors vary, with `appearance.draw`."""
        ...

    def paint(self, look: Look, key: Keys, walls: NDArray[np.bool_] | None, background: Frames) -> None:
        """Paint the canvas of `look` with `appearance.paint`, and write it as frames, too."""
        ...

    def push(
        self,
        actions: Float,
        pending: Float,
        dynamics: Float,
        key: Keys,
        step: NDArray[np.int64],
        velocity: Float,
    ) -> None:
        """Write into `velocity` what factors make of the actions, with `room.velocity`.

        Args:
            actions: (N, 2).
            pending: (N, D, 2), the last actions, newest first; the new ones are added.
            dynamics: (N, 4): speed, friction, delay in time steps, noise.
            key: (N,), which with the step seeds the noise.
            step: (N,).
            velocity: (N, 2), output, m/s.
        """
        ...

    def invalidate(self, rooms: slice) -> None:
        """Mark the frames of these rooms for a full redraw, as their background has changed."""
        ...

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """Write `sensors.add_gaussian` into `frames`."""
        ...


class NumpyLoops:
    """`Loops` in batched numpy operations."""

    add_gaussian = staticmethod(sensors.add_gaussian)

    def move(
        self,
        robot: Float,
        actions: Float,
        noise: Float | None,
        goal: Float,
        walls: Walls | None,
        distance: Float,
        arrived: NDArray[np.bool_],
    ) -> None:
        """See `Loops.move`."""
        robot[:] = room.transition(robot, actions, noise, walls)
        distance[:] = room.distance(robot, goal)
        arrived[:] = room.is_success(distance)

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """See `Loops.draw`; frames are always fully redrawn."""
        np.copyto(frames, background)
        rendering.draw(frames, scene)
        if dead is not None:
            sensors.apply_dead_pixels(frames, *dead)

    def draw_varied(
        self,
        frames: Frames,
        background: Frames,
        look: Look,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        incremental: bool,
    ) -> None:
        """See `Loops.draw_varied`; frames are always fully redrawn."""
        np.copyto(frames, background)
        appearance.draw(frames, look, scene)
        if dead is not None:
            sensors.apply_dead_pixels(frames, *dead)

    def paint(self, look: Look, key: Keys, walls: NDArray[np.bool_] | None, background: Frames) -> None:
        """See `Loops.paint`."""
        appearance.paint(look, key, walls)
        background[:] = appearance.background(look)

    def push(
        self,
        actions: Float,
        pending: Float,
        dynamics: Float,
        key: Keys,
        step: NDArray[np.int64],
        velocity: Float,
    ) -> None:
        """See `Loops.push`."""
        speed, friction, delay, noise = dynamics.T
        newest = np.minimum(np.maximum(actions, -1.0), 1.0)
        late, executed = delay > 0, newest.copy()
        executed[late] = pending[late, delay[late].astype(np.int64) - 1]
        pending[:, 1:] = pending[:, :-1].copy()
        pending[:, 0] = newest
        normals = randomness.normals(key, step, randomness.ACTION_NOISE, 2)
        velocity[:] = room.velocity(executed, noise[:, None] * normals, speed, friction)

    def invalidate(self, rooms: slice) -> None:
        """See `Loops.invalidate`; there is no state to invalidate."""


class CompiledLoops:
    """`Loops` compiled from C.

    Args:
        count: number of rooms, N.
        squares: number of distractors in each room.

    Raises:
        ImportError: this installation has no compiled loops.
    """

    def __init__(self, count: int, squares: int) -> None:
        if _kernels is None:
            raise ImportError(
                "compiled=True: this installation has no compiled loops; install a wheel for your "
                "platform or a C compiler, or leave compiled=None, which then uses numpy"
            )
        self._kernels = _kernels
        self._arguments = count, squares
        self._no_walls = (None, None, None, None)
        self._colours = distractors.COLOURS.astype(np.float64)
        # Where the reused buffer differs from its background: first row and column of each window,
        # −1 if the whole frame must be redrawn.
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
        arrived: NDArray[np.bool_],
    ) -> None:
        """See `Loops.move`."""
        self._kernels.move(robot, actions, noise, goal, *(walls or self._no_walls), distance, arrived)

    def draw(
        self,
        frames: Frames,
        background: Frames,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        shared_background: bool,
        incremental: bool,
    ) -> None:
        """See `Loops.draw`; if `incremental`, only the dirty windows are redrawn."""
        self._kernels.draw(
            frames,
            background[0] if shared_background else background,
            scene.robot,
            scene.goal,
            scene.distractors,
            self._colours,
            scene.walls,
            *(dead or (None, None)),
            self._dirty_windows if incremental else None,
        )

    def draw_varied(
        self,
        frames: Frames,
        background: Frames,
        look: Look,
        scene: Scene,
        dead: tuple[Frames, Frames] | None,
        incremental: bool,
    ) -> None:
        """See `Loops.draw_varied`; if `incremental`, only the dirty windows are redrawn."""
        self._kernels.draw_varied(
            frames,
            background,
            *look,
            scene.robot,
            scene.distractors,
            self._colours,
            *(dead or (None, None)),
            self._dirty_windows if incremental else None,
        )

    def paint(self, look: Look, key: Keys, walls: NDArray[np.bool_] | None, background: Frames) -> None:
        """See `Loops.paint`."""
        self._kernels.paint(*look, key, walls, background)

    def push(
        self,
        actions: Float,
        pending: Float,
        dynamics: Float,
        key: Keys,
        step: NDArray[np.int64],
        velocity: Float,
    ) -> None:
        """See `Loops.push`."""
        quantiles = randomness.quantiles()
        self._kernels.push(actions, pending, dynamics, key, step, quantiles, velocity)

    def invalidate(self, rooms: slice) -> None:
        """See `Loops.invalidate`."""
        self._dirty_windows[rooms] = -1

    def add_gaussian(self, frames: Frames, key: Keys, step: NDArray[np.int64], severity: int) -> None:
        """See `Loops.add_gaussian`."""
        self._kernels.add_gaussian(frames, *sensors.gaussian_bank(severity), key, step)


def make_loops(count: int, squares: int, compiled: bool | None) -> Loops:
    """The compiled loops if they are wanted (True) or, with None, if there are any; else numpy's.

    Raises:
        ImportError: `compiled` is True and this installation has none.
    """
    if compiled or (compiled is None and available()):
        return CompiledLoops(count, squares)
    return NumpyLoops()


def available() -> bool:
    """Whether this installation has compiled loops."""
    return _kernels is not None
