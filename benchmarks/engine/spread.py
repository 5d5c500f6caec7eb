"""Formatting a figure over several seeds."""

import numpy as np


def spread(values: list[float], digits: int) -> str:
    """Mean (lowest to highest); "never" if there are no values."""
    if not values:
        return "never"
    low, high = min(values), max(values)
    return f"{np.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
