"""Validation of user input; every message states the field, what it got and what is allowed."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

Float = NDArray[np.float64]


def require_bool(field: str, value: Any) -> None:
    """Raise ValueError unless the value is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{field}: got {value!r}, allowed: True or False")


def require_int(field: str, value: Any, low: int, high: int) -> None:
    """Raise ValueError unless the value is a Python int from low to high.

    For arguments kept in a Gymnasium spec, which is serialised as JSON: it has no numpy integers.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{field}: got {value!r}, allowed: an int from {low} to {high}")


def require_number(field: str, value: Any, low: float, high: float) -> None:
    """Raise ValueError unless the value is a Python int or float from low to high."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # false for NaN too
        raise ValueError(f"{field}: got {value!r}, allowed: an int or float from {low:g} to {high:g}")


def whole(field: str, value: Any, low: int, high: int) -> int:
    """Convert any kind of integer from low to high to a Python int.

    Raises:
        ValueError: the value is anything else.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return int(value)
    raise ValueError(f"{field}: got {value!r}, allowed: a whole number from {low} to {high}")


def number(field: str, value: Any, low: float, high: float) -> float:
    """Convert any kind of real number from low to high to a Python float.

    Raises:
        ValueError: the value is anything else.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high:
        return float(value)
    raise ValueError(f"{field}: got {value!r}, allowed: a number from {low:g} to {high:g}")


def require_one_of(field: str, value: Any, allowed: tuple[str | None, ...]) -> None:
    """Raise ValueError unless the value is one of those allowed."""
    # The type is checked first, because an array would be compared element by element.
    if not (value is None or isinstance(value, str)) or value not in allowed:
        raise ValueError(f"{field}: got {value!r}, allowed: {allowed}")


def actions(value: Any, shape: tuple[int, ...]) -> Float:
    """Convert actions to float64.

    Raises:
        ValueError: they do not have this shape, are not numbers, or are not finite.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiu" and array.shape == shape:
            if array.dtype.itemsize > 8:  # a long double may overflow to infinity
                with np.errstate(over="ignore"):
                    array = array.astype(np.float64)
            if np.count_nonzero(np.isfinite(array)) == array.size:  # `all` takes twice as long
                return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    allowed = f"finite numbers of shape {shape}, each action in Box(-1.0, 1.0, (2,), float32)"
    raise ValueError(f"action: got {value!r}, allowed: {allowed}")


def choices(value: Any, shape: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """Convert discrete actions to int64.

    Raises:
        ValueError: they do not have this shape, or are not integers from 0 to `count` − 1.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.shape == shape:
            if ((array >= 0) & (array < count)).all():
                return array.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        pass
    allowed = f"whole numbers of shape {shape}, each action in Discrete({count})"
    raise ValueError(f"action: got {value!r}, allowed: {allowed}")


def position(field: str, value: Any, limit: float) -> Float:
    """Convert a position (2,) to float64.

    Raises:
        ValueError: it is not a position, or outside ±limit.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiu" and array.shape == (2,):
            array = array.astype(np.float64)
            if (np.abs(array) <= limit).all():  # false for NaN too
                return array
    except (TypeError, ValueError, OverflowError):
        pass
    allowed = f"(x, y) in metres, each in [{-limit:g}, {limit:g}]"
    raise ValueError(f"{field}: got {value!r}, allowed: {allowed}")


def array(field: str, fields: Any, like: NDArray[Any], low: Any, high: Any) -> NDArray[Any]:
    """Convert a field to an array with the shape and type of `like` and values in [low, high].

    The bounds are numbers, or arrays that broadcast to its shape.

    Raises:
        ValueError: the field is missing or not such an array.
    """
    if not isinstance(fields, Mapping) or field not in fields:
        raise ValueError(f"{field}: got nothing, allowed: a field of a dict that get_state returned")
    try:
        values = np.asarray(fields[field])
        if values.shape == like.shape and np.can_cast(values.dtype, like.dtype, "safe"):
            values = values.astype(like.dtype)
            if ((values >= low) & (values <= high)).all():  # false for NaN too
                return values
    except (TypeError, ValueError, OverflowError):
        pass
    low, high = (f"{bound:g}" if np.isscalar(bound) else str(bound.tolist()) for bound in (low, high))
    allowed = f"{like.dtype} of shape {like.shape} from {low} to {high}"
    raise ValueError(f"{field}: got {fields[field]!r}, allowed: {allowed}")


def options(value: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The options of a reset, empty if None.

    Raises:
        ValueError: they are not a dict, or one of them is unknown.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"options: got {value!r}, allowed: a dict or None")
    unknown = [name for name in value if name not in allowed]
    if unknown:
        raise ValueError(f"options: got {unknown}, allowed: {list(allowed)}")
    return value


def seeded(seed: Any) -> np.random.Generator:
    """Create the generator that Gymnasium creates from a seed.

    Raises:
        ValueError: the seed is not a non-negative integer.
    """
    return seeding.np_random(whole("seed", seed, 0, 2**63 - 1))[0]


def seeds(state: Any, count: int) -> list[int]:
    """The seeds in a state, −1 if unknown.

    Raises:
        ValueError: they are not a list of `count` integers.
    """
    values = state.get("seeds")
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"seeds: got {values!r}, allowed: a list of {count}")
    return [whole("seeds", value, -1, 2**128) for value in values]


def generators(state: Any, count: int) -> list[np.random.Generator]:
    """Restore generators from the `bit_generator.state` values in a state.

    Raises:
        ValueError: there are not `count`, or one is not the state of a PCG64.
    """
    states = state.get("generators")
    if not isinstance(states, list) or len(states) != count:
        raise ValueError(f"generators: got {states!r}, allowed: a list of {count}")
    restored = [np.random.Generator(np.random.PCG64(0)) for _ in states]
    for generator, one in zip(restored, states, strict=True):
        try:
            generator.bit_generator.state = one
            if one["state"]["inc"] % 2 == 0:  # no PCG64 has one: its numbers may never change
                raise ValueError("the increment is even")
        except Exception as error:  # numpy's exception type depends on the error
            raise ValueError(f"generators: got {one!r}, allowed: the state of a PCG64") from error
    return restored
