"""Wall layouts: the door and the numbered mazes, and where the robot can move in them.

Walls are aligned with the observation's pixels, so each pixel is either wall or not and a frame
shows their exact position. A layout is identified by its number:

* door: one wall right of the centre; the number is the position of its door, 0 to 44;
* maze: 5 by 5 cells whose passages form a spanning tree, so that exactly one path joins any two
  cells. The grid has 557,568,000 spanning trees (Kirchhoff's theorem), and the number selects one:
  uniform numbers give uniform mazes, and different numbers give different mazes.

A layout is a lattice: full-height columns and full-width rows cut the room into slabs, the odd
ones for walls, and `blocked[row, column]` says whether a crossing is wall. Rows count from the
bottom. The door, whose rows 0 and 4 have no height because its wall spans the room:

    row 3   .   #   .       blocked[3, 1]
    row 2   .   .   .       the door
    row 1   .   #   .       blocked[1, 1]
            0   1   2       column

To add a layout, add its name to `room.WallKind`, and here a function that calls `_layout` and a
case in `count` and `layout` (the type checker reports a missing one). If it gets an id, add that to
`robot_room.VARIANTS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from robot_room.checking import whole
from robot_room.room import (
    HALF_WIDTH,
    LAYOUTS_PER_SEED,
    ROBOT_SIDE,
    Float,
    RoomParams,
    WallKind,
    Walls,
)

GRID = 64  # pixels a side
PIXEL = 2 * HALF_WIDTH / GRID  # m

DOOR_WALL = (38, 40)  # pixels from the left
DOOR_WIDTH = 12  # pixels, 0.375 m
DOOR_FIRST, DOORS = 4, 45  # lowest door in pixels from the bottom, and number of positions

CELLS = 5  # a side
MAZE_WALLS = ((11, 13), (24, 26), (38, 40), (51, 53))  # pixels, on both axes
MAZES = 557_568_000
MAZE_STRIDE = 344_595_877  # coprime to MAZES, near MAZES / golden ratio

Interval = tuple[int, int]


@dataclass(frozen=True, eq=False)  # cached, so compared and hashed by identity
class Layout:
    """The walls of one room."""

    kind: WallKind
    number: int
    blocked: NDArray[np.bool_]
    """Which crossings of slabs are wall, from the bottom left."""
    mask: NDArray[np.bool_]
    """Wall pixels, (64, 64), row 0 at the top."""
    walls: Walls
    """Where the robot's centre can move; a batch of one."""
    robot_side: float
    """The robot's side in metres, for which `walls` holds."""
    columns: Sequence[Interval]
    """Wall columns, in pixels from the left."""
    rows: Sequence[Interval]
    """Wall rows, in pixels from the bottom."""


def count(params: RoomParams) -> int:
    """Number of layouts for these parameters; a room's layout index is 0 to count − 1."""
    match params.walls:
        case None:
            return 0
        case "door":
            return DOORS
        case "maze":
            return params.num_layouts
        case unknown:
            assert_never(unknown)


