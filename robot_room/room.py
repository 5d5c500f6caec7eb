"""The room's dynamics and rewards: pure functions over batches of rooms.

Every array has a leading axis N of rooms. Positions are float64 (N, 2) in metres, x to the right
and y up, with the origin at the centre of the room. Rendering, step counts and state are elsewhere.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from robot_room import factors as variation
from robot_room import wall_masks
from robot_room.checking import require_bool, require_int, require_number, require_one_of

HALF_WIDTH = 1.0  # m; the room is the square [-1, 1]²
ROBOT_SIDE = 0.20  # m
GOAL_SIDE = 0.24  # m
STEP_LENGTH = 0.1  # m per axis: top speed 1 m/s, time step 0.1 s
GOAL_RADIUS = 0.10  # m; success is a distance of at most this
MIN_START_DISTANCE = 0.40  # m; no episode starts at the goal
ROBOT_LIMIT = HALF_WIDTH - ROBOT_SIDE / 2  # m; the robot's body stays inside the room
GOAL_LIMIT = HALF_WIDTH - GOAL_SIDE / 2  # m

# Comparisons with GOAL_RADIUS and with walls must not depend on float64 rounding (about 1e-16 m).
TOLERANCE = 1e-9  # m

MAX_DISTRACTORS = 6
MAX_FRAME_SKIP = 20
# Discrete actions: 0 stays, 1 to 8 drive at full speed, anticlockwise from the right.
DIRECTIONS = np.array(
    [(0, 0), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)], np.float64
)
NOWHERE = -10.0  # m, on both axes; where a goal is that is not shown
LAYOUTS_PER_SEED = 10_000
LAYOUT_SEEDS = 55_756  # number of disjoint sets of LAYOUTS_PER_SEED mazes

Float = NDArray[np.float64]
GoalKind = Literal["centre", "random"]
RewardKind = Literal["dense", "sparse"]
ActionKind = Literal["continuous", "discrete"]
ObservationKind = Literal["pixels", "state", "goal_image"]
CorruptionKind = Literal["gaussian", "dead_pixels", "blackout", "occluder", "dropped_frames"]


@dataclass(frozen=True)
class RoomParams:
    """Parameters of a room; the geometry above is fixed in v0.

    Raises:
        ValueError: a field has a value that is not allowed, or two fields contradict each other.
    """

    goal: GoalKind = "centre"
    """Position of the goal: the origin, or uniform wherever its square fits."""
    reward: RewardKind = "dense"
    """"dense": −distance to the goal in metres after the step; "sparse": 1 on arrival, else 0."""
    terminate_on_goal: bool = True
    """Whether reaching the goal ends the episode; otherwise it runs until truncated."""
    walls: Any = None
    """"door": one wall with a door at a random position; "maze": a perfect maze of 5 by 5 cells; or a
    registered name, a mask or a drawing, see `wall_masks`, of which the drawing is kept."""
    num_layouts: int = 1
    """Number of mazes or of layouts of a registered name; one is drawn for each episode."""
    layout_seed: int = 0
    """Selects the set of mazes or layouts; different seeds share no number."""
    distractors: int = 0
    """Number of moving coloured squares that the robot does not control."""
    slip: float = 0.0
    """Standard deviation of the Gaussian noise on each executed velocity, m/s."""
    corruption: CorruptionKind | None = None
    """Kind of camera corruption."""
    severity: int = 0
    """Severity of the corruption, 1 to 5; 0 without corruption."""
    action: ActionKind = "continuous"
    """"continuous": a velocity; "discrete": stay, or one of eight directions at full speed."""
    frame_skip: int = 1
    """Number of time steps of 0.1 s in which an action is repeated."""
    observation: ObservationKind = "pixels"
    """"pixels": the camera's frame; "state": positions instead, for control experiments; "goal_image":
    frames without the red square, and one with the robot at the goal."""
    factors: Any = None
    """Which factors vary, see `factors.ranges`; None: none, and `reset` cannot set any."""

    def __post_init__(self) -> None:
        require_one_of("goal", self.goal, get_args(GoalKind))
        require_one_of("reward", self.reward, get_args(RewardKind))
        require_bool("terminate_on_goal", self.terminate_on_goal)
        object.__setattr__(self, "walls", wall_masks.canonical(self.walls))
        require_int("num_layouts", self.num_layouts, 1, LAYOUTS_PER_SEED)
        require_int("layout_seed", self.layout_seed, 0, LAYOUT_SEEDS - 1)
        several = self.walls == "maze" or self.walls in wall_masks.GENERATORS
        if not several and (self.num_layouts != 1 or self.layout_seed != 0):
            raise ValueError(
                f"num_layouts, layout_seed: got {self.num_layouts}, {self.layout_seed} with "
                f"walls={self.walls!r:.60}, allowed: only with walls='maze' or a registered name, "
                "which have layouts"
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
        require_one_of("action", self.action, get_args(ActionKind))
        require_int("frame_skip", self.frame_skip, 1, MAX_FRAME_SKIP)
        require_one_of("observation", self.observation, get_args(ObservationKind))
        if self.observation == "state" and (self.corruption is not None or self.distractors):
            raise ValueError(
                f"observation: got 'state' with corruption={self.corruption!r} and "
                f"distractors={self.distractors}, allowed: only without, as nothing is seen"
            )
        if self.factors is not None:
            variation.ranges(self.factors)
            object.__setattr__(self, "factors", variation.plain(self.factors))


class Walls(NamedTuple):
    """Where the robot's centre can move, for N rooms; see `layouts`.

    The edges are those of the walls, grown by half the robot's side. E edges divide an axis into
    2E + 1 elements, the open slabs between edges and the edges themselves:

        edge                e0              e1
        element      0      1       2       3      4
               ─────────────┼───────────────┼─────────────

    `x_intervals[n, row, column]` is the interval (low, high) in metres in which a robot in that
    element can slide along x, `y_intervals` the one along y; NaN if the element is blocked.
    """

    x_edges: Float  # (N, X), ascending
    y_edges: Float  # (N, Y), ascending
    x_intervals: Float  # (N, 2Y + 1, 2X + 1, 2)
    y_intervals: Float  # (N, 2Y + 1, 2X + 1, 2)


def sample_start(
    goal: Float,
    generator: np.random.Generator,
    walls: NDArray[np.bool_] | None = None,
    side: float = ROBOT_SIDE,
) -> Float:
    """Sample a start (2,): uniform over the free positions at least 0.40 m from `goal`, (2,)."""
    goal_x, goal_y = goal.tolist()
    limit = HALF_WIDTH - side / 2
    while True:
        x, y = generator.random(2).tolist()  # plain numbers: twice as fast as arrays of two
        x, y = 2 * limit * x - limit, 2 * limit * y - limit
        dx, dy = x - goal_x, y - goal_y
        if math.sqrt(dx * dx + dy * dy) >= MIN_START_DISTANCE:
            start = np.array([x, y])
            if is_clear(start, side, walls):
                return start


def sample_goal(
    robot: Float | None,
    generator: np.random.Generator,
    walls: NDArray[np.bool_] | None = None,
    side: float = GOAL_SIDE,
) -> Float:
    """Sample a goal (2,): uniform where it fits, at least 0.40 m from `robot` if given."""
    limit = HALF_WIDTH - side / 2
    while True:
        goal = 2 * limit * generator.random(2) - limit
        if robot is not None and distance(robot, goal) < MIN_START_DISTANCE:
            continue
        if is_clear(goal, side, walls):
            return goal


def is_clear(centre: Float, side: float, walls: NDArray[np.bool_] | None) -> bool:
    """Whether a square centred at `centre`, (2,), overlaps no pixel of `walls`, (size, size)."""
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

    Finite actions are clipped to [−1, 1], then the noise (N, 2) in m/s is added. The robot slides
    along x first, then along y, each until a wall stops it.
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


def velocity(action: Float, noise: Float, speed: Float, friction: Float) -> Float:
    """Velocities (N, 2) in m/s where factors vary, before slip.

    The noise (N, 2) is added to the action, and the sum clipped to [−1, 1]. Friction takes its part
    of full speed from the size of each component, down to standstill; `speed` (N,) multiplies the rest.
    """
    pushed = np.minimum(np.maximum(np.minimum(np.maximum(action, -1.0), 1.0) + noise, -1.0), 1.0)
    left = np.maximum(np.abs(pushed) - friction[:, None], 0.0)
    return np.copysign(left, pushed) * speed[:, None]


def _element(coordinate: Float, edges: Float) -> NDArray[np.int64]:
    """Index of the element that contains each coordinate, (N,), given edges (N, E); see `Walls`."""
    past = coordinate[:, None] - edges
    return (past > TOLERANCE).sum(axis=1) + (past >= -TOLERANCE).sum(axis=1)


def distance(robot: Float, goal: Float) -> Float:
    """Euclidean distance from robot centre to goal centre, (..., 2) → (...), metres."""
    delta = (robot - goal).T
    # Not np.hypot: sums, products and square roots round identically on every machine.
    return np.sqrt(delta[0] * delta[0] + delta[1] * delta[1])


def is_success(distance: Float) -> NDArray[np.bool_]:
    """Whether a distance, (...) in metres, is at most GOAL_RADIUS."""
    return distance <= GOAL_RADIUS + TOLERANCE


def reward(params: RoomParams, distance: Float) -> Float:
    """Reward for the state after a step, (N,): −metres if dense, 0 or 1 if sparse."""
    if params.reward == "dense":
        return -distance
    return is_success(distance).astype(np.float64)


def terminated(params: RoomParams, arrived: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the episode ended by reaching the goal, (N,), given whether the robots are there."""
    if params.terminate_on_goal:
        return arrived.copy()
    return np.zeros(arrived.shape, dtype=np.bool_)


def bounce(start: Float, travelled: Float, limit: float | Float) -> Float:
    """Position on a triangle wave in [0, limit] after a distance `travelled`.

    `start` is in [0, 2 · limit); its second half is the return.
    """
    position = np.mod(start + travelled, 2 * limit)
    return np.minimum(position, 2 * limit - position)
