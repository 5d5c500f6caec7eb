"""Thresholds with a guaranteed false-alarm rate: split conformal prediction (arXiv 2107.07511)."""

import math
from typing import Annotated

from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor

from agent.config import checked


def check_calibration_size(episodes: int, false_alarms: float) -> None:
    """Check that a `conformal_threshold` can be computed from every other one of these episodes.

    Raises:
        ValueError: there are too few episodes, or α is not in (0, 1).
    """
    false_alarms = checked("false_alarms", false_alarms, Annotated[float, Ge(1e-9), Lt(1)])
    episodes = checked("episodes", episodes, Annotated[int, Ge(0)])
    least = 2 * (math.ceil(1 / false_alarms - 1e-9) - 1)
    if episodes < least:
        allowed = f"at least {least} for false_alarms = {false_alarms}"
        raise ValueError(f"episodes: got {episodes}, allowed: {allowed}")


def conformal_threshold(scores: Float[Tensor, "M"], false_alarms: float) -> float:  # noqa: F821 - a shape
    """The ⌈(m + 1)(1 − α)⌉-th smallest of m scores.

    A new score, exchangeable with these, exceeds it with probability ≤ α (arXiv 2107.07511).
    """
    check_calibration_size(2 * len(scores), false_alarms)
    rank = math.ceil((len(scores) + 1) * (1 - false_alarms) - 1e-9)
    return scores.sort().values[rank - 1].item()
