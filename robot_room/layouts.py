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

Layouts from outside (`wall_masks`) are any masks of pixels. Their slabs are cut at every edge of a
wall, and a crossing is blocked if a robot there would overlap a wall. They are accepted if all free
places are connected, for every size that the robot may have, and leave room for start and goal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robot_room.checking import whole
from robot_room.factors import LIMITS, PLACES
from robot_room.room import (
    GOAL_SIDE,
    HALF_WIDTH,
    LAYOUTS_PER_SEED,
    MIN_START_DISTANCE,
    ROBOT_SIDE,
    TOLERANCE,
    Float,
    RoomParams,
    Walls,
    is_clear,
)
from robot_room.wall_masks import GENERATORS, Generator, as_mask, drawing

GRID = 64  # pixels a side
PIXEL = 2 * HALF_WIDTH / GRID  # m

DOOR_WALL = (38, 40)  # pixels from the left
DOOR_WIDTH = 12  # pixels, 0.375 m
DOOR_FIRST, DOORS = 4, 45  # lowest door in pixels from the bottom, and number of positions

CELLS = 5  # a side
MAZE_WALLS = ((11, 13), (24, 26), (38, 40), (51, 53))  # pixels, on both axes
MAZES = 557_568_000
MAZE_STRIDE = 344_595_877  # coprime to MAZES, near MAZES / golden ratio

LEAST_ROOM = 0.005  # of the square, for the centres of robot and goal

Interval = tuple[int, int]


@dataclass(frozen=True, eq=False)  # cached, so compared and hashed by identity
class Layout:
    """The walls of one room."""

    kind: str
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
    if params.walls is None:
        return 0
    if params.walls == "door":
        return DOORS
    return params.num_layouts


