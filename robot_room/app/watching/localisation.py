"""Where the robot is in a frame that a model imagined."""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from robot_room.rendering import FLOOR, Frames
from robot_room.room import HALF_WIDTH


def locate_robot(frames: Frames, faintest: int = 12) -> NDArray[np.float64]:
    """Where the white square is in frames (…, H, W, 3), as far as pixels tell → (…, 2) in metres.

    The centroid of what is whiter than the floor in all channels, which the goal's red is not; NaN
    where there is none. For soft frames that a model imagined; `info` knows better for sharp ones.

    Args:
        frames: uint8.
        faintest: brightness above the floor's that counts, of 127.
    """
    darkest = reduce(np.minimum, np.moveaxis(frames, -1, 0))  # much sooner than frames.min(-1)
    white = np.maximum(darkest, FLOOR + faintest) - np.uint8(FLOOR + faintest)
    rows, columns = white.sum(-1, dtype=np.int64), white.sum(-2, dtype=np.int64)
    total = rows.sum(-1)
    height, width = white.shape[-2:]
    x = (np.arange(width) + 0.5) / width * 2 * HALF_WIDTH - HALF_WIDTH
    y = HALF_WIDTH - (np.arange(height) + 0.5) / height * 2 * HALF_WIDTH
    with np.errstate(invalid="ignore"):
        return np.stack([columns @ x, rows @ y], -1) / total[..., None]
