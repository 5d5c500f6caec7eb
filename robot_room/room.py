"""The room's mechanics: pure functions over batches of rooms.

Every array has a leading axis N of rooms. Positions are float64 (N, 2) in metres, x to the right
and y up, with the origin at the centre of the room. Nothing here draws, counts steps or keeps state.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

HALF_WIDTH = 1.0  # m; the room is the square [-1, 1]²
ROBOT_SIDE = 0.20  # m
GOAL_SIDE = 0.24  # m
STEP_LENGTH = 0.1  # m per axis: top speed 1 m/s, time step 0.1 s
GOAL_RADIUS = 0.10  # m; nearer than this (or as near) is success
MIN_START_DISTANCE = 0.40  # m; no start is already solved
ROBOT_LIMIT = HALF_WIDTH - ROBOT_SIDE / 2  # m; the robot's body always stays inside the room
GOAL_LIMIT = HALF_WIDTH - GOAL_SIDE / 2  # m

# The boundary distance == GOAL_RADIUS counts as success. Positions are sums of float64 steps, whose
# rounding (about 1e-16 m) must not decide that; a nanometre does.
TOLERANCE = 1e-9  # m

Float = NDArray[np.float64]
RewardKind = Literal["dense", "sparse"]


@dataclass(frozen=True)
class RoomParams:
    """What may differ between rooms; the geometry above is frozen as v0.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    reward: RewardKind = "dense"
    """"dense": −distance to the goal in metres after the step; "sparse": 1 on arrival, else 0."""
    terminate_on_goal: bool = True
    """Whether an episode ends at the goal; if not, it lasts until it is truncated."""

    def __post_init__(self) -> None:
        if self.reward not in get_args(RewardKind):
            raise ValueError(f"reward: got {self.reward!r}, allowed: {get_args(RewardKind)}")
        if not isinstance(self.terminate_on_goal, bool | np.bool_):
            raise ValueError(
                f"terminate_on_goal: got {self.terminate_on_goal!r}, allowed: True or False"
            )


def sample_start(goal: Float, generator: np.random.Generator) -> Float:
    """A start of one room, (2,): uniform over the positions at least 0.40 m from `goal`, (2,)."""
    while True:
        start = generator.uniform(-ROBOT_LIMIT, ROBOT_LIMIT, size=2)
        if distance(start, goal) >= MIN_START_DISTANCE:
            return start


def transition(robot: Float, action: Float) -> Float:
    """Robot positions after one step, (N, 2): finite actions clipped to [−1, 1], walls clip."""
    step = STEP_LENGTH * np.clip(action, -1.0, 1.0)
    return np.clip(robot + step, -ROBOT_LIMIT, ROBOT_LIMIT)


def distance(robot: Float, goal: Float) -> Float:
    """Euclidean distance from robot centre to goal centre, (..., 2) → (...), metres."""
    delta = robot - goal
    # Not np.hypot: a sum, a product and a square root round the same way on every machine.
    return np.sqrt(delta[..., 0] * delta[..., 0] + delta[..., 1] * delta[..., 1])


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
