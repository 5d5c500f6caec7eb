"""Exact minimum number of steps to the goal, and an expert that attains it.

In the open room the robot moves by at most STEP_LENGTH per step on each axis, so after k steps it
can be anywhere within k · STEP_LENGTH of its start on each axis. The nearest such point to the goal
leaves the residual max(|Δ| − k · STEP_LENGTH, 0) on each axis; the minimum is the smallest k for
which the residual's norm is at most GOAL_RADIUS.

With walls the set reachable in k steps is a union of rectangles. A step slides along x, then along
y; each slide intersects every rectangle with the free strips of the rows (or columns) and extends
it along the strip by STEP_LENGTH at both ends. The sets are exact, and so is the first k whose set
comes within GOAL_RADIUS of the goal. The expert backtracks through these sets. (`slip` is ignored.)

Factors of variation change the length of a step, STEP_LENGTH · speed · (1 − friction), and the size of
the robot, which is part of the layout. A delay of d time steps postpones all of this by d, as the robot
stands until its first action is executed. (Noise on actions is ignored.)
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robot_room import checking
from robot_room.layouts import Layout
from robot_room.room import (
    GOAL_RADIUS,
    HALF_WIDTH,
    STEP_LENGTH,
    TOLERANCE,
    Float,
    distance,
    is_success,
)

# (R, 2, 2): x and y, low and high, in metres. Rectangles are closed sets.
Rectangles = Float
_X, _Y = 0, 1
FARTHEST = 1e6  # m
SPEEDS = (1e-3, 1e3)  # m/s, lowest and highest
MOST_FRICTION = 0.999
MOST_DELAY = 10**6  # time steps


def min_steps(
    robot: Float,
    goal: Float,
    layout: Layout | None = None,
    speed: float = 1.0,
    friction: float = 0.0,
    delay: int = 0,
) -> NDArray[np.int64]:
    """Minimum number of steps from robot to goal, positions (N, 2) in metres → (N,).

    Args:
        robot: positions, (N, 2).
        goal: positions, (N, 2).
        layout: the walls, for the robot's size.
        speed: top speed, m/s, from 0.001 to 1000.
        friction: what friction takes from a full action, from 0 to 0.999.
        delay: time steps until an action is executed, from a standing start.

    Raises:
        ValueError: an argument is malformed, or no path leads to the goal.
    """
    robot, goal, layout = _checked("robot", robot), _checked("goal", goal), _walls(layout)
    length, delay = _step_length(speed, friction), checking.whole("delay", delay, 0, MOST_DELAY)
    if layout is not None:
        pairs = zip(robot, goal, strict=True)
        fewest = np.array([len(_reachable_sets(r, g, layout, length)) - 1 for r, g in pairs])
        return np.where(fewest > 0, fewest + delay, 0)
    delta = np.abs(robot - goal)
    # Each axis alone must come within GOAL_RADIUS, which takes `fewest` steps; then both together.
    reach = (delta.max(axis=-1) - GOAL_RADIUS - TOLERANCE) / length
    fewest = np.maximum(np.ceil(reach), 0).astype(np.int64)
    while True:
        residual = np.maximum(delta - length * fewest[:, None], 0.0)
        far = ~is_success(np.sqrt((residual * residual).sum(axis=-1)))
        if not far.any():
            return np.where(fewest > 0, fewest + delay, 0)
        fewest += far


def expert_action(
    robot: Float,
    goal: Float,
    layout: Layout | None = None,
    speed: float = 1.0,
    friction: float = 0.0,
) -> NDArray[np.float32]:
    """Actions of a policy that attains `min_steps`, (N, 2) in [−1, 1].

    In the open room it moves at full speed on each axis. With a delay, `robot` must be where the robot
    will be when the action is executed.

    Raises:
        ValueError: see `min_steps`.
    """
    robot, target, layout = _checked("robot", robot), _checked("goal", goal), _walls(layout)
    goal, length = target, _step_length(speed, friction)
    if layout is not None:
        target = np.stack([_next(r, g, layout, length) for r, g in zip(robot, goal, strict=True)])
    # The part of full speed that friction must leave, and the action of which it leaves that.
    share = np.clip((target - robot) / (STEP_LENGTH * speed), -1.0, 1.0)
    share = np.where(share == 0, 0.0, share + np.copysign(friction, share))
    return np.clip(share, -1.0, 1.0).astype(np.float32)


def _step_length(speed: float, friction: float) -> float:
    """The farthest that the robot moves in a step along an axis, metres."""
    speed = checking.number("speed", speed, *SPEEDS)
    friction = checking.number("friction", friction, 0, MOST_FRICTION)
    return STEP_LENGTH * ((1.0 - friction) * speed)


def _walls(layout: Layout | None) -> Layout | None:
    if layout is not None and not isinstance(layout, Layout):
        raise ValueError(f"layout: got {layout!r:.200}, allowed: one of `robot_room.layouts`, or None")
    return layout


def _checked(name: str, positions: Float) -> Float:
    """Convert positions (N, 2) to float64, or raise ValueError."""
    try:
        array = np.asarray(positions, np.float64)
        if array.ndim == 2 and array.shape[1] == 2 and (np.abs(array) <= FARTHEST).all():
            return array
    except (TypeError, ValueError, OverflowError):
        pass
    allowed = f"finite positions of shape (N, 2) within ±{FARTHEST:g} m"
    raise ValueError(f"{name}: got {positions!r}, allowed: {allowed}")


def _reachable_sets(robot: Float, goal: Float, layout: Layout, length: float) -> list[Rectangles]:
    """Sets reachable in 0, 1, 2, … steps, up to the first that comes within reach of the goal."""
    rows, columns = _free_strips(layout)
    layers = [np.stack([robot, robot], axis=-1)[None]]
    while not is_success(distance(_nearest(layers[-1], goal), goal)).any():
        reached = _expand(_expand(layers[-1], rows, _X, length), columns, _Y, length)
        if np.array_equal(reached, layers[-1]):
            raise ValueError(f"robot: got {robot}, allowed: a position with a path to {goal}")
        layers.append(reached)
    return layers


def _next(robot: Float, goal: Float, layout: Layout, length: float) -> Float:
    """Position after the first step of a shortest path from robot to goal, (2,)."""
    rows, columns = _free_strips(layout)
    layers = _reachable_sets(robot, goal, layout, length)
    if len(layers) == 1:
        return goal  # already there
    target = _interior_point(layers[-1], goal)
    onward = np.stack([target, target], axis=-1)[None]  # from which the target can be reached
    for _ in layers[2:]:
        onward = _expand(_expand(onward, columns, _Y, length), rows, _X, length)

    # Of the points within one step, choose the one farthest from the borders of `onward`, so that
    # rounding the action to float32 does no harm.
    low = np.maximum(onward[:, None, :, 0], layers[1][:, :, 0])
    high = np.minimum(onward[:, None, :, 1], layers[1][:, :, 1])
    which, step = np.nonzero((low <= high + TOLERANCE).all(axis=-1))
    place = np.clip(onward[which].mean(axis=-1), low[which, step], high[which, step])
    depth = np.minimum(place - onward[which, :, 0], onward[which, :, 1] - place).min(axis=1)
    best = depth.argmax()
    # On the border of the one-step set, full speed or a wall is the limit, and an action slightly
    # past it is exact.
    reached, place = layers[1][step[best]], place[best]
    push = np.where(place >= reached[:, 1], 1e-6, 0) - np.where(place <= reached[:, 0], 1e-6, 0)
    return place + push * (np.abs(place - robot) > TOLERANCE)


def _nearest(rectangles: Rectangles, point: Float) -> Float:
    """The point of each rectangle nearest to a given point (2,) → (R, 2)."""
    return np.minimum(np.maximum(point, rectangles[:, :, 0]), rectangles[:, :, 1])


def _interior_point(rectangles: Rectangles, goal: Float) -> Float:
    """A point within GOAL_RADIUS of the goal and well inside the nearest rectangle."""
    nearest = _nearest(rectangles, goal)
    best = distance(nearest, goal).argmin()
    inwards = rectangles[best].mean(axis=-1) - nearest[best]
    ways = nearest[best] + np.linspace(0, 1, 65)[:, None] * inwards
    arrived = np.flatnonzero(is_success(distance(ways, goal)))
    return ways[arrived[len(arrived) // 2]]


def _expand(rectangles: Rectangles, strips: Rectangles, axis: int, length: float) -> Rectangles:
    """The set reachable by sliding at most `length` along an axis."""
    low = np.maximum(rectangles[:, None, :, 0], strips[:, :, 0])
    high = np.minimum(rectangles[:, None, :, 1], strips[:, :, 1])
    which, strip = np.nonzero((low <= high + TOLERANCE).all(axis=-1))
    reached = np.stack([low[which, strip], high[which, strip]], axis=-1)
    bounds = strips[strip, axis]
    reached[:, axis, 0] = np.maximum(reached[:, axis, 0] - length, bounds[:, 0])
    reached[:, axis, 1] = np.minimum(reached[:, axis, 1] + length, bounds[:, 1])
    return _largest(reached)


def _largest(rectangles: Rectangles) -> Rectangles:
    """Remove rectangles that are contained in another one."""
    ends = np.concatenate([rectangles[:, :, 0], -rectangles[:, :, 1]], axis=1)
    ends = np.unique(np.round(ends, 12), axis=0)  # merge duplicates up to rounding
    inside = (ends[:, None] >= ends).all(axis=-1)  # [i, j]: i lies in j
    kept = ends[inside.sum(axis=1) == 1]  # contained only in itself
    return np.stack([kept[:, :2], -kept[:, 2:]], axis=-1)


@lru_cache(maxsize=1024)
def _free_strips(layout: Layout) -> tuple[Rectangles, Rectangles]:
    """Free strips of all rows, for sliding along x, and of all columns, for sliding along y."""
    x_edges, y_edges, x_intervals, y_intervals = (part[0] for part in layout.walls)
    limit = HALF_WIDTH - layout.robot_side / 2
    rows = _rectangles(x_intervals, y_edges, limit)
    return rows, _rectangles(y_intervals.swapaxes(0, 1), x_edges, limit)[:, ::-1]


def _rectangles(intervals: Float, edges: Float, limit: float) -> Rectangles:
    """Free strips along the slabs between edges: each a free interval times the slab's width."""
    ends = np.clip([-limit, *edges, limit], -limit, limit)
    found = []
    for slab, low, high in zip(intervals[::2], ends[:-1], ends[1:], strict=True):
        for interval in np.unique(slab[~np.isnan(slab[:, 0])], axis=0):
            if low < high and interval[0] <= interval[1]:
                found.append((interval, (low, high)))
    return np.array(found)
