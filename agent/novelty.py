"""How new a state is: the bonus for exploration where nothing is rewarded."""

from collections.abc import Callable

import torch
from torch import Tensor

COUNTED = 512  # states that are compared with, about
LEAST_DENSITY = 0.1  # relative to the mean


def bonus(seen: Tensor, kernel: float) -> Callable[[Tensor], Tensor]:
    """The function (N(s) / N̄ + ε)^(−1/2): N is the kernel density of the states seen, N̄ its mean there.

    With counts in place of N these are the bonuses of arXiv 1606.01868.

    Args:
        seen: states, (N, S).
        kernel: std of the Gaussian kernel, in their units.
    """
    if len(seen) == 0:
        return lambda states: states.new_ones(len(states))
    seen = seen[:: max(len(seen) // COUNTED, 1)]

    def density(states: Tensor) -> Tensor:
        return (-(torch.cdist(states, seen) / kernel).square() / 2).exp().mean(1)

    usual = density(seen).mean()
    return lambda states: (density(states) / usual + LEAST_DENSITY).rsqrt()
