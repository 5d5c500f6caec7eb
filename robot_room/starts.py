"""Initial states: random, except for what `reset(options=…)` fixes."""

from typing import Any, NamedTuple

import numpy as np

from robot_room import checking, factors, layouts, randomness, room
from robot_room.factors import DEFAULTS, PLACES, Ranges
from robot_room.layouts import Layout
from robot_room.room import Float, RoomParams

RESET_OPTIONS = ("robot_position", "goal_position", "layout", "factors")


class Start(NamedTuple):
    """Initial state of an episode in one room."""

    robot: Float  # (2,), m
    goal: Float  # (2,), m
    layout: int  # 0 without walls
    key: int  # seeds all randomness within the episode; 0 if there is none
    factors: Float = DEFAULTS  # (factors.COUNT,)


def sample(
    params: RoomParams,
    generator: np.random.Generator,
    options: Any = None,
    drawn: Ranges | None = None,
) -> Start:
    """Sample a start, except for what the options fix.

    Args:
        params: parameters of the room.
        generator: the room's random generator.
        options: the options of `reset`.
        drawn: the ranges of the factors, if they vary; then the episode's key is drawn first.

    Raises:
        ValueError: an option is unknown or out of range. The generator is left unchanged.
    """
    if options is None:  # the usual case, in the shortest way
        values, key = _factors(generator, drawn)
        return _sample(params, generator, (None, None, None), values, key)
    options = checking.options(options, RESET_OPTIONS)
    fixed = options.get("factors")
    if fixed is not None:
        if drawn is None:
            raise ValueError(
                f"factors: got {fixed!r}, allowed: only where factors vary; make the environment "
                "with factors={}, which varies nothing, or with ranges"
            )
        fixed = factors.fixed(fixed)
    before = generator.bit_generator.state
    values, key = _factors(generator, drawn)
    for name, value in (fixed or {}).items():
        values[PLACES[name]] = value
    try:
        chosen = tuple(map(options.get, ("robot_position", "goal_position", "layout")))
        return _sample(params, generator, chosen, values, key)
    except ValueError:
        generator.bit_generator.state = before
        raise


def _factors(generator: np.random.Generator, drawn: Ranges | None) -> tuple[Float, int | None]:
    """The factors of an episode and the key that they are drawn from; None if they do not vary."""
    if drawn is None:
        return DEFAULTS, None
    key = int(generator.bit_generator.random_raw())
    words = np.array([key], np.uint64), np.zeros(1, np.int64)
    uniforms = randomness.uniforms(*words, randomness.FACTORS, factors.COUNT)[0]
    return factors.sample(drawn, uniforms), key


def _sample(
    params: RoomParams,
    generator: np.random.Generator,
    chosen: tuple[Any, ...],
    values: Float,
    key: int | None,
) -> Start:
    """A start with these factors; the generator may have changed when an error is raised."""
    robot, goal, index = chosen
    robot_side, goal_side = room.ROBOT_SIDE, room.GOAL_SIDE
    if values is not DEFAULTS:
        robot_side, goal_side = sides(values)
    if robot is not None:
        robot = checking.position("robot_position", robot, room.HALF_WIDTH - robot_side / 2)
    if goal is not None:
        goal = checking.position("goal_position", goal, room.HALF_WIDTH - goal_side / 2)
    choices = layouts.count(params)
    if index is None:
        index = int(generator.integers(choices)) if choices > 1 else 0
    elif choices == 0:
        raise ValueError(f"layout: got {index!r}, allowed: only where there are walls")
    else:
        index = checking.whole("layout", index, 0, choices - 1)
    layout = layouts.layout(params, int(index))
    require_clear("robot_position", robot, robot_side, layout)
    require_clear("goal_position", goal, goal_side, layout)
    walls = None if layout is None else layout.mask
    if goal is None:
        random = params.goal == "random"
        goal = room.sample_goal(robot, generator, walls, goal_side) if random else np.zeros(2)
    if robot is None:
        robot = room.sample_start(goal, generator, walls, robot_side)
    if key is None:
        random = params.distractors > 0 or params.slip > 0 or params.corruption is not None
        key = int(generator.bit_generator.random_raw()) if random else 0
    return Start(robot, goal, int(index), key, values)


def sides(values: Float) -> tuple[float, float]:
    """Side of the robot and of the goal in metres, given a room's factors, (factors.COUNT,)."""
    return float(values[PLACES["robot_size"]][0]), float(values[PLACES["goal_size"]][0])


def require_clear(field: str, position: Float | None, side: float, layout: Layout | None) -> None:
    """Raise ValueError if a square at this position overlaps a wall."""
    if position is None or layout is None or room.is_clear(position, side, layout.mask):
        return
    raise ValueError(
        f"{field}: got {position.tolist()}, allowed: {side / 2:g} m clear of the walls; give another "
        f"position or layout (this is {layout.kind} {layout.number})"
    )
