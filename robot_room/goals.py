"""Goals told by an image: where the robot is in a frame, and the reward between two frames.

The centre of the robot is the mean of the pixels weighted by how white they are: in a frame without a
red square, each pixel's colour is floor + (white − floor) · covered area, so this is exact up to
rounding to uint8, below 1 mm.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from robot_room.rendering import FLOOR, FRAME_SIZE
from robot_room.room import HALF_WIDTH, ROBOT_SIDE, Float, RoomParams, is_success

ROUNDING = 1e-3  # m
AREA = (ROBOT_SIDE * FRAME_SIZE / (2 * HALF_WIDTH)) ** 2  # pixels


def locate(frames: Any) -> Float:
    """The robot's centre in metres, (..., 2), in frames (..., 64, 64, 3) or (..., 3, 64, 64), uint8.

    Raises:
        ValueError: they have another shape or type, or a frame has no robot.
    """
    frames = np.asarray(frames)
    if frames.ndim >= 3 and frames.shape[-3] == 3 and frames.shape[-1] != 3:
        frames = np.moveaxis(frames, -3, -1)
    shape = (FRAME_SIZE, FRAME_SIZE, 3)
    if frames.shape[-3:] != shape or frames.dtype != np.uint8:
        raise ValueError(
            f"goal: got {frames.dtype} {frames.shape}, allowed: uint8 frames (..., {shape})"
        )
    white = np.maximum(frames.min(axis=-1).astype(np.float64) - FLOOR, 0)
    total = white.sum(axis=(-2, -1))
    area = total / (255 - FLOOR)
    if (np.abs(area - AREA) > 1).any():  # rounding to uint8 changes it by less than a fifth
        got = area.flat[np.abs(area - AREA).argmax()]
        raise ValueError(
            f"goal: got a frame with {got:.1f} pixels of white, allowed: frames that show one robot, "
            f"which covers {AREA:.1f}"
        )
    pixel = (np.arange(FRAME_SIZE) + 0.5) * (2 * HALF_WIDTH / FRAME_SIZE) - HALF_WIDTH
    x = (white.sum(axis=-2) * pixel).sum(axis=-1) / total
    y = -(white.sum(axis=-1) * pixel).sum(axis=-1) / total
    return np.stack([x, y], axis=-1)


def reward(params: RoomParams, achieved: Any, desired: Any, info: Any = None) -> Float:
    """The reward in a frame `achieved` if the robot ought to be where it is in `desired`, (...).

    Positions in `info`, a dict or one for each frame, are used where they are those of the frames: then
    the reward is exactly that of a step.

    Raises:
        ValueError: the frames are malformed, or frames of such rooms do not tell where the robot is.
    """
    if params.factors is not None or params.corruption is not None or params.distractors:
        raise ValueError(
            f"compute_reward: got a room with factors={params.factors!r}, corruption="
            f"{params.corruption!r}, distractors={params.distractors}, allowed: none of these, so that "
            "a frame tells the robot's position"
        )
    robot = _exact(locate(achieved), info, "robot_position")
    delta = robot - _exact(locate(desired), info, "goal_position")
    far = np.sqrt((delta * delta).sum(axis=-1))
    if params.reward == "dense":
        return -far
    return is_success(far).astype(np.float64)


def _exact(found: Float, info: Any, name: str) -> Float:
    """Positions (..., 2) as `info` has them, where it has the same."""
    infos = [info] if isinstance(info, Mapping) else info
    infos = list(infos) if isinstance(infos, list | tuple) or np.ndim(infos) == 1 else []
    flat = found.reshape(-1, 2)
    if len(infos) != len(flat) or not all(isinstance(i, Mapping) and name in i for i in infos):
        return found
    try:
        known = np.array([one[name] for one in infos], np.float64).reshape(flat.shape)
    except (TypeError, ValueError, OverflowError) as error:
        got = f"{[one[name] for one in infos]!r:.200}"
        raise ValueError(f"info: {name}: got {got}, allowed: positions {flat.shape}") from error
    same = np.abs(known - flat).max(axis=-1, keepdims=True) < ROUNDING
    return np.where(same, known, flat).reshape(found.shape)
