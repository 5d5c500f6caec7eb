"""Coloured squares that move about and are nobody's: each bounces in a lane of its own.

They slide beneath walls, goal and robot, so they hide nothing, and as their lanes do not touch, they
never overlap each other. Their paths are functions of (key, step), see `randomness`.
"""

import numpy as np
from numpy.typing import NDArray

from robot_room.randomness import DISTRACTORS, Keys, uniforms
from robot_room.room import HALF_WIDTH, ROBOT_SIDE, STEP_LENGTH, Float, bounce

SIDE = ROBOT_SIDE  # m
SLOWEST, FASTEST = 0.3, 1.0  # m/s on each axis
COLOURS = np.array(
    [(0, 0, 255), (0, 192, 0), (255, 255, 0), (0, 255, 255), (255, 0, 255), (0, 0, 0)], np.uint8
)


def positions(key: Keys, step: NDArray[np.int64], count: int) -> Float:
    """Where the `count` distractors of each room are at its step: centres (N, count, 2) in metres."""
    drawn = uniforms(key, np.zeros_like(step), DISTRACTORS, 4 * count).reshape(-1, count, 4)
    lane = 2 * HALF_WIDTH / count  # m; horizontal strips, the first at the bottom
    range_x, range_y = 2 * HALF_WIDTH - SIDE, lane - SIDE
    # Twice the range holds both directions of travel: the position folds back, see `bounce`.
    speed = (SLOWEST + (FASTEST - SLOWEST) * drawn[..., 2:]) * STEP_LENGTH
    travelled = speed * step[:, None, None]
    position = np.empty((len(key), count, 2))
    position[..., 0] = bounce(2 * range_x * drawn[..., 0], travelled[..., 0], range_x)
    position[..., 1] = bounce(2 * range_y * drawn[..., 1], travelled[..., 1], range_y)
    corner = np.array([-HALF_WIDTH + SIDE / 2, 0.0])
    corners = np.tile(corner, (count, 1))
    corners[:, 1] = -HALF_WIDTH + SIDE / 2 + lane * np.arange(count)
    return position + corners
