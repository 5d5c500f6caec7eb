"""Numba kernels for the inner loops, bit-identical to `room`, `rendering` and `sensors`.

Optional (`compiled=True`, extra `fast`). Floating-point operations are in the same order as in the
numpy functions, and fused multiply-adds are not allowed; the tests compare bits. The helpers of
`draw` are always inlined: calling them costs up to a tenth of the time.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

try:
    import numba
except ImportError as error:
    raise ImportError(
        "compiled=True needs numba: pip install 'robot-room[fast]', or leave compiled=False"
    ) from error

from robot_room.rendering import FLOOR, WALL
from robot_room.room import (
    GOAL_SIDE,
    HALF_WIDTH,
    ROBOT_SIDE,
    STEP_LENGTH,
    TOLERANCE,
)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def _compiled(forceinline: bool = False) -> Callable[[Kernel], Kernel]:
    """Compile a function when it is first called, and cache the result if there is a place for it.

    Places are the package's `__pycache__`, the user's cache directory and NUMBA_CACHE_DIR; numba raises
    an error if it can write to none of them.
    """

    def decorate(function: Kernel) -> Kernel:
        try:
            compiled = numba.njit(cache=True, forceinline=forceinline)(function)
        except RuntimeError:  # every process compiles anew
            compiled = numba.njit(forceinline=forceinline)(function)
        return cast(Kernel, compiled)

    return decorate


@_compiled()
def _element(coordinate: float, edges: Any) -> int:
    element = 0
    for edge in edges:
        past = coordinate - edge
        element += (past > TOLERANCE) + (past >= -TOLERANCE)
    return element


@_compiled()
def move(
    robot: Any,
    action: Any,
    noise: Any,
    goal: Any,
    x_edges: Any,
    y_edges: Any,
    x_intervals: Any,
    y_intervals: Any,
    distance: Any,
) -> None:
    """Compute `room.transition` and `room.distance` in place; `noise` is empty without slip."""
    for n in range(len(robot)):
        u = min(max(action[n, 0], -1.0), 1.0)
        v = min(max(action[n, 1], -1.0), 1.0)
        if len(noise):
            u += noise[n, 0]
            v += noise[n, 1]
        x, y = robot[n, 0], robot[n, 1]
        row, column = _element(y, y_edges[n]), _element(x, x_edges[n])
        interval = x_intervals[n, row, column]
        x = min(max(x + STEP_LENGTH * u, interval[0]), interval[1])
        interval = y_intervals[n, row, _element(x, x_edges[n])]
        y = min(max(y + STEP_LENGTH * v, interval[0]), interval[1])
        robot[n, 0], robot[n, 1] = x, y
        dx, dy = x - goal[n, 0], y - goal[n, 1]
        distance[n] = math.sqrt(dx * dx + dy * dy)


@_compiled()
def draw(
    frames: Any,
    background: Any,
    robot: Any,
    goal: Any,
    distractors: Any,
    colours: Any,
    walls: Any,
    dirty_windows: Any,
    incremental: bool,
) -> None:
    """Copy `background` into `frames` and draw on top of it, as `rendering.draw` does.

    Args:
        frames: (N, S, 3 S) uint8, output.
        background: (N, S, 3 S) uint8, or (1, S, 3 S) if all rooms share it.
        robot: (N, 2), metres.
        goal: (N, 2), metres.
        distractors: (N, D, 2), metres; D may be 0.
        colours: (D or more, 3) float64.
        walls: (N, S, S) bool; (0, 0, 0) without walls.
        dirty_windows: (N, D + 1, 2) int64, first row and column of each window that differs from
            the background; −1 if the whole frame must be redrawn. Used and updated only if
            `incremental`.
        incremental: whether `frames` is unchanged since the last incremental call, so that only
            the dirty windows need restoring.
    """
    # Deliberately not constants: with lengths unknown at compile time the loops are a third faster.
    size = frames.shape[1]
    scale = size / (2 * HALF_WIDTH)
    width = math.ceil(ROBOT_SIDE * scale) + 1  # most pixels a square can touch along an axis
    count = distractors.shape[1]
    squares = np.empty((count + 2, 2, 2))  # distractors, goal, robot; low, high; row, column
    # Coverage of each layer in a window, per row and per column; see `_measure`.
    rows = np.empty((3 + 4 * count, width))
    columns = np.zeros((3 + 4 * count, 3 * width))
    seen = np.empty(3 + 4 * count, np.bool_)
    value, ground = np.empty(3 * width), np.full(3 * width, float(FLOOR))
    tint = np.empty((count, 3 * width))
    for d in range(count):
        for j in range(3 * width):
            tint[d, j] = colours[d, j % 3] - FLOOR

    for n in range(len(frames)):
        shared = n if len(background) > 1 else 0
        if incremental and dirty_windows[n, 0, 0] >= 0:
            _restore(frames[n], background[shared], dirty_windows[n], width)
        else:
            for i in range(size):
                for j in range(3 * size):
                    frames[n, i, j] = background[shared, i, j]
        for d in range(count):
            _place(squares[d], distractors[n, d], ROBOT_SIDE, scale)
        _place(squares[count], goal[n], GOAL_SIDE, scale)
        _place(squares[count + 1], robot[n], ROBOT_SIDE, scale)

        for k in range(count + 1):  # the robot's window comes last
            square = squares[k if k < count else count + 1]
            top = min(int(square[0, 0]), size - width)
            left = min(int(square[0, 1]), size - width)
            if incremental:
                dirty_windows[n, k, 0], dirty_windows[n, k, 1] = top, left
            _measure(squares, top, left, rows, columns, seen)
            window = frames[n, top : top + width, 3 * left : 3 * (left + width)]
            plain = count == 0 and len(walls) == 0 and not seen[1]
            for i in range(width):
                # Most rows lie wholly inside the robot and repeat the previous one.
                if plain and i > 0 and rows[0, i] == rows[0, i - 1]:
                    for j in range(3 * width):
                        window[i, j] = window[i - 1, j]
                    continue
                if len(walls):
                    for j in range(3 * width):
                        ground[j] = WALL if walls[n, top + i, left + j // 3] else FLOOR
                _blend(i, rows, columns, seen, ground, tint, value)
                for j in range(3 * width):
                    window[i, j] = np.uint8(np.int32(value[j]))  # via int32, which vectorises


@_compiled(forceinline=True)
def _restore(frame: Any, background: Any, corners: Any, width: int) -> None:
    """Restore the background (S, 3 S) in the windows whose first row and column are `corners`."""
    for k in range(len(corners)):
        # Unsigned, to skip the check for negative indices.
        first_row, first_byte = np.uintp(corners[k, 0]), np.uintp(3 * corners[k, 1])
        for i in range(width):
            for j in range(3 * width):
                r, b = first_row + np.uintp(i), first_byte + np.uintp(j)
                frame[r, b] = background[r, b]


@_compiled(forceinline=True)
def _place(square: Any, centre: Any, side: float, scale: float) -> None:
    """Write a square's low and high edges as (row, column) in pixels; its centre is in metres."""
    half = 0.5 * side * scale
    row, column = (HALF_WIDTH - centre[1]) * scale, (centre[0] + HALF_WIDTH) * scale
    square[0, 0], square[1, 0] = row - half, row + half
    square[0, 1], square[1, 1] = column - half, column + half