def features(params: RoomParams, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """What an observation of the state tells about each room's layout, (N, F).

    Nothing without walls, the height of the door's centre in metres, or the maze's 81 crossings of
    slabs row by row from the bottom, 1 where there is wall.
    """
    match params.walls:
        case None:
            return np.zeros((len(indices), 0), np.float32)
        case "door":
            low = DOOR_FIRST + indices[:, None]
            return ((low + DOOR_WIDTH / 2) * PIXEL - HALF_WIDTH).astype(np.float32)
        case "maze":
            mazes = [layout(params, index) for index in indices.tolist()]
            return np.array([maze.blocked.ravel() for maze in mazes if maze], np.float32)
        case unknown:
            assert_never(unknown)


def layout(params: RoomParams, index: int) -> Layout | None:
    """The layout with this index, or None if there are no walls."""
    match params.walls:
        case None:
            return None
        case "door":
            return door(index)
        case "maze":
            # Each seed has its own LAYOUTS_PER_SEED consecutive numbers, so seeds share no maze.
            # The stride spreads them over all mazes, as neighbouring numbers are similar mazes.
            return maze((params.layout_seed * LAYOUTS_PER_SEED + index) * MAZE_STRIDE % MAZES)
        case unknown:
            assert_never(unknown)


@cache
def door(place: int) -> Layout:
    """A wall right of the centre, its door `place` pixels above the lowest possible position.

    Raises:
        ValueError: `place` is not from 0 to 44.
    """
    place = whole("door", place, 0, DOORS - 1)
    low = DOOR_FIRST + place
    rows = ((0, low), (low + DOOR_WIDTH, GRID))
    blocked = np.zeros((5, 3), np.bool_)
    blocked[[1, 3], 1] = True
    return _layout("door", place, [DOOR_WALL], rows, blocked)


@lru_cache(maxsize=LAYOUTS_PER_SEED)
def maze(number: int) -> Layout:
    """The maze with this number.

    Raises:
        ValueError: `number` is not from 0 to 557,567,999.
    """
    number = whole("maze", number, 0, MAZES - 1)
    blocked = np.zeros((2 * CELLS - 1, 2 * CELLS - 1), np.bool_)
    blocked[1::2] = blocked[:, 1::2] = True
    for cell, other in spanning_tree(CELLS, number):
        (row, column), (other_row, other_column) = divmod(cell, CELLS), divmod(other, CELLS)
        blocked[row + other_row, column + other_column] = False
    return _layout("maze", number, MAZE_WALLS, MAZE_WALLS, blocked)


def spanning_tree(side: int, number: int) -> list[tuple[int, int]]:
    """Edges of the spanning tree with this number (from 0) of a grid of side² vertices.

    This is unranking: edges are included or excluded one by one. With every edge a resistor of 1 Ω,
    the fraction of the remaining trees that contain an edge equals its effective resistance
    (Kirchhoff). If `number` is among the trees without the edge, the edge is cut, otherwise it is
    short-circuited. Either is a rank-one update (Sherman–Morrison) of the matrix of potentials, the
    inverse Laplacian with vertex 0 grounded.
    """
    edges, trees, potentials = _grid(side)
    potentials = potentials.copy()
    tree = []
    for u, v in edges:
        drop = potentials[u] - potentials[v]
        resistance = float(drop[u] - drop[v])
        without = round(trees * (1 - resistance))
        if number < without:
            trees = without
            potentials += np.outer(drop, drop / (1 - resistance))
        else:
            trees, number = trees - without, number - without
            potentials -= np.outer(drop, drop / resistance)
            tree.append((u, v))
    return tree


@cache
def _grid(side: int) -> tuple[list[tuple[int, int]], int, Float]:
    """Edges, number of spanning trees, and potentials of a grid of side² vertices."""
    count = side * side
    edges = [(v, v + 1) for v in range(count) if (v + 1) % side]
    edges += [(v, v + side) for v in range(count - side)]
    laplacian = np.zeros((count, count))
    for u, v in edges:
        laplacian[[u, v], [u, v]] += 1
        laplacian[[u, v], [v, u]] -= 1
    trees = round(np.linalg.det(laplacian[1:, 1:]))  # an integer far below 2⁵³
    potentials = np.zeros((count, count))
    potentials[1:, 1:] = np.linalg.inv(laplacian[1:, 1:])
    return edges, trees, potentials


def _layout(
    kind: WallKind,
    number: int,
    columns: Sequence[Interval],
    rows: Sequence[Interval],
    blocked: NDArray[np.bool_],
) -> Layout:
    """Build a layout from a lattice, see the module's docstring.

    Args:
        kind: name of the layout.
        number: its number.
        columns: wall columns, in pixels from the left.
        rows: wall rows, in pixels from the bottom.
        blocked: (2 · rows + 1, 2 · columns + 1), whether each crossing of slabs is wall.
    """
    of_row, of_column = (
        np.searchsorted(np.ravel(cuts), np.arange(GRID), side="right") for cuts in (rows, columns)
    )
    mask = blocked[of_row][::-1, of_column].copy()  # of_row counts from the bottom
    mask.flags.writeable = False
    walls = _walls(columns, rows, blocked, ROBOT_SIDE)
    return Layout(kind, number, blocked, mask, walls, ROBOT_SIDE, columns, rows)


def resized(layout: Layout | None, robot_side: float) -> Layout | None:
    """The same layout for a robot of another size."""
    if layout is None or layout.robot_side == robot_side:
        return layout
    walls = _walls(layout.columns, layout.rows, layout.blocked, robot_side)
    return replace(layout, walls=walls, robot_side=robot_side)


def open_walls(robot_side: float) -> Walls:
    """Where a robot of this size can move in a room without walls; a batch of one."""
    limit = HALF_WIDTH - robot_side / 2
    intervals = np.array([[[[-limit, limit]]]])
    return Walls(np.empty((1, 0)), np.empty((1, 0)), intervals, intervals.copy())


def _walls(
    columns: Sequence[Interval], rows: Sequence[Interval], blocked: NDArray[np.bool_], side: float
) -> Walls:
    """Where the centre of a robot with this side can move; a batch of one."""
    x_edges, y_edges = (
        np.ravel([[low * PIXEL - side / 2, high * PIXEL + side / 2] for low, high in cuts]) - HALF_WIDTH
        for cuts in (columns, rows)
    )
    # An edge is free if a slab beside it is: walls are open sets, which the robot may touch.
    closed = _with_edges(_with_edges(blocked).T).T
    limit = HALF_WIDTH - side / 2
    x_intervals = _free_intervals(~closed, x_edges, limit)
    y_intervals = _free_intervals(~closed.T, y_edges, limit).swapaxes(0, 1)
    return Walls(*(part[None] for part in (x_edges, y_edges, x_intervals, y_intervals)))


def _with_edges(blocked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Insert between rows of slabs their common edges, blocked if both neighbours are."""
    elements = np.repeat(blocked, 2, axis=0)[:-1]
    elements[1::2] = blocked[:-1] & blocked[1:]
    return elements


def _free_intervals(free: NDArray[np.bool_], edges: Float, limit: float) -> Float:
    """The free interval (low, high) of its row that contains each element, (rows, columns, 2).

    NaN if the element is blocked.
    """
    count = free.shape[1]
    intervals = np.empty((*free.shape, 2))
    intervals[:] = -limit, limit
    # A blocked element bounds those to its right by its right edge, those to its left by its left.
    edge = edges[np.arange(count - 1) // 2]  # right of elements 0, 1, …; left of elements 1, 2, …
    intervals[:, 1:, 0] = np.maximum.accumulate(np.where(free[:, :-1], -limit, edge), axis=1)
    bounds = np.where(free[:, 1:], limit, edge)
    intervals[:, :-1, 1] = np.minimum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]
    intervals[~free] = np.nan
    return intervals
