"""Finding the robot in frames that a model imagined."""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from robot_room.rendering import FLOOR, Frames
from robot_room.room import HALF_WIDTH


def locate_robot(frames: Frames, faintest: int = 12) -> NDArray[np.float64]:
    """Position of the white square in frames (…, H, W, 3), (…, 2) in metres.

    It is the centroid of pixels brighter than the floor in all channels, which excludes the red goal;
    NaN if there are none. It is meant for blurry, imagined frames; for real ones `info` is exact.

    Args:
        frames: uint8.
        faintest: how much brighter than the floor a pixel must be to count, out of 127.
    """
    darkest = reduce(np.minimum, np.moveaxis(frames, -1, 0))  # much faster than frames.min(-1)
    white = np.maximum(darkest, FLOOR + faintest) - np.uint8(FLOOR + faintest)
    rows, columns = white.sum(-1, dtype=np.int64), white.sum(-2, dtype=np.int64)
    total = rows.sum(-1)
    height, width = white.shape[-2:]
    x = (np.arange(width) + 0.5) / width * 2 * HALF_WIDTH - HALF_WIDTH
    y = HALF_WIDTH - (np.arange(height) + 0.5) / height * 2 * HALF_WIDTH
    with np.errstate(invalid="ignore"):
        return np.stack([columns @ x, rows @ y], -1) / total[..., None]
