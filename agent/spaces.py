"""The spaces that an agent serves, and how a file describes them."""

from typing import Any

import gymnasium as gym
import msgspec
import numpy as np

from agent.actions import ActionSpace
from agent.actions import served as served_actions
from agent.checkpoint import Whole
from agent.pixels import is_image


class SavedBox(msgspec.Struct):
    """A space in config.json. A Discrete is a Box of as many numbers as it has, of integers."""

    shape: list[Whole]
    dtype: str
    low: list[int | float]
    high: list[int | float]


def served(observations: gym.Space[Any], actions: gym.Space[Any]) -> tuple[gym.spaces.Box, ActionSpace]:
    """The spaces, if an agent supports them.

    Raises:
        ValueError: it does not.
    """
    if not is_image(observations) or min(observations.shape[:2]) < 16:
        raise ValueError(
            f"observation space: got {observations}, allowed: images Box(0, 255, (H, W, C), uint8) "
            "with H and W at least 16; agent.pixels makes them of what an environment draws, or of "
            "images in a dictionary (keys=[...])"
        )
    return observations, served_actions(actions)


def described(space: ActionSpace) -> SavedBox:
    """A space. The bounds of an image are listed once."""
    if isinstance(space, gym.spaces.Discrete):
        first, count = int(space.start), int(space.n)
        return SavedBox([count], str(space.dtype), [first], [first + count - 1])
    image = len(space.shape) > 1
    low, high = (np.unique(bound) if image else bound for bound in (space.low, space.high))
    return SavedBox(list(space.shape), str(space.dtype), low.tolist(), high.tolist())
