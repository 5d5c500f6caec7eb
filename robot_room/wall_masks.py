"""Wall layouts from outside: drawings, masks of pixels, and functions that make masks.

A mask is square, with rows from the top, and True (1, or 255) where there is wall. Its side divides 64:
each of its cells is a block of pixels, so walls are aligned with the pixels of frames. A drawing is a
mask as text, `#` for wall and `.` for floor, which fits into a file beside an agent's other settings.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 64  # pixels
WALL, FLOOR = "#", "."
OWN = ("door", "maze")
Mask = NDArray[np.bool_]
Generator = Callable[[int], Any]
GENERATORS: dict[str, Generator] = {}
"""The registered layouts, by name."""


def register_layout(name: str, generator: Generator) -> None:
    """Make a layout known by a name, for `walls=name`.

    Args:
        name: an identifier. It has to be registered in every process that makes such rooms.
        generator: number ↦ mask or drawing. `num_layouts` numbers from `layout_seed` · 10,000 on are
            used; the same number must always give the same mask. Each is checked before it is used.

    Raises:
        ValueError: the name is not an identifier or one of the room's own, or this is no function.
    """
    if not isinstance(name, str) or not name.isidentifier() or name in OWN:
        raise ValueError(f"name: got {name!r}, allowed: an identifier other than {', '.join(OWN)}")
    if not callable(generator):
        raise ValueError(f"generator: got {generator!r}, allowed: a function from numbers to masks")
    GENERATORS[name] = generator


def as_mask(value: Any) -> Mask:
    """A mask or a drawing as wall pixels, (64, 64), row 0 at the top.

    Raises:
        ValueError: it is neither.
    """
    allowed = f"a square of {FLOOR} and {WALL}, or of 0 and 1, whose side divides {SIDE}"
    if isinstance(value, str):
        lines = value.split()
        if any(set(line) - {WALL, FLOOR} for line in lines):
            raise ValueError(f"walls: got the drawing {value!r:.200}, allowed: {allowed}")
        value = [[letter == WALL for letter in line] for line in lines]
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.zeros(0)
    shape: tuple[int, ...] = array.shape
    if array.ndim != 2 or shape[0] != shape[1] or shape[0] == 0 or SIDE % shape[0]:
        raise ValueError(f"walls: got a mask of shape {shape}, allowed: {allowed}")
    values = set(np.unique(array).tolist()) if array.dtype.kind in "biuf" else {str(array.dtype)}
    if not (values <= {0, 1} or values <= {0, 255}):
        got = f"{array.dtype} with {sorted(values)[:5]}"
        raise ValueError(f"walls: got a mask of {got}, allowed: {allowed}")
    block = SIDE // shape[0]
    return np.repeat(np.repeat(array != 0, block, 0), block, 1)


def drawing(mask: Any) -> str:
    """A mask as text, as small as it can be.

    Raises:
        ValueError: it is no mask.
    """
    pixels = as_mask(mask)
    for block in (32, 16, 8, 4, 2, 1):
        small = pixels[::block, ::block]
        if (np.repeat(np.repeat(small, block, 0), block, 1) == pixels).all():
            break
    return "\n".join("".join(np.where(row, WALL, FLOOR)) for row in small)


def canonical(walls: Any) -> str | None:
    """What `walls=` may be as a name, a drawing or None.

    Raises:
        ValueError: it is something else.
    """
    if walls is None or (isinstance(walls, str) and (walls in OWN or walls in GENERATORS)):
        return walls
    if (isinstance(walls, str) and len(walls.split()) < 2) or isinstance(walls, bool | int | float):
        known = ", ".join([*OWN, *GENERATORS])
        raise ValueError(
            f"walls: got {walls!r}, allowed: None, {known}, a name registered by "
            "robot_room.register_layout, a mask or a drawing"
        )
    return drawing(walls)
