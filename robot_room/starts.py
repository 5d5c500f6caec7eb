"""Initial states: random, except for what `reset(options=…)` fixes."""

from typing import Any, NamedTuple

import numpy as np

from robot_room import checking, layouts, room
from robot_room.layouts import Layout
from robot_room.room import Float, RoomParams

RESET_OPTIONS = ("robot_position", "goal_position", "layout")


class Start(NamedTuple):
    """Initial state of an episode in one room."""

    robot: Float  # (2,), m
    goal: Float  # (2,), m
    layout: int  # 0 without walls
    key: int  # seeds all randomness within the episode; 0 if there is none


def sample(params: RoomParams, generator: np.random.Generator, options: Any = None) -> Start:
    """Sample a start, except for what the options fix.

    Raises:
        ValueError: an option is unknown or out of range. The generator is left unchanged.
    """
    robot = goal = index = None
    if options is not None:
        options = checking.options(options, RESET_OPTIONS)
        robot, goal, index = map(options.get, RESET_OPTIONS)
    if robot is not None:
        robot = checking.position("robot_position", robot, room.ROBOT_LIMIT)
    if goal is not None:
        goal = checking.position("goal_position", goal, room.GOAL_LIMIT)
    choices = layouts.count(params)
    before = None
    if index is None:
        index = 0
        if choices > 1:
            before = generator.bit_generator.state
            index = int(generator.integers(choices))
    elif choices == 0:
        raise ValueError(f"layout: got {index!r}, allowed: only where there are walls")
    else:
        index = checking.whole("layout", index, 0, choices - 1)
    layout = layouts.layout(params, int(index))
    try:
        require_clear("robot_position", robot, room.ROBOT_SIDE, layout)
        require_clear("goal_position", goal, room.GOAL_SIDE, layout)
    except ValueError:
        if before is not None:
            generator.bit_generator.state = before
        raise
    walls = None if layout is None else layout.mask
    if goal is None:
        random = params.goal == "random"
        goal = room.sample_goal(robot, generator, walls) if random else np.zeros(2)
    if robot is None:
        robot = room.sample_start(goal, generator, walls)
    random = params.distractors > 0 or params.slip > 0 or params.corruption is not None
    key = int(generator.bit_generator.random_raw()) if random else 0
    return Start(robot, goal, int(index), key)


def require_clear(field: str, position: Float | None, side: float, layout: Layout | None) -> None:
    """Raise ValueError if a square at this position overlaps a wall."""
    if position is None or layout is None or room.is_clear(position, side, layout.mask):
        return
    raise ValueError(
        f"{field}: got {position.tolist()}, allowed: {side / 2:g} m clear of the walls; give another "
        f"position or layout (this is {layout.kind} {layout.number})"
    )