@_compiled(forceinline=True)
def _measure(squares: Any, top: int, left: int, rows: Any, columns: Any, seen: Any) -> None:
    """Find which layers are visible in the window at (top, left), and their coverage.

    The layers are the robot (0), the goal (1), their overlap (2), and four for each distractor: the
    square itself and its overlap with the goal, with the robot, and with both.

    Args:
        squares: (D + 2, 2, 2): distractors, goal, robot; low, high; row, column.
        top: first row of the window.
        left: first column of the window.
        rows: (3 + 4 D, W), output: covered length of each row.
        columns: (3 + 4 D, 3 W), output: covered length of each column, per channel; only for
            visible layers.
        seen: (3 + 4 D,) bool, output: whether each layer is visible.
    """
    count, width = len(squares) - 2, rows.shape[1]
    for m in range(len(seen)):
        first = 3 + (m - 3) // 4 * 4  # first layer of this distractor
        if m > first >= 3 and not seen[first]:
            continue  # not visible in this window, and so neither are its overlaps
        bottom = (count + 1, count, count + 1)[m] if m < 3 else (m - 3) // 4
        top_edge, left_edge = squares[bottom, 0, 0], squares[bottom, 0, 1]
        bottom_edge, right_edge = squares[bottom, 1, 0], squares[bottom, 1, 1]
        for other in range(count, count + 2):  # goal, robot
            with_it = m == 2 if other == count else False
            if m >= 3:
                with_it = ((m - 3) & (1 if other == count else 2)) != 0
            if with_it:
                top_edge = max(top_edge, squares[other, 0, 0])
                left_edge = max(left_edge, squares[other, 0, 1])
                bottom_edge = min(bottom_edge, squares[other, 1, 0])
                right_edge = min(right_edge, squares[other, 1, 1])
        seen[m] = (
            top_edge < bottom_edge
            and left_edge < right_edge
            and top_edge < top + width
            and left_edge < left + width
            and bottom_edge > top
            and right_edge > left
        )
        if seen[m]:
            _cover(top_edge, bottom_edge, top, width, 1, rows, m)
            _cover(left_edge, right_edge, left, width, 3, columns, m)
        else:
            for i in range(width):
                rows[m, i] = 0.0


