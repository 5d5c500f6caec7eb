"""The room's mechanics: pure functions over batches of rooms.

Every array has a leading axis N of rooms. Positions are float64 (N, 2) in metres, x to the right
and y up, with the origin at the centre of the room. Nothing here draws, counts steps or keeps state.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from robot_room.checking import require_bool, require_int, require_number, require_one_of

HALF_WIDTH = 1.0  # m; the room is the square [-1, 1]²
ROBOT_SIDE = 0.20  # m
GOAL_SIDE = 0.24  # m
STEP_LENGTH = 0.1  # m per axis: top speed 1 m/s, time step 0.1 s
GOAL_RADIUS = 0.10  # m; nearer than this (or as near) is success
MIN_START_DISTANCE = 0.40  # m; no start is already solved
ROBOT_LIMIT = HALF_WIDTH - ROBOT_SIDE / 2  # m; the robot's body always stays inside the room
GOAL_LIMIT = HALF_WIDTH - GOAL_SIDE / 2  # m

# Whether a distance is GOAL_RADIUS, or a robot is clear of a wall, must not hang on the rounding of
# sums of float64 steps (about 1e-16 m); a nanometre decides instead.
TOLERANCE = 1e-9  # m

MAX_DISTRACTORS = 6
LAYOUTS_PER_SEED = 10_000
LAYOUT_SEEDS = 55_756  # as many sets of LAYOUTS_PER_SEED as there are mazes for

Float = NDArray[np.float64]
GoalKind = Literal["centre", "random"]
RewardKind = Literal["dense", "sparse"]
WallKind = Literal["door", "maze"]
CorruptionKind = Literal["gaussian", "dead_pixels", "blackout", "occluder", "dropped_frames"]


@dataclass(frozen=True)
class RoomParams:
    """What may differ between rooms; the geometry above is frozen as v0.

    Raises:
        ValueError: a field has a value that is not allowed, or two fields contradict each other.
    """

    goal: GoalKind = "centre"
    """Where the goal is: at the origin, or anywhere that its square fits."""
    reward: RewardKind = "dense"
    """"dense": −distance to the goal in metres after the step; "sparse": 1 on arrival, else 0."""
    terminate_on_goal: bool = True
    """Whether an episode ends at the goal; if not, it lasts until it is truncated."""
    walls: WallKind | None = None
    """"door": one wall with a door at a random place; "maze": a perfect maze of 5 by 5 cells."""
    num_layouts: int = 1
    """How many mazes episodes are drawn from."""
    layout_seed: int = 0
    """Which mazes: two seeds never share one."""
    distractors: int = 0
    """How many coloured squares move about that the robot does not control."""
    slip: float = 0.0
    """Standard deviation of the Gaussian noise on each executed velocity, m/s."""
    corruption: CorruptionKind | None = None
    """How the camera fails."""
    severity: int = 0
    """How badly, 1 to 5; 0 without corruption."""

    def __post_init__(self) -> None:
        require_one_of("goal", self.goal, get_args(GoalKind))
        require_one_of("reward", self.reward, get_args(RewardKind))
        require_bool("terminate_on_goal", self.terminate_on_goal)
        require_one_of("walls", self.walls, (None, *get_args(WallKind)))
        require_int("num_layouts", self.num_layouts, 1, LAYOUTS_PER_SEED)
        require_int("layout_seed", self.layout_seed, 0, LAYOUT_SEEDS - 1)
        if self.walls != "maze" and (self.num_layouts != 1 or self.layout_seed != 0):
            raise ValueError(
                f"num_layouts, layout_seed: got {self.num_layouts}, {self.layout_seed} with "
                f"walls={self.walls!r}, allowed: only with walls='maze', which has layouts"
            )
        require_int("distractors", self.distractors, 0, MAX_DISTRACTORS)
        require_number("slip", self.slip, 0, 1)
        require_one_of("corruption", self.corruption, (None, *get_args(CorruptionKind)))
        require_int("severity", self.severity, 0, 5)
        if (self.corruption is None) != (self.severity == 0):
            allowed = "0 without corruption" if self.corruption is None else "1 to 5 with corruption"
            raise ValueError(
                f"severity: got {self.severity} with corruption={self.corruption!r}, allowed: {allowed}"
            )


class Walls(NamedTuple):
    """Where the robot's centre can go, for N rooms; see `layouts`.

    Edges are those of the walls grown by half the robot. Between and on them lie 2E + 1 elements on
    each axis, even ones the open slabs, odd ones the edges themselves. `runs[n, row, column]` is the
    stretch (low, high), in metres, along which a robot in that element can slide.
    """

    x_edges: Float  # (N, X), rising
    y_edges: Float  # (N, Y), rising
    x_intervals: Float  # (N, 2Y + 1, 2X + 1, 2)
    y_intervals: Float  # (N, 2Y + 1, 2X + 1, 2)


def sample_start(
    goal: Float, generator: np.random.Generator, walls: NDArray[np.bool_] | None = None
) -> Float:
    """A start of one room, (2,): uniform over the free positions at least 0.40 m from `goal`, (2,)."""
    while True:
        start = 2 * ROBOT_LIMIT * generator.random(2) - ROBOT_LIMIT
        if distance(start, goal) >= MIN_START_DISTANCE and is_clear(start, ROBOT_SIDE, walls):
            return start


def sample_goal(
    robot: Float | None, generator: np.random.Generator, walls: NDArray[np.bool_] | None = None
) -> Float:
    """A goal of one room, (2,): uniform where it fits, at least 0.40 m from `robot` if given."""
    while True:
        goal = 2 * GOAL_LIMIT * generator.random(2) - GOAL_LIMIT
        if robot is not None and distance(robot, goal) < MIN_START_DISTANCE:
            continue
        if is_clear(goal, GOAL_SIDE, walls):
            return goal


def is_clear(centre: Float, side: float, walls: NDArray[np.bool_] | None) -> bool:
    """Whether a square of this side at `centre`, (2,), overlaps no pixel of `walls`, (size, size)."""
    if walls is None:
        return True
    scale = len(walls) / (2 * HALF_WIDTH)
    x, y = centre.tolist()
    row, column = (HALF_WIDTH - y) * scale, (x + HALF_WIDTH) * scale
    half = (side / 2 - TOLERANCE) * scale
    rows = slice(math.floor(row - half), math.ceil(row + half))
    return not walls[rows, math.floor(column - half) : math.ceil(column + half)].any()


def transition(
    robot: Float, action: Float, noise: Float | None = None, walls: Walls | None = None
) -> Float:
    """Robot positions after one step, (N, 2).

    Finite actions are clipped to [−1, 1], then noise in m/s is added, (N, 2). The robot slides along
    x first, then along y, each as far as the walls let it.
    """
    velocity = np.minimum(np.maximum(action, -1.0), 1.0)
    if noise is not None:
        velocity += noise
    moved = robot + STEP_LENGTH * velocity
    if walls is None:
        return np.minimum(np.maximum(moved, -ROBOT_LIMIT), ROBOT_LIMIT)
    room = np.arange(len(robot))
    row = _element(robot[:, 1], walls.y_edges)
    low, high = walls.x_intervals[room, row, _element(robot[:, 0], walls.x_edges)].T
    moved[:, 0] = np.minimum(np.maximum(moved[:, 0], low), high)
    low, high = walls.y_intervals[room, row, _element(moved[:, 0], walls.x_edges)].T
    moved[:, 1] = np.minimum(np.maximum(moved[:, 1], low), high)
    return moved


def _element(coordinate: Float, edges: Float) -> NDArray[np.int64]:
    """Index of the slab or edge that holds each coordinate, (N,), among edges (N, E)."""
    past = coordinate[:, None] - edges
    return (past > TOLERANCE).sum(axis=1) + (past >= -TOLERANCE).sum(axis=1)


def distance(robot: Float, goal: Float) -> Float:
    """Euclidean distance from robot centre to goal centre, (..., 2) → (...), metres."""
    delta = (robot - goal).T
    # Not np.hypot: a sum, a product and a square root round the same way on every machine.
    return np.sqrt(delta[0] * delta[0] + delta[1] * delta[1])


def is_success(distance: Float) -> NDArray[np.bool_]:
    """Whether a distance, (...) in metres, is at most GOAL_RADIUS."""
    return distance <= GOAL_RADIUS + TOLERANCE


def reward(params: RoomParams, distance: Float) -> Float:
    """Reward that arrives with the state after a step, (N,): metres if dense, 0 or 1 if sparse."""
    if params.reward == "dense":
        return -distance
    return is_success(distance).astype(np.float64)


def terminated(params: RoomParams, distance: Float) -> NDArray[np.bool_]:
    """Whether the episode has ended by reaching the goal, (N,)."""
    if params.terminate_on_goal:
        return is_success(distance)
    return np.zeros(distance.shape, dtype=np.bool_)


def bounce(start: Float, travelled: Float, limit: float | Float) -> Float:
    """Where something is that runs to and fro in [0, limit].

    It sets out at `start` in [0, 2 · limit), whose second half is the way back, and has `travelled`.
    """
    position = np.mod(start + travelled, 2 * limit)
    return np.minimum(position, 2 * limit - position)
