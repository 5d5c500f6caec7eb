"""A figure over several seeds, in words."""

import numpy as np


def spread(values: list[float], digits: int) -> str:
    """Mean (lowest to highest); "never" where there is nothing."""
    if not values:
        return "never"
    low, high = min(values), max(values)
    return f"{np.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
