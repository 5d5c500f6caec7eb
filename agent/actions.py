"""The agent's actions, vectors in [−1, 1]^A, and those of an environment's space.

    Box        the vector is scaled to the bounds; A is the number of dimensions
    Discrete   the vector has a number for each of the A actions, and the largest is taken

What models learn from and plans consist of is the valid vector nearest to one: of a discrete action 1
at its place and −1 elsewhere.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

ActionSpace = gym.spaces.Box | gym.spaces.Discrete
MOST_CHOICES = 1024
"""Largest number of discrete actions."""


def served(space: gym.Space[Any]) -> ActionSpace:
    """The space, if the agent supports it.

    Raises:
        ValueError: it does not.
    """
    if isinstance(space, gym.spaces.Discrete) and 2 <= space.n <= MOST_CHOICES:
        return space
    if (
        not isinstance(space, gym.spaces.Box)
        or len(space.shape) != 1
        or not np.issubdtype(space.dtype, np.floating)
        or not space.is_bounded()
        or not np.isfinite(_low_and_width(space)[1]).all()
    ):
        raise ValueError(
            f"action space: got {space}, allowed: a bounded Box of floats with one dimension, whose "
            f"width does not overflow, or a Discrete of 2 to {MOST_CHOICES}"
        )
    return space


def action_size(space: ActionSpace) -> int:
    """A."""
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else space.shape[0]


def scale_actions(space: ActionSpace, actions: NDArray[Any]) -> NDArray[Any]:
    """An environment's actions, in its own type, for vectors (…, A): (…, A), or (…) if discrete."""
    if isinstance(space, gym.spaces.Discrete):
        return (space.start + actions.argmax(-1)).astype(space.dtype)
    low, width = _low_and_width(space)
    scaled = low + 0.5 * (actions + 1) * width
    return np.clip(scaled.astype(space.dtype), space.low, space.high)  # a cast may round past a bound


def unscale_actions(space: ActionSpace, actions: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors (N, A) for the actions that were taken, (N, A), or (N,) if discrete.

    Raises:
        ValueError: one is not in a discrete space.
    """
    if isinstance(space, gym.spaces.Discrete):
        places = actions.astype(np.int64) - space.start
        if not ((places >= 0) & (places < space.n)).all():
            raise ValueError(f"actions: got some that are not in {space}, allowed: such alone")
        return np.where(places[:, None] == np.arange(space.n), 1, -1).astype(np.float32)
    span = space.high - space.low
    return np.clip(2 * (actions - space.low) / span - 1, -1, 1).astype(np.float32)


def nearest(space: ActionSpace, actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The valid vectors nearest to any in [−1, 1]^A, (N, A)."""
    if isinstance(space, gym.spaces.Discrete):
        return unscale_actions(space, scale_actions(space, actions))
    return actions


def one_hot(actions: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
    """The discrete actions that vectors stand for: 1 at the largest number, −1 elsewhere."""
    chosen = torch.full_like(actions, -1.0)
    return chosen.scatter_(-1, actions.argmax(-1, keepdim=True), 1.0)


def _low_and_width(space: gym.spaces.Box) -> tuple[NDArray[Any], NDArray[Any]]:
    """The lower bounds and the widths, in single precision at least."""
    dtype = np.result_type(space.dtype, np.float32)
    low, high = space.low.astype(dtype), space.high.astype(dtype)
    with np.errstate(over="ignore"):
        return low, high - low
