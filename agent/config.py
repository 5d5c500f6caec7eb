"""Configurations: frozen dataclasses whose annotations say which values are accepted.

    @dataclass(frozen=True)
    class TrainingConfig(Config):
        batch_size: Annotated[int, Ge(1)] = 16

A value is converted to Python's own type (numpy's numbers are numbers, too) and checked when the
configuration is made, so that whatever a constructor accepts can be used, saved and loaded.
"""

import math
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MultipleOf

Count = Annotated[int, Ge(1)]
"""A whole number, at least 1."""
Size = Annotated[int, Ge(1), Le(10**6)]
"""A whole number, from 1 to a million, in proportion to which memory is taken."""
Width = Annotated[int, Ge(1), Le(4096)]
"""A whole number, from 1 to 4096, in proportion to whose square memory is taken."""
Positive = Annotated[float, Gt(0)]
"""A finite number above 0."""
NonNegative = Annotated[float, Ge(0)]
"""A finite number, at least 0."""


class Config:
    """Base class of frozen dataclasses whose fields are checked against their annotations.

    Annotations may be bool, int, float, str, a `Literal`, a class, a union of these, or any of them
    `Annotated` with constraints (`Ge`, `Gt`, `Le`, `Lt`, `MultipleOf` of annotated_types).

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), annotation))


def checked(name: str, value: Any, annotation: Any) -> Any:
    """The value as Python's own type.

    Raises:
        ValueError: it is not of the annotation's type, or out of bounds; the message says what is
            allowed.
    """
    for kind, bounds in _alternatives(annotation):
        converted = _converted(value, kind)
        if converted is not _REFUSED and all(_holds(converted, bound) for bound in bounds):
            return converted
    allowed = " or ".join(_description(kind, bounds) for kind, bounds in _alternatives(annotation))
    raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")


@cache
def _annotations(kind: type[Any]) -> dict[str, Any]:
    assert is_dataclass(kind)
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


_REFUSED = object()
_COMPARISONS = {
    Ge: (lambda value, bound: value >= bound.ge, lambda bound: f"at least {bound.ge:g}"),
    Gt: (lambda value, bound: value > bound.gt, lambda bound: f"above {bound.gt:g}"),
    Le: (lambda value, bound: value <= bound.le, lambda bound: f"at most {bound.le:g}"),
    Lt: (lambda value, bound: value < bound.lt, lambda bound: f"below {bound.lt:g}"),
    MultipleOf: (
        lambda value, bound: value % bound.multiple_of == 0,
        lambda bound: f"a multiple of {bound.multiple_of:g}",
    ),
}
_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    type(None): "None",
}


def _alternatives(annotation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every type that the annotation allows, with its bounds."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return [pair for each in get_args(annotation) for pair in _alternatives(each)]
    if origin is Annotated:
        kind, *extras = get_args(annotation)
        return [(kind, tuple(extra for extra in extras if type(extra) in _COMPARISONS))]
    return [(annotation, ())]


def _converted(value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return value if isinstance(value, str | int) and value in get_args(kind) else _REFUSED
    if kind is bool:
        return bool(value) if isinstance(value, bool | np.bool_) else _REFUSED
    if isinstance(value, bool | np.bool_):
        return _REFUSED  # which Python would take for a number
    if kind is int:
        return int(value) if isinstance(value, Integral) else _REFUSED
    if kind is float:
        number = isinstance(value, Real) and math.isfinite(value)
        return float(value) if number else _REFUSED
    return value if isinstance(value, kind) else _REFUSED


def _holds(value: Any, bound: Any) -> bool:
    return _COMPARISONS[type(bound)][0](value, bound)


def _description(kind: Any, bounds: tuple[Any, ...]) -> str:
    if get_origin(kind) is Literal:
        name = str(get_args(kind))
    else:
        name = _NAMES.get(kind) or kind.__name__
    return ", ".join([name, *(_COMPARISONS[type(bound)][1](bound) for bound in bounds)])
