"""Frames of rooms: squares drawn with exact area coverage, at any resolution.

A pixel's colour is the average of the scene over the pixel: floor at the bottom, then goal, robot on
top. All edges are parallel to the axes, so each area is a product of two lengths and the average is
exact:

    pixel = floor · (1 − G − R) + red · G + white · R,     R = area(robot),
                                                           G = area(goal) − area(goal ∩ robot).

It is then rounded to uint8 with halves up. Only the pixels that a square touches are computed; the
rest of the frame is copied. Row 0 is y = +1. Batches have a leading axis N of rooms.
"""

import numpy as np
from numpy.typing import NDArray

from robot_room.room import GOAL_SIDE, HALF_WIDTH, ROBOT_SIDE, Float

FRAME_SIZE = 64  # pixels; the observation
FLOOR = 128  # grey level of all three channels

Frames = NDArray[np.uint8]


def background(goal: Float, size: int = FRAME_SIZE) -> Frames:
    """Frames of floor and goal without a robot, (N, size, size, 3) uint8, for goals (N, 2) in m."""
    frames = np.full((len(goal), size, size, 3), FLOOR, dtype=np.uint8)
    low, high = _edges(goal, GOAL_SIDE, size)
    pixels = _window(low, GOAL_SIDE, size)
    cover = _coverage(low, high, pixels)
    _blend(frames, pixels, goal_area=_area(cover), robot_area=np.zeros(()))
    return frames


def draw_robot(frames: Frames, robot: Float, goal: Float) -> None:
    """Draw robots at (N, 2) metres, in place, into the `background` frames of these goals, (N, 2)."""
    size = frames.shape[1]
    low, high = _edges(robot, ROBOT_SIDE, size)
    goal_low, goal_high = _edges(goal, GOAL_SIDE, size)
    overlap_low, overlap_high = np.maximum(low, goal_low), np.minimum(high, goal_high)
    pixels = _window(low, ROBOT_SIDE, size)
    robot_area = _area(_coverage(low, high, pixels))
    hidden_area = _area(_coverage(overlap_low, overlap_high, pixels))
    goal_area = _area(_coverage(goal_low, goal_high, pixels)) - hidden_area
    _blend(frames, pixels, goal_area, robot_area)


def render(robot: Float, goal: Float, size: int = FRAME_SIZE) -> Frames:
    """Whole frames from nothing, (N, size, size, 3) uint8, for positions (N, 2) in metres."""
    frames = background(goal, size)
    draw_robot(frames, robot, goal)
    return frames


def _edges(centre: Float, side: float, size: int) -> tuple[Float, Float]:
    """Low and high edges of squares in pixels, each (N, 2) as (row, column)."""
    scale = size / (2 * HALF_WIDTH)
    middle = np.empty_like(centre)
    middle[:, 0] = (HALF_WIDTH - centre[:, 1]) * scale  # rows grow downwards, y grows upwards
    middle[:, 1] = (centre[:, 0] + HALF_WIDTH) * scale
    half = 0.5 * side * scale
    return middle - half, middle + half


def _window(low: Float, side: float, size: int) -> NDArray[np.intp]:
    """Indices of the pixels that squares from `low` can touch, (N, 2, W), all inside the frame."""
    width = int(np.ceil(side * size / (2 * HALF_WIDTH))) + 1
    first = np.minimum(low.astype(np.intp), size - width)
    return first[:, :, None] + np.arange(width)


def _coverage(low: Float, high: Float, pixels: NDArray[np.intp]) -> Float:
    """Length of [low, high], (N, 2), inside each pixel [i, i + 1] of `pixels`, (N, 2, W)."""
    overlap = np.minimum(high[:, :, None], pixels + 1) - np.maximum(low[:, :, None], pixels)
    return np.maximum(overlap, 0.0)


def _area(cover: Float) -> Float:
    """Covered area of each pixel, (N, W, W), from the covered lengths of rows and columns."""
    return cover[:, 0, :, None] * cover[:, 1, None, :]


def _blend(frames: Frames, pixels: NDArray[np.intp], goal_area: Float, robot_area: Float) -> None:
    """Write the blended pixels of a window, in place; red is (255, 0, 0), white 255."""
    grey = (FLOOR + 0.5) - FLOOR * goal_area + (255 - FLOOR) * robot_area  # + 0.5: halves up
    room = np.arange(len(frames))[:, None, None]
    rows, columns = pixels[:, 0, :, None], pixels[:, 1, None, :]
    frames[room, rows, columns, 0] = grey + 255 * goal_area
    frames[room, rows, columns, 1] = frames[room, rows, columns, 2] = grey
