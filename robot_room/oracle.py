"""The exact smallest number of steps to the goal, and an expert that attains it.

In the open room each axis moves by at most STEP_LENGTH a step and nothing is in the way, so after
k steps the robot can be anywhere within k · STEP_LENGTH of its start on each axis. The nearest
such point to the goal leaves the residual max(|Δ| − k · STEP_LENGTH, 0) on each axis, and the
smallest k whose residual has a norm of at most GOAL_RADIUS is the answer.
"""

import numpy as np
from numpy.typing import NDArray

from robot_room.room import GOAL_RADIUS, STEP_LENGTH, TOLERANCE, Float, is_success


def min_steps(robot: Float, goal: Float) -> NDArray[np.int64]:
    """Smallest number of steps from robot to goal, positions (N, 2) in metres → (N,)."""
    delta = np.abs(robot - goal)
    # Each axis alone must come within GOAL_RADIUS, which takes `fewest` steps. One step more leaves
    # at most that much less on each axis, so the answer is `fewest` or, at a corner, one more.
    reach = (delta.max(axis=-1) - GOAL_RADIUS - TOLERANCE) / STEP_LENGTH
    fewest = np.maximum(np.ceil(reach), 0).astype(np.int64)
    residual = np.maximum(delta - STEP_LENGTH * fewest[:, None], 0.0)
    return fewest + ~is_success(np.sqrt((residual * residual).sum(axis=-1)))


def expert_action(robot: Float, goal: Float) -> NDArray[np.float32]:
    """Actions of a policy that attains `min_steps`, (N, 2) in [−1, 1]: full speed on each axis."""
    return np.clip((goal - robot) / STEP_LENGTH, -1.0, 1.0).astype(np.float32)
