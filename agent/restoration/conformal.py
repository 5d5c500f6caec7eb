"""Thresholds that keep a promise, by split conformal prediction (arXiv 2107.07511)."""

import math

from jaxtyping import Float
from torch import Tensor


def check_promise(episodes: int, false_alarms: float) -> None:
    """Whether so many episodes are enough for a `conformal_threshold` from every other one.

    Raises:
        ValueError: they are not, or α is not in (0, 1).
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms: got {false_alarms}, allowed: above 0, below 1")
    least = 2 * (math.ceil(1 / false_alarms - 1e-9) - 1)
    if episodes < least:
        allowed = f"at least {least} for false_alarms = {false_alarms}"
        raise ValueError(f"episodes: got {episodes}, allowed: {allowed}")


def conformal_threshold(scores: Float[Tensor, "M"], false_alarms: float) -> float:  # noqa: F821 - a shape
    """The ⌈(m + 1)(1 − α)⌉-th smallest of m scores: one more lies above it with probability ≤ α.

    Split conformal prediction (arXiv 2107.07511); the m and the one more are exchangeable.
    """
    check_promise(2 * len(scores), false_alarms)
    rank = math.ceil((len(scores) + 1) * (1 - false_alarms) - 1e-9)
    return scores.sort().values[rank - 1].item()
