"""The exact smallest number of steps to the goal, and an expert that attains it.

In the open room each axis moves by at most STEP_LENGTH a step and nothing is in the way, so after
k steps the robot can be anywhere within k · STEP_LENGTH of its start on each axis. The nearest
such point to the goal leaves the residual max(|Δ| − k · STEP_LENGTH, 0) on each axis, and the
smallest k whose residual has a norm of at most GOAL_RADIUS is the answer.

With walls the places that can be reached in k steps are a union of rectangles. A step slides along
x, then along y, and what can be reached by sliding is found by cutting each rectangle into the free
strips of its rows (or columns) and growing it along them by STEP_LENGTH at both ends. So the sets
are exact, and so is the first k whose set comes within GOAL_RADIUS of the goal. The expert goes back
through these sets from there. (`slip` is not considered.)
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robot_room.layouts import Layout
from robot_room.room import (
    GOAL_RADIUS,
    ROBOT_LIMIT,
    STEP_LENGTH,
    TOLERANCE,
    Float,
    distance,
    is_success,
)

# Rectangles are (R, 2, 2): x and y, low and high, in metres. Edges belong to them.
Rectangles = Float
_X, _Y = 0, 1


def min_steps(robot: Float, goal: Float, layout: Layout | None = None) -> NDArray[np.int64]:
    """Smallest number of steps from robot to goal, positions (N, 2) in metres → (N,).

    Raises:
        ValueError: positions that are none, or from which no way leads to the goal.
    """
    robot, goal = _checked("robot", robot), _checked("goal", goal)
    if layout is not None:
        return np.array(
            [len(_reachable_sets(r, g, layout)) - 1 for r, g in zip(robot, goal, strict=True)]
        )
    delta = np.abs(robot - goal)
    # Each axis alone must come within GOAL_RADIUS, which takes `fewest` steps. One step more leaves
    # at most that much less on each axis, so the answer is `fewest` or, at a corner, one more.
    reach = (delta.max(axis=-1) - GOAL_RADIUS - TOLERANCE) / STEP_LENGTH
    fewest = np.maximum(np.ceil(reach), 0).astype(np.int64)
    residual = np.maximum(delta - STEP_LENGTH * fewest[:, None], 0.0)
    return fewest + ~is_success(np.sqrt((residual * residual).sum(axis=-1)))


def expert_action(robot: Float, goal: Float, layout: Layout | None = None) -> NDArray[np.float32]:
    """Actions of a policy that attains `min_steps`, (N, 2) in [−1, 1].

    In the open room: full speed on each axis.

    Raises:
        ValueError: as `min_steps`.
    """
    robot, target = _checked("robot", robot), _checked("goal", goal)
    goal = target
    if layout is not None:
        target = np.stack([_next(r, g, layout) for r, g in zip(robot, goal, strict=True)])
    return np.clip((target - robot) / STEP_LENGTH, -1.0, 1.0).astype(np.float32)


def _checked(name: str, positions: Float) -> Float:
    """Positions (N, 2) as float64, or ValueError."""
    array = np.asarray(positions, np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(f"{name}: got {positions!r}, allowed: finite positions of shape (N, 2)")
    return array


def _reachable_sets(robot: Float, goal: Float, layout: Layout) -> list[Rectangles]:
    """What can be reached in 0, 1, 2, … steps, up to the first set that touches the goal."""
    rows, columns = _free_strips(layout)
    layers = [np.stack([robot, robot], axis=-1)[None]]
    while not is_success(distance(_nearest(layers[-1], goal), goal)).any():
        reached = _expand(_expand(layers[-1], rows, _X), columns, _Y)
        if np.array_equal(reached, layers[-1]):
            raise ValueError(f"robot: got {robot}, allowed: where a way leads to the goal at {goal}")
        layers.append(reached)
    return layers


def _next(robot: Float, goal: Float, layout: Layout) -> Float:
    """Where a fastest way from robot to goal is after one step, (2,)."""
    rows, columns = _free_strips(layout)
    layers = _reachable_sets(robot, goal, layout)
    if len(layers) == 1:
        return goal  # it is there
    target = _interior_point(layers[-1], goal)
    onward = np.stack([target, target], axis=-1)[None]  # whence it can be reached in so many steps
    for _ in layers[2:]:
        onward = _expand(_expand(onward, columns, _Y), rows, _X)

    # Of the places that one step leads to, that which lies deepest in these, so that the rounding
    # of actions to float32 does no harm.
    low = np.maximum(onward[:, None, :, 0], layers[1][:, :, 0])
    high = np.minimum(onward[:, None, :, 1], layers[1][:, :, 1])
    which, step = np.nonzero((low <= high + TOLERANCE).all(axis=-1))
    place = np.clip(onward[which].mean(axis=-1), low[which, step], high[which, step])
    depth = np.minimum(place - onward[which, :, 0], onward[which, :, 1] - place).min(axis=1)
    best = depth.argmax()
    # At an end of what one step reaches, full speed or a wall is the limit: to push is exact.
    reached, place = layers[1][step[best]], place[best]
    push = np.where(place >= reached[:, 1], 1e-6, 0) - np.where(place <= reached[:, 0], 1e-6, 0)
    return place + push * (np.abs(place - robot) > TOLERANCE)


def _nearest(rectangles: Rectangles, point: Float) -> Float:
    """The point of each rectangle that is nearest to a point (2,) → (R, 2)."""
    return np.minimum(np.maximum(point, rectangles[:, :, 0]), rectangles[:, :, 1])


def _interior_point(rectangles: Rectangles, goal: Float) -> Float:
    """A point within GOAL_RADIUS of the goal, as far from the rectangles' edges as that allows."""
    nearest = _nearest(rectangles, goal)
    best = distance(nearest, goal).argmin()
    inwards = rectangles[best].mean(axis=-1) - nearest[best]
    ways = nearest[best] + np.linspace(0, 1, 65)[:, None] * inwards
    arrived = np.flatnonzero(is_success(distance(ways, goal)))
    return ways[arrived[len(arrived) // 2]]


def _expand(rectangles: Rectangles, strips: Rectangles, axis: int) -> Rectangles:
    """All that can be reached by sliding at most STEP_LENGTH along an axis."""
    low = np.maximum(rectangles[:, None, :, 0], strips[:, :, 0])
    high = np.minimum(rectangles[:, None, :, 1], strips[:, :, 1])
    which, strip = np.nonzero((low <= high + TOLERANCE).all(axis=-1))
    reached = np.stack([low[which, strip], high[which, strip]], axis=-1)
    bounds = strips[strip, axis]
    reached[:, axis, 0] = np.maximum(reached[:, axis, 0] - STEP_LENGTH, bounds[:, 0])
    reached[:, axis, 1] = np.minimum(reached[:, axis, 1] + STEP_LENGTH, bounds[:, 1])
    return _largest(reached)


def _largest(rectangles: Rectangles) -> Rectangles:
    """The rectangles without those that lie in another one."""
    ends = np.concatenate([rectangles[:, :, 0], -rectangles[:, :, 1]], axis=1)
    ends = np.unique(np.round(ends, 12), axis=0)  # what differs by rounding is the same
    inside = (ends[:, None] >= ends).all(axis=-1)  # [i, j]: i lies in j
    kept = ends[inside.sum(axis=1) == 1]  # in none but itself
    return np.stack([kept[:, :2], -kept[:, 2:]], axis=-1)


@lru_cache(maxsize=1024)
def _free_strips(layout: Layout) -> tuple[Rectangles, Rectangles]:
    """The free strips of all rows and of all columns, in which a robot slides along x and y."""
    x_edges, y_edges, x_intervals, y_intervals = (part[0] for part in layout.walls)
    return _rectangles(x_intervals, y_edges), _rectangles(y_intervals.swapaxes(0, 1), x_edges)[:, ::-1]


def _rectangles(intervals: Float, edges: Float) -> Rectangles:
    """The strips along the slabs between edges, each an interval and the slab's width."""
    ends = np.clip([-ROBOT_LIMIT, *edges, ROBOT_LIMIT], -ROBOT_LIMIT, ROBOT_LIMIT)
    found = []
    for slab, low, high in zip(intervals[::2], ends[:-1], ends[1:], strict=True):
        for interval in np.unique(slab[~np.isnan(slab[:, 0])], axis=0):
            if low < high and interval[0] <= interval[1]:
                found.append((interval, (low, high)))
    return np.array(found)