def features(params: RoomParams, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """What an observation of the state tells about each room's layout, (N, F).

    Nothing where there is only one, the height of the door's centre in metres, the maze's 81 crossings
    of slabs row by row from the bottom, or the 4,096 pixels of another mask row by row from the top;
    1 where there is wall.
    """
    if params.walls == "door":
        low = DOOR_FIRST + indices[:, None]
        return ((low + DOOR_WIDTH / 2) * PIXEL - HALF_WIDTH).astype(np.float32)
    if params.walls is None or (params.walls != "maze" and params.num_layouts == 1):
        return np.zeros((len(indices), 0), np.float32)
    several = [layout(params, index) for index in indices.tolist()]
    parts = [each.blocked if params.walls == "maze" else each.mask for each in several if each]
    return np.array([part.ravel() for part in parts], np.float32)


def layout(params: RoomParams, index: int) -> Layout | None:
    """The layout with this index, or None if there are no walls.

    Raises:
        ValueError: a registered layout is not as it must be, see `from_mask`.
    """
    if params.walls is None:
        return None
    if params.walls == "door":
        return door(index)
    # Each seed has its own LAYOUTS_PER_SEED consecutive numbers, so seeds share none.
    number = params.layout_seed * LAYOUTS_PER_SEED + index
    if params.walls == "maze":
        # The stride spreads them over all mazes, as neighbouring numbers are similar mazes.
        return maze(number * MAZE_STRIDE % MAZES)
    sizes = (ROBOT_SIDE, GOAL_SIDE) * 2
    if params.factors is not None:
        sizes = tuple(
            float(end[PLACES[name]][0]) for end in LIMITS for name in ("robot_size", "goal_size")
        )
    generator = GENERATORS.get(params.walls)
    arguments = sizes, params.goal == "centre"
    if generator is None:
        return from_mask("mask", 0, params.walls, *arguments)
    return _generated(params.walls, generator, number, *arguments)


@lru_cache(maxsize=LAYOUTS_PER_SEED)
def _generated(
    name: str, generator: Generator, number: int, sizes: tuple[float, ...], centred: bool
) -> Layout:
    return from_mask(name, number, drawing(generator(number)), sizes, centred)


@lru_cache(maxsize=1024)
def from_mask(name: str, number: int, text: str, sizes: tuple[float, ...], centred: bool) -> Layout:
    """The layout of a drawing.

    Args:
        name: its name, for messages.
        number: its number.
        text: the drawing.
        sizes: the sides of the smallest robot and goal, then of the largest, metres.
        centred: whether the goal is at the centre; if not, it is anywhere.

    Raises:
        ValueError: its free places are not connected, or there is too little room for robot or goal.
    """
    mask = as_mask(text)
    mask.flags.writeable = False
    least, small_goal, most, large_goal = sizes
    # What is connected changes with the robot's size where that is a whole number of pixels.
    steps = [k * PIXEL for k in range(GRID) if least < k * PIXEL < most]
    ends = [least, *steps, most]
    between = [(low + high) / 2 for low, high in pairwise(ends)]
    for side in sorted({least, most, *between}):
        parts = _parts(_mask_walls(mask, side + 1e-6))
        if parts != 1:
            raise ValueError(
                f"walls: got {name} {number}, where a robot of {side:.3g} m has {parts} parts to be in "
                f"and no way between, allowed: 1; openings need {math.floor(most / PIXEL) + 1} pixels"
            )
    for side in {small_goal, large_goal}:
        if centred and not is_clear(np.zeros(2), side, mask):
            allowed = f"the centre free for a goal of {side:g} m, or goal='random'"
            raise ValueError(f"walls: got {name} {number} with wall at the centre, allowed: {allowed}")
    line = np.linspace(-HALF_WIDTH, HALF_WIDTH, 129)
    robots = ~_overlaps(mask, most, line, line)
    goals = ~_overlaps(mask, large_goal, line, line)
    if centred:
        robots &= line[:, None] ** 2 + line**2 >= MIN_START_DISTANCE**2
    extent = max(np.ptp(line[robots.any(axis)]) if robots.any() else 0.0 for axis in (0, 1))
    if robots.mean() < LEAST_ROOM or goals.mean() < LEAST_ROOM or extent < 2.25 * MIN_START_DISTANCE:
        raise ValueError(
            f"walls: got {name} {number}, where {robots.mean():.1%} and {goals.mean():.1%} of the room "
            f"are free for robot and goal, within {extent:.2f} m, allowed: at least {LEAST_ROOM:.1%}, "
            f"within {2.25 * MIN_START_DISTANCE:.2f} m"
        )
    return Layout(name, number, mask, mask, _mask_walls(mask, ROBOT_SIDE), ROBOT_SIDE, (), ())


def door(place: int) -> Layout:
    """A wall right of the centre, its door `place` pixels above the lowest possible position.

    Raises:
        ValueError: `place` is not from 0 to 44.
    """
    return _door(whole("door", place, 0, DOORS - 1))


@cache
def _door(place: int) -> Layout:
    low = DOOR_FIRST + place
    rows = ((0, low), (low + DOOR_WIDTH, GRID))
    blocked = np.zeros((5, 3), np.bool_)
    blocked[[1, 3], 1] = True
    return _layout("door", place, [DOOR_WALL], rows, blocked)


def maze(number: int) -> Layout:
    """The maze with this number.

    Raises:
        ValueError: `number` is not from 0 to 557,567,999.
    """
    return _maze(whole("maze", number, 0, MAZES - 1))


@lru_cache(maxsize=LAYOUTS_PER_SEED)
def _maze(number: int) -> Layout:
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
    kind: str,
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
    if layout.columns:
        walls = _walls(layout.columns, layout.rows, layout.blocked, robot_side)
    else:
        walls = _mask_walls(layout.mask, robot_side)
    return replace(layout, walls=walls, robot_side=robot_side)


def padded(walls: Walls, x_edges: int, y_edges: int) -> Walls:
    """The same with so many edges at least, of which the new ones are infinitely far to the right."""
    more = [max(x_edges - walls.x_edges.shape[1], 0), max(y_edges - walls.y_edges.shape[1], 0)]
    if more == [0, 0]:
        return walls
    edges = [
        np.pad(part, ((0, 0), (0, extra)), constant_values=np.inf)
        for part, extra in zip(walls[:2], more, strict=True)
    ]
    sizes = ((0, 0), (0, 2 * more[1]), (0, 2 * more[0]), (0, 0))
    return Walls(*edges, *(np.pad(part, sizes, constant_values=np.nan) for part in walls[2:]))


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


def _mask_walls(mask: NDArray[np.bool_], side: float) -> Walls:
    """Where the centre of a robot with this side can move between walls; a batch of one."""
    limit = HALF_WIDTH - side / 2
    upwards = mask[::-1]
    x_edges, y_edges = (_grown_edges(each, side, limit) for each in (upwards, upwards.T))
    closed = _overlaps(mask, side, *(_elements(each, limit) for each in (x_edges, y_edges)))
    x_intervals = _free_intervals(~closed, x_edges, limit)
    y_intervals = _free_intervals(~closed.T, y_edges, limit).swapaxes(0, 1)
    return Walls(*(part[None] for part in (x_edges, y_edges, x_intervals, y_intervals)))


def _grown_edges(upwards: NDArray[np.bool_], side: float, limit: float) -> Float:
    """The left and right edges of walls, grown by half the robot's side, in metres, ascending."""
    begins = np.flatnonzero((upwards[:, 1:] & ~upwards[:, :-1]).any(0)) + 1
    ends = np.flatnonzero((upwards[:, :-1] & ~upwards[:, 1:]).any(0)) + 1
    grown = np.concatenate([begins * PIXEL - side / 2, ends * PIXEL + side / 2]) - HALF_WIDTH
    grown = np.sort(grown[np.abs(grown) <= limit + TOLERANCE])
    return grown[np.diff(grown, prepend=-np.inf) > TOLERANCE].astype(np.float64)


def _elements(edges: Float, limit: float) -> Float:
    """A coordinate in each element of an axis: the middles of slabs, and the edges between them."""
    bounds = np.concatenate([[-limit], edges, [limit]])
    elements = np.empty(2 * len(edges) + 1)
    elements[::2] = (bounds[:-1] + bounds[1:]) / 2
    elements[1::2] = edges
    return elements


def _overlaps(mask: NDArray[np.bool_], side: float, x: Float, y: Float) -> NDArray[np.bool_]:
    """Whether squares of this side centred at all (x, y) overlap walls or leave the room, (Y, X)."""
    centres = (np.arange(GRID) + 0.5) * PIXEL - HALF_WIDTH
    reach = (PIXEL + side) / 2 - TOLERANCE
    beside, above = (np.abs(centres[:, None] - each) < reach for each in (x, y))
    walls = above.T.astype(np.float32) @ mask[::-1].astype(np.float32) @ beside.astype(np.float32) > 0
    outside = [np.abs(each) > HALF_WIDTH - side / 2 + TOLERANCE for each in (x, y)]
    return walls | outside[0] | outside[1][:, None]


def _parts(walls: Walls) -> int:
    """Number of connected parts of the free elements."""
    free = ~np.isnan(walls.x_intervals[0, :, :, 0])
    parts, left = 0, {(row, column) for row, column in np.argwhere(free).tolist()}
    while left:
        parts, border = parts + 1, [left.pop()]
        while border:
            row, column = border.pop()
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.remove(near)
                    border.append(near)
    return parts


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
