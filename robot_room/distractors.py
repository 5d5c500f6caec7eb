"""Uncontrolled coloured squares, each bouncing in a lane of its own.

They are drawn beneath walls, goal and robot, so they hide nothing, and their lanes are disjoint, so
they never overlap. Their paths are functions of (key, step), see `randomness`.
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


def paths(key: Keys, count: int) -> tuple[Float, Float]:
    """Start on the triangle wave, m, and speed, m/s, of each distractor, (N, count, 2) each."""
    step = np.zeros(len(key), np.int64)
    drawn = uniforms(key, step, DISTRACTORS, 4 * count).reshape(-1, count, 2, 2)
    span, _ = _lanes(count)
    # Starts cover the whole period of the triangle wave, so both directions are equally likely.
    return 2 * span * drawn[:, :, 0], SLOWEST + (FASTEST - SLOWEST) * drawn[:, :, 1]


def positions(start: Float, speed: Float, step: NDArray[np.int64]) -> Float:
    """Centres of each room's distractors on their `paths` at its step, (N, count, 2) in metres."""
    span, corner = _lanes(start.shape[1])
    return corner + bounce(start, speed * (STEP_LENGTH * step)[:, None, None], span)


@cache
def _lanes(count: int) -> tuple[Float, Float]:
    """Range of each distractor's motion and its lowest centre, each (count, 2) in metres.

    Lanes are horizontal strips of equal height, the first at the bottom.
    """
    height = 2 * HALF_WIDTH / count
    span = np.tile([2 * HALF_WIDTH - SIDE, height - SIDE], (count, 1))
    corner = np.full((count, 2), -HALF_WIDTH + SIDE / 2)
    corner[:, 1] += height * np.arange(count)
    return span, corner
