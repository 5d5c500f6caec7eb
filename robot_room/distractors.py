"""Coloured squares that move about and are nobody's: each bounces in a lane of its own.

They slide beneath walls, goal and robot, so they hide nothing, and as their lanes do not touch, they
never overlap each other. Their paths are functions of (key, step), see `randomness`.
"""

from functools import cache

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
    drawn = uniforms(key, np.zeros_like(step), DISTRACTORS, 4 * count).reshape(-1, count, 2, 2)
    start, speed = drawn[:, :, 0], SLOWEST + (FASTEST - SLOWEST) * drawn[:, :, 1]
    span, corner = _lanes(count)
    # A start may lie anywhere on the way to and fro, so that both directions are as likely.
    return corner + bounce(2 * span * start, speed * (STEP_LENGTH * step)[:, None, None], span)


@cache
def _lanes(count: int) -> tuple[Float, Float]:
    """How far each distractor can go, and its lowest centre, each (count, 2) in metres.

    Lanes are horizontal strips of equal height, the first at the bottom.
    """
    height = 2 * HALF_WIDTH / count
    span = np.tile([2 * HALF_WIDTH - SIDE, height - SIDE], (count, 1))
    corner = np.full((count, 2), -HALF_WIDTH + SIDE / 2)
    corner[:, 1] += height * np.arange(count)
    return span, corner
