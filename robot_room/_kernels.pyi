from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
SOURCE_CRC: int

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
    arrived: Array,
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
def paint(
    numbers: Array,
    colour: Array,
    light: Array,
    open: Array,
    key: Array,
    walls: Array | None,
    background: Array,
) -> None: ...
def push(
    actions: Array,
    pending: Array,
    dynamics: Array,
    key: Array,
    step: Array,
    quantiles: Array,
    velocity: Array,
) -> None: ...
def draw_varied(
    frames: Array,
    background: Array,
    numbers: Array,
    colour: Array,
    light: Array,
    open: Array,
    robot: Array,
    moving: Array | None,
    colours: Array,
    keep: Array | None,
    stuck: Array | None,
    dirty: Array | None,
) -> None: ...
def add_gaussian(frames: Array, plus: Array, minus: Array, key: Array, step: Array) -> None: ...
