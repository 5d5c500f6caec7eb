"""Factors of variation: what may differ between rooms, in which ranges, and how values are given.

An environment made with `factors=` draws a value of each factor for every episode: from its training
range, from its wider test range, or always the same. All other environments have the defaults, which
are those of v0. Every range keeps the robot the brightest shape, the goal the reddest, and some of the
robot in the frame, so the task stays the same and can be solved.

The values of a room are one vector of `COUNT` numbers, in the order of `FACTORS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Range = Literal["training", "test"]
RANGES: tuple[Range, ...] = ("training", "test")
Numbers = tuple[float, ...]

SHAPES = ("square", "disc", "diamond", "triangle")
BACKGROUNDS = ("plain", "checker", "noise", "gradient")


@dataclass(frozen=True)
class Factor:
    """One factor: a number or several, or one of `choices`, which is held as its index."""

    name: str
    unit: str
    default: Numbers
    training: tuple[Numbers, Numbers]
    """Lowest and highest values; episodes are uniform in between."""
    test: tuple[Numbers, Numbers]
    limits: tuple[Numbers, Numbers] | None = None
    """What may be asked for; by default the test range."""
    choices: tuple[str, ...] = ()
    whole: bool = False
    """Whether values are whole numbers, as indices of choices are."""

    @property
    def allowed(self) -> tuple[Numbers, Numbers]:
        """Lowest and highest values that may be asked for."""
        return self.limits or self.test

    def describe(self) -> str:
        """What is allowed as a value."""
        if self.choices:
            return f"one of {self.choices}"
        kind = "a whole number" if self.whole else "a number" if len(self.default) == 1 else ""
        low, high = self.allowed
        if len(self.default) > 1:
            return f"{len(self.default)} numbers from {low[0]:g} to {high[0]:g}"
        return f"{kind} from {low[0]:g} to {high[0]:g}"


def _grey(level: float) -> Numbers:
    return (level, level, level)


_ANY_COLOUR = (_grey(0), _grey(255))
_BRIGHT, _RED, _FLOOR, _WALL = _grey(255), (255.0, 0.0, 0.0), _grey(128), _grey(48)

FACTORS = (
    Factor("robot_colour", "RGB", _BRIGHT, (_grey(224), _BRIGHT), (_grey(208), _BRIGHT), _ANY_COLOUR),
    Factor(
        "goal_colour",
        "RGB",
        _RED,
        training=((224, 0, 0), (255, 48, 48)),
        test=((208, 0, 0), (255, 128, 128)),
        limits=_ANY_COLOUR,
    ),
    Factor(
        "floor_colour",
        "RGB",
        _FLOOR,
        training=(_grey(112), _grey(144)),
        test=(_grey(80), _grey(160)),
        limits=_ANY_COLOUR,
    ),
    Factor("wall_colour", "RGB", _WALL, (_grey(32), _grey(52)), (_grey(0), _grey(56)), _ANY_COLOUR),
    Factor("robot_size", "m", (0.20,), ((0.16,), (0.24,)), ((0.12,), (0.28,))),
    Factor("goal_size", "m", (0.24,), ((0.20,), (0.28,)), ((0.16,), (0.32,))),
    Factor("robot_shape", "", (0,), ((0,), (1,)), ((0,), (3,)), None, SHAPES, True),
    Factor("goal_shape", "", (0,), ((0,), (1,)), ((0,), (3,)), None, SHAPES, True),
    Factor("light_gain", "", (1.0,), ((0.85,), (1.1,)), ((0.6,), (1.25,))),
    Factor("light_gradient", "1/m", (0.0,) * 2, ((-0.12,) * 2, (0.12,) * 2), ((-0.3,) * 2, (0.3,) * 2)),
    Factor("background", "", (0,), ((0,), (1,)), ((0,), (3,)), None, BACKGROUNDS, True),
    Factor("background_contrast", "grey levels", (12.0,), ((4.0,), (12.0,)), ((4.0,), (24.0,))),
    Factor("camera_shift", "pixels", (0.0,) * 2, ((-1.0,) * 2, (1.0,) * 2), ((-2.0,) * 2, (2.0,) * 2)),
    Factor("camera_rotation", "degrees", (0.0,), ((-1.5,), (1.5,)), ((-3.0,), (3.0,))),
    Factor("camera_blur", "pixels", (0.0,), ((0.0,), (0.7,)), ((0.0,), (2.0,))),
    Factor("speed", "m/s", (1.0,), ((0.8,), (1.2,)), ((0.5,), (1.5,))),
    Factor("friction", "of full speed", (0.0,), ((0.0,), (0.1,)), ((0.0,), (0.3,))),
    Factor("action_delay", "time steps", (0,), ((0,), (1,)), ((0,), (3,)), whole=True),
    Factor("action_noise", "of full speed", (0.0,), ((0.0,), (0.1,)), ((0.0,), (0.3,))),
)
"""All factors. Training ranges contain the defaults, and test ranges the training ranges."""

BY_NAME = {factor.name: factor for factor in FACTORS}
COUNT = sum(len(factor.default) for factor in FACTORS)
MAX_DELAY = int(BY_NAME["action_delay"].test[1][0])


def _slices() -> dict[str, slice]:
    places, first = {}, 0
    for factor in FACTORS:
        places[factor.name] = slice(first, first + len(factor.default))
        first += len(factor.default)
    return places


PLACES = _slices()
"""Where each factor is in the vector of values."""
DEFAULTS: Float = np.concatenate([factor.default for factor in FACTORS])
WHOLE = np.concatenate([[factor.whole] * len(factor.default) for factor in FACTORS])
LIMITS: Float = np.array([np.concatenate([f.allowed[end] for f in FACTORS]) for end in (0, 1)])


class Ranges(NamedTuple):
    """Lowest and highest value of every number, (COUNT,) each; equal where it is fixed."""

    low: Float
    high: Float


def ranges(factors: Any) -> Ranges:
    """The ranges that the argument `factors` asks for; factors that it does not name have the default.

    Args:
        factors: "training" or "test" for all factors, or a dict from names to "training", "test" or a
            value.

    Raises:
        ValueError: it is something else, or a name or value is not allowed.
    """
    if isinstance(factors, str) and factors in RANGES:
        factors = dict.fromkeys(BY_NAME, factors)
    if not isinstance(factors, Mapping):
        raise ValueError(f"factors: got {factors!r}, allowed: {RANGES}, a dict from factors, or None")
    low, high = DEFAULTS.copy(), DEFAULTS.copy()
    for name, value in factors.items():
        factor, place = _factor(name), PLACES[name]
        if isinstance(value, str) and value in RANGES:
            low[place], high[place] = getattr(factor, value)
        else:
            low[place] = high[place] = _value(factor, value, f"{RANGES} or ")
    return Ranges(low, high)


def plain(factors: Any) -> Any:
    """The argument `factors` in JSON's types, so that it is equal to itself after a round trip."""
    if not isinstance(factors, Mapping):
        return factors
    found = {}
    for name, value in factors.items():
        named = isinstance(value, str)
        numbers = value if named else _value(_factor(name), value, "").tolist()
        found[name] = numbers if named or len(numbers) > 1 else numbers[0]
    return found


