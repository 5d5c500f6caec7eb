"""The inner loops once more, compiled by numba: the same bits as `room` and `rendering`, sooner.

Optional (`compiled=True`, extra `fast`). The order of floating-point operations is that of the numpy
functions, and no fused multiply-add may replace two of them; the tests compare bits.
"""

import math
from typing import Any

import numpy as np

try:
    from numba import njit
except ImportError as error:
    raise ImportError(
        "compiled=True needs numba: pip install 'robot-room[fast]', or leave compiled=False"
    ) from error

from robot_room.rendering import FLOOR, WALL
from robot_room.room import (
    GOAL_SIDE,
    HALF_WIDTH,
    MAX_DISTRACTORS,
    ROBOT_SIDE,
    STEP_LENGTH,
    TOLERANCE,
)

_WIDEST = 10  # pixels that a square can touch along an axis, at most


@njit(cache=True)
def _element(coordinate: float, edges: Any) -> int:
    element = 0
    for edge in edges:
        past = coordinate - edge
        element += (past > TOLERANCE) + (past >= -TOLERANCE)
    return element


@njit(cache=True)
def move(
    robot: Any,
    action: Any,
    noise: Any,
    goal: Any,
    x_edges: Any,
    y_edges: Any,
    x_runs: Any,
    y_runs: Any,
    distance: Any,
) -> None:
    """`room.transition` and `room.distance`, in place; `noise` is empty where there is none."""
    for n in range(len(robot)):
        u = min(max(action[n, 0], -1.0), 1.0)
        v = min(max(action[n, 1], -1.0), 1.0)
        if len(noise):
            u += noise[n, 0]
            v += noise[n, 1]
        x, y = robot[n, 0], robot[n, 1]
        row, column = _element(y, y_edges[n]), _element(x, x_edges[n])
        run = x_runs[n, row, column]
        x = min(max(x + STEP_LENGTH * u, run[0]), run[1])
        run = y_runs[n, row, _element(x, x_edges[n])]
        y = min(max(y + STEP_LENGTH * v, run[0]), run[1])
        robot[n, 0], robot[n, 1] = x, y
        dx, dy = x - goal[n, 0], y - goal[n, 1]
        distance[n] = math.sqrt(dx * dx + dy * dy)


@njit(cache=True)
def _cover(low: float, high: float, first: int, width: int, cover: Any) -> bool:
    """Length of [low, high] inside each pixel from `first`; whether there is any."""
    touched = False
    for i in range(width):
        length = min(high, first + i + 1) - max(low, first + i)
        cover[i] = max(length, 0.0)
        touched |= length > 0.0
    return touched


