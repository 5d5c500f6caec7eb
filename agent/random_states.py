"""The states of numpy's random generators as arrays, so that they fit into a file of tensors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 2**64


def packed(state: dict[str, Any]) -> NDArray[np.uint64]:
    """A PCG64's `bit_generator.state` as six words.

    Raises:
        KeyError, TypeError, OverflowError: it is not such a state.
    """
    high = [divmod(int(state["state"][name]), WORD) for name in ("state", "inc")]
    kept = int(state["has_uint32"]), int(state["uinteger"])
    return np.array([*high[0], *high[1], *kept], np.uint64)


def unpacked(words: NDArray[np.generic]) -> dict[str, Any]:
    """The inverse of `packed`.

    Raises:
        ValueError: the words are no state of a PCG64.
    """
    if words.shape != (6,) or words.dtype != np.uint64:
        raise ValueError(f"generator: got {words.dtype} {words.shape}, allowed: uint64 (6,)")
    high, low, inc_high, inc_low, has_uint32, uinteger = words.tolist()
    if inc_low % 2 == 0 or has_uint32 > 1 or uinteger >= 2**32:
        raise ValueError(f"generator: got {words.tolist()}, allowed: the state of a PCG64")
    numbers = {"state": high * WORD + low, "inc": inc_high * WORD + inc_low}
    own = {"has_uint32": has_uint32, "uinteger": uinteger}
    return {"bit_generator": "PCG64", "state": numbers, **own}
