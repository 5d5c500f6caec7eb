"""Walls: the door, the mazes by number, and where a robot can go among them.

Walls lie on the pixel grid of the observation, so that a pixel is wall or not, and a frame tells
exactly where they are. A layout is known by its number:

* door: one wall right of the centre, the number is the door's place, 0 to 44;
* maze: 5 by 5 cells whose passages are a spanning tree, so that there is one way between any two.
  The grid has 557,568,000 spanning trees (Kirchhoff's theorem), and the number says which, so that
  equally likely numbers are equally likely mazes, and different numbers are different mazes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from robot_room.checking import whole
from robot_room.room import (
    HALF_WIDTH,
    LAYOUTS_PER_SEED,
    ROBOT_LIMIT,
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
DOOR_FIRST, DOORS = 4, 45  # lowest end of a door in pixels from the bottom, and how many places

CELLS = 5  # a side
MAZE_WALLS = ((11, 13), (24, 26), (38, 40), (51, 53))  # pixels, on both axes
MAZES = 557_568_000
MAZE_STRIDE = 344_595_877  # no divisor in common with MAZES; near its golden section

Interval = tuple[int, int]


@dataclass(frozen=True, eq=False)  # each is made once, and is itself alone
class Layout:
    """The walls of one room."""

    kind: WallKind
    number: int
    mask: NDArray[np.bool_]
    """The pixels that are wall, (64, 64), row 0 at the top."""
    walls: Walls
    """Where the robot's centre can go; a batch of one."""


def count(params: RoomParams) -> int:
    """How many layouts the rooms of these parameters have; a room's layout is 0 to count − 1."""
    return {None: 0, "door": DOORS, "maze": params.num_layouts}[params.walls]


def layout(params: RoomParams, index: int) -> Layout | None:
    """The layout of that index, or None where there are no walls."""
    if params.walls is None:
        return None
    if params.walls == "door":
        return door(index)
    # Sets of LAYOUTS_PER_SEED follow each other, so that no two seeds share a number. The stride
    # spreads them over all mazes, as neighbouring numbers are similar mazes.
    return maze((params.layout_seed * LAYOUTS_PER_SEED + index) * MAZE_STRIDE % MAZES)


@cache
def door(place: int) -> Layout:
    """A wall right of the centre, whose door begins `place` pixels above the lowest possible one.

    Raises:
        ValueError: the place is not from 0 to 44.
    """
    place = whole("door", place, 0, DOORS - 1)
    low = DOOR_FIRST + place
    rows = ((0, low), (low + DOOR_WIDTH, GRID))
    blocked = np.zeros((5, 3), np.bool_)
    blocked[[1, 3], 1] = True
    return _layout("door", place, [DOOR_WALL], rows, blocked)


@lru_cache(maxsize=LAYOUTS_PER_SEED)
def maze(number: int) -> Layout:
    """The maze of that number.

    Raises:
        ValueError: the number is not from 0 to 557,567,999.
    """
    number = whole("maze", number, 0, MAZES - 1)
    blocked = np.zeros((2 * CELLS - 1, 2 * CELLS - 1), np.bool_)
    blocked[1::2] = blocked[:, 1::2] = True
    for cell, other in spanning_tree(CELLS, number):
        (row, column), (other_row, other_column) = divmod(cell, CELLS), divmod(other, CELLS)
        blocked[row + other_row, column + other_column] = False
    return _layout("maze", number, MAZE_WALLS, MAZE_WALLS, blocked)


def spanning_tree(side: int, number: int) -> list[tuple[int, int]]:
    """The edges of one spanning tree of a grid of side² vertices; `number` says which, from 0.

    Each edge in turn is in or out. It lies in as large a share of all trees that are left as its
    effective resistance is, where every edge is a resistor of 1 Ω (Kirchhoff). If `number` is among
    the trees without it, it is cut, else short-circuited. Both change the matrix of potentials (the
    inverse Laplacian, vertex 0 grounded) by a product of two vectors (Sherman and Morrison).
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
    trees = round(np.linalg.det(laplacian[1:, 1:]))  # a whole number far below 2⁵³
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
    """A layout from its wall columns and rows, in pixels from the left and from the bottom.

    They cut the room into slabs, the odd ones those of walls; `blocked[row, column]` says where two
    slabs cross in a wall.
    """
    of_row, of_column = (
        np.searchsorted(np.ravel(cuts), np.arange(GRID), side="right") for cuts in (rows, columns)
    )
    mask = blocked[of_row][::-1, of_column].copy()  # of_row counts from the bottom
    mask.flags.writeable = False
    x_edges, y_edges = (
        np.ravel([[low * PIXEL - ROBOT_SIDE / 2, high * PIXEL + ROBOT_SIDE / 2] for low, high in cuts])
        - HALF_WIDTH
        for cuts in (columns, rows)
    )
    # An edge is free where a slab beside it is: walls are open sets, a robot may touch them.
    closed = _with_edges(_with_edges(blocked).T).T
    x_intervals = _free_intervals(~closed, x_edges)
    y_intervals = _free_intervals(~closed.T, y_edges).swapaxes(0, 1)
    return Layout(
        kind, number, mask, Walls(*(a[None] for a in (x_edges, y_edges, x_intervals, y_intervals)))
    )


def _with_edges(blocked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows of slabs → rows of slabs with the edges between them, blocked if both neighbours are."""
    elements = np.repeat(blocked, 2, axis=0)[:-1]
    elements[1::2] = blocked[:-1] & blocked[1:]
    return elements


def _free_intervals(free: NDArray[np.bool_], edges: Float) -> Float:
    """For each element (row, column), the ends of the free stretch of its row that it lies in.

    NaN where it is blocked, (rows, columns, 2).
    """
    count = free.shape[1]
    intervals = np.empty((*free.shape, 2))
    intervals[:] = -ROBOT_LIMIT, ROBOT_LIMIT
    # What is blocked bounds all that lies right of it by its right edge, and all left by its left.
    edge = edges[np.arange(count - 1) // 2]  # right of elements 0, 1, …, left of elements 1, 2, …
    intervals[:, 1:, 0] = np.maximum.accumulate(np.where(free[:, :-1], -ROBOT_LIMIT, edge), axis=1)
    bounds = np.where(free[:, 1:], ROBOT_LIMIT, edge)
    intervals[:, :-1, 1] = np.minimum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]
    intervals[~free] = np.nan
    return intervals