@njit(cache=True)
def draw(
    frames: Any,
    background: Any,
    robot: Any,
    goal: Any,
    distractors: Any,
    colours: Any,
    walls: Any,
    drawn: Any,
) -> None:
    """`background`, and `rendering.draw` on top of it, into `frames`.

    Args:
        frames: (N, S, S, 3) uint8, written.
        background: (N, S, S, 3) uint8.
        robot: (N, 2), metres.
        goal: (N, 2), metres.
        distractors: (N, D, 2), metres; D may be 0.
        colours: (D or more, 3) float64.
        walls: (N, S, S) bool; (0, 0, 0) where there are none.
        drawn: (N, D + 1, 3) int64: the windows (row, column, width) that `frames` differs from its
            background in, so that only these are restored; width −1: everything. Written.
    """
    size = frames.shape[1]
    scale = size / (2 * HALF_WIDTH)
    count = distractors.shape[1]
    squares = np.empty((count + 2, 2, 2))  # distractors, goal, robot; low, high; row, column
    row = np.empty((3 + 4 * MAX_DISTRACTORS, _WIDEST))
    column = np.empty((3 + 4 * MAX_DISTRACTORS, _WIDEST))
    seen = np.empty(3 + 4 * MAX_DISTRACTORS, np.bool_)
    for n in range(len(frames)):
        if drawn[n, 0, 2] < 0:
            frames[n] = background[n]
        else:
            for k in range(count + 1):
                top, left, width = drawn[n, k]
                for i in range(top, top + width):
                    for j in range(left, left + width):
                        frames[n, i, j, 0] = background[n, i, j, 0]
                        frames[n, i, j, 1] = background[n, i, j, 1]
                        frames[n, i, j, 2] = background[n, i, j, 2]
        for k in range(count + 2):
            if k < count:
                centre, side = distractors[n, k], ROBOT_SIDE
            elif k == count:
                centre, side = goal[n], GOAL_SIDE
            else:
                centre, side = robot[n], ROBOT_SIDE
            half = 0.5 * side * scale
            for axis in range(2):
                middle = (HALF_WIDTH - centre[1] if axis == 0 else centre[0] + HALF_WIDTH) * scale
                squares[k, 0, axis] = middle - half
                squares[k, 1, axis] = middle + half
        the_goal, the_robot = squares[count], squares[count + 1]
        for k in range(count + 1):
            square = squares[k] if k < count else the_robot
            width = int(np.ceil(ROBOT_SIDE * size / (2 * HALF_WIDTH))) + 1
            top = min(int(square[0, 0]), size - width)
            left = min(int(square[0, 1]), size - width)
            drawn[n, k, 0], drawn[n, k, 1], drawn[n, k, 2] = top, left, width
            # Covers: 0 robot, 1 goal, 2 both, then for each distractor itself, with the goal, with
            # the robot, with both.
            for m in range(3 + 4 * count):
                seen[m] = True
                for axis in range(2):
                    if m == 0:
                        low, high = the_robot[0, axis], the_robot[1, axis]
                    elif m == 1:
                        low, high = the_goal[0, axis], the_goal[1, axis]
                    elif m == 2:
                        low = max(the_robot[0, axis], the_goal[0, axis])
                        high = min(the_robot[1, axis], the_goal[1, axis])
                    else:
                        d, part = divmod(m - 3, 4)
                        low, high = squares[d, 0, axis], squares[d, 1, axis]
                        if part & 1:
                            low, high = max(low, the_goal[0, axis]), min(high, the_goal[1, axis])
                        if part & 2:
                            low, high = max(low, the_robot[0, axis]), min(high, the_robot[1, axis])
                    cover = row if axis == 0 else column
                    seen[m] &= _cover(low, high, top if axis == 0 else left, width, cover[m])
            for i in range(width):
                for j in range(width):
                    ground = FLOOR
                    if len(walls) and walls[n, top + i, left + j]:
                        ground = WALL
                    robot_area = row[0, i] * column[0, j] if seen[0] else 0.0
                    goal_area = 0.0
                    if seen[1]:
                        goal_area = row[1, i] * column[1, j]
                        if seen[2]:
                            goal_area -= row[2, i] * column[2, j]
                    grey = (ground + 0.5) - ground * goal_area + (255 - ground) * robot_area
                    red, green, blue = grey + 255 * goal_area, grey, grey
                    for d in range(count):
                        m = 3 + 4 * d
                        if ground == FLOOR and seen[m]:
                            area = row[m, i] * column[m, j]
                            hidden = row[m + 1, i] * column[m + 1, j] if seen[m + 1] else 0.0
                            hidden += row[m + 2, i] * column[m + 2, j] if seen[m + 2] else 0.0
                            area -= hidden
                            if seen[m + 3]:
                                area += row[m + 3, i] * column[m + 3, j]
                            red += (colours[d, 0] - FLOOR) * area
                            green += (colours[d, 1] - FLOOR) * area
                            blue += (colours[d, 2] - FLOOR) * area
                    frames[n, top + i, left + j, 0] = np.uint8(red)
                    frames[n, top + i, left + j, 1] = np.uint8(green)
                    frames[n, top + i, left + j, 2] = np.uint8(blue)


@njit(cache=True)
def add_gaussian(frames: Any, plus: Any, minus: Any, places: Any) -> None:
    """`sensors.add_gaussian` for rows (N, S, 3 S) and the places of the bank that they begin at."""
    rooms, rows, width = frames.shape
    for n in range(rooms):
        for r in range(rows):
            place = places[n, r]
            for i in range(width):
                value = (
                    np.int16(frames[n, r, i]) + np.int16(plus[place + i]) - np.int16(minus[place + i])
                )
                frames[n, r, i] = np.uint8(min(max(value, 0), 255))
