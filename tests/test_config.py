"""Configurations: what they accept they convert, what they refuse they name."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import pydantic
import pytest
from annotated_types import Ge, Lt

from agent.config import Config, Count, NonNegative, Positive


@dataclass(frozen=True)
class Inner(Config):
    size: Count = 1


@dataclass(frozen=True)
class Some(Config):
    count: Count = 1
    rate: Positive = 1.0
    share: Annotated[float, Ge(0), Lt(1)] = 0.5
    weight: NonNegative = 0.0
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    limit: Count | None = None
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("count", np.int64(3), 3),
        ("count", np.uint8(3), 3),
        ("rate", np.float32(0.5), 0.5),
        ("rate", 2, 2.0),
        ("rate", Fraction(1, 2), 0.5),
        ("flag", np.bool_(True), True),
        ("limit", None, None),
        ("limit", np.int32(7), 7),
        ("kind", "b", "b"),
        ("inner", Inner(2), Inner(2)),
    ],
)
def test_what_is_accepted_becomes_pythons_own_type(field, value, kept):
    found = getattr(Some(**{field: value}), field)
    assert found == kept and type(found) is type(kept)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("count", 0, "a whole number, at least 1"),
        ("count", 1.0, "a whole number, at least 1"),
        ("count", True, "a whole number, at least 1"),
        ("count", "3", "a whole number, at least 1"),
        ("rate", 0, "a finite number, above 0"),
        ("rate", float("nan"), "a finite number, above 0"),
        ("rate", np.float32("inf"), "a finite number, above 0"),
        ("rate", 1j, "a finite number, above 0"),
        ("share", 1.0, "a finite number, at least 0, below 1"),
        ("flag", 1, "True or False"),
        ("kind", "c", "\\('a', 'b'\\)"),
        ("kind", ["a"], "\\('a', 'b'\\)"),
        ("limit", 0, "a whole number, at least 1 or None"),
        ("inner", 3, "Inner"),
    ],
)
def test_what_is_refused_is_named_with_what_is_allowed(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field}: got .*, allowed: {allowed}"):
        Some(**{field: value})


def test_bounds_agree_with_pydantic():
    """A second opinion on every number near a bound."""
    model = pydantic.create_model(
        "Model",
        count=(Count, 1),
        rate=(Positive, 1.0),
        share=(Annotated[float, Ge(0), Lt(1)], 0.5),
        weight=(NonNegative, 0.0),
    )
    for field in ("count", "rate", "share", "weight"):
        for value in (-1, 0, 1, 2, -0.5, 0.5, 1e-300):
            if field == "count" and not isinstance(value, int):
                continue
            try:
                model(**{field: value})
                accepted = True
            except pydantic.ValidationError:
                accepted = False
            try:
                Some(**{field: value})
                mine = True
            except ValueError:
                mine = False
            assert mine == accepted, (field, value)
