from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def move(
    robot: Array,
    action: Array,
    noise: Array | None,
    goal: Array,
    x_edges: Array | None,
    y_edges: Array | None,
    x_intervals: Array | None,
    y_intervals: Array | None,
    distance: Array,
) -> None: ...
def draw(
    frames: Array,
    background: Array,
    robot: Array,
    goal: Array,
    moving: Array | None,
    colours: Array,
    walls: Array | None,
    keep: Array | None,
    stuck: Array | None,
    dirty: Array | None,
) -> None: ...
def add_gaussian(frames: Array, plus: Array, minus: Array, key: Array, step: Array) -> None: ...