@_compiled(forceinline=True)
def _cover(low: float, high: float, first: int, width: int, repeat: int, covers: Any, m: int) -> None:
    """Write the length of [low, high] in each pixel from `first`, `repeat` times, to `covers[m]`."""
    for i in range(width):
        pixel = float(first + i)
        end = high if high < pixel + 1.0 else pixel + 1.0
        length = end - (low if low > pixel else pixel)
        length = length if length > 0.0 else 0.0
        for c in range(repeat):
            covers[m, repeat * i + c] = length


@_compiled(forceinline=True)
def _blend(i: int, rows: Any, columns: Any, seen: Any, ground: Any, tint: Any, value: Any) -> None:
    """Blend row i of a window as `rendering` does.

    Args:
        i: row index.
        rows: coverage of rows, from `_measure`.
        columns: coverage of columns, from `_measure`.
        seen: visible layers, from `_measure`.
        ground: (3 W,), grey level of the floor or wall.
        tint: (D, 3 W), distractor colours minus the floor's grey level.
        value: (3 W,) float64, output: the colour + 0.5, so that truncation rounds halves up.
    """
    if seen[1]:
        for j in range(len(value)):
            robot_area = rows[0, i] * columns[0, j]
            goal_area = rows[1, i] * columns[1, j] - rows[2, i] * columns[2, j]
            grey = ground[j] + 0.5 - ground[j] * goal_area + (255 - ground[j]) * robot_area
            value[j] = grey + (255.0 if j % 3 == 0 else 0.0) * goal_area
    else:
        for j in range(len(value)):
            value[j] = ground[j] + 0.5 + (255 - ground[j]) * (rows[0, i] * columns[0, j])
    for d in range(len(tint)):
        m = 3 + 4 * d
        if not seen[m]:
            continue
        for j in range(len(value)):
            area = rows[m, i] * columns[m, j]
            if seen[m + 1] or seen[m + 2]:
                hidden = rows[m + 1, i] * columns[m + 1, j]
                area -= hidden + rows[m + 2, i] * columns[m + 2, j]
                area += rows[m + 3, i] * columns[m + 3, j]
            value[j] += tint[d, j] * (area if ground[j] == FLOOR else 0.0)


@_compiled()
def apply_dead_pixels(frames: Any, keep: Any, stuck: Any) -> None:
    """Compute `frames & keep | stuck` in place and in one pass, all (N, S, 3 S) uint8."""
    rooms, rows, width = frames.shape
    for n in range(rooms):
        for r in range(rows):
            for i in range(width):
                frames[n, r, i] = (frames[n, r, i] & keep[n, r, i]) | stuck[n, r, i]


@_compiled()
def add_gaussian(frames: Any, plus: Any, minus: Any, offsets: Any) -> None:
    """`sensors.add_gaussian` for rows (N, S, 3 S) and their offsets into the bank, (N, S)."""
    rooms, rows, width = frames.shape
    for n in range(rooms):
        for r in range(rows):
            offset = np.uintp(offsets[n, r])  # unsigned, to skip the check for negative indices
            for i in range(width):
                # uint8 throughout, for the widest vector operations.
                p, m, x = plus[offset + np.uintp(i)], minus[offset + np.uintp(i)], frames[n, r, i]
                x = np.uint8(min(x, np.uint8(255 - p)) + p)
                frames[n, r, i] = np.uint8(max(x, m) - m)