def fixed(values: Any) -> dict[str, Float]:
    """The values that `reset(options={"factors": values})` fixes, by name.

    Raises:
        ValueError: it is not a dict, or a name or value is not allowed.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"factors: got {values!r}, allowed: a dict from {tuple(BY_NAME)}")
    return {name: _value(_factor(name), value, "") for name, value in values.items()}


def sample(drawn: Ranges, uniforms: Float) -> Float:
    """Values (COUNT,) from uniform numbers in [0, 1), (COUNT,).

    Each factor has numbers of its own, so fixing one does not change the others.
    """
    span = drawn.high - drawn.low
    whole, real = np.floor(drawn.low + (span + 1) * uniforms), drawn.low + span * uniforms
    return np.minimum(np.where(WHOLE, whole, real), drawn.high)


def value(values: Float, name: str) -> Float:
    """A factor of N rooms: (N,), or (N, n) for one of several numbers."""
    found = values[:, PLACES[name]]
    return found[:, 0] if found.shape[1] == 1 else found


def _factor(name: Any) -> Factor:
    if not isinstance(name, str) or name not in BY_NAME:
        raise ValueError(f"factors: got {name!r}, allowed: {tuple(BY_NAME)}")
    return BY_NAME[name]


def _value(factor: Factor, given: Any, also: str) -> Float:
    """A value as numbers, (n,), or ValueError."""
    try:
        if isinstance(given, str) and given in factor.choices:
            given = factor.choices.index(given)
        array = np.asarray(given)
        shapes = ((), (1,)) if len(factor.default) == 1 else ((len(factor.default),),)
        if array.dtype.kind in "fiu" and array.shape in shapes:
            array = np.atleast_1d(array.astype(np.float64))
            low, high = factor.allowed
            whole = not factor.whole or (array == np.floor(array)).all()
            if whole and ((array >= low) & (array <= high)).all():  # false for NaN too
                return array
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"factors: got {factor.name}={given!r}, allowed: {also}{factor.describe()}")
