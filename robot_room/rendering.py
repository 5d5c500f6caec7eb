"""Frames of rooms: squares drawn with exact area coverage, at any resolution.

A pixel's colour is the average of the scene over the pixel: floor or wall at the bottom, then
distractors, goal and robot. All edges are parallel to the axes, so each area is a product of two
lengths and the average is exact:

    pixel = ground · (1 − G − R − Σ D) + red · G + white · R + Σ colour · D,
    R = area(robot),   G = area(goal) − area(goal ∩ robot),
    D = area(it) − area(it ∩ goal) − area(it ∩ robot) + area(it ∩ goal ∩ robot), 0 on wall pixels.

(Distractors do not overlap each other. Walls lie on the pixel grid, and neither goal nor robot
overlaps them.) The colour is rounded to uint8, halves up. Only pixels that a square touches are
computed; the rest of the frame is copied. Row 0 is y = +1. Batches have a leading axis N of rooms.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room import distractors as distractor
from robot_room.room import GOAL_SIDE, HALF_WIDTH, NOWHERE, ROBOT_SIDE, Float

FRAME_SIZE = 64  # side of an observation in pixels
FLOOR = 128  # grey level of all three channels
WALL = 48

Frames = NDArray[np.uint8]
Pixels = NDArray[np.intp]


class Scene(NamedTuple):
    """Contents of N rooms; positions are of centres, in metres."""

    robot: Float  # (N, 2)
    goal: Float  # (N, 2)
    distractors: Float | None = None  # (N, D, 2)
    walls: NDArray[np.bool_] | None = None  # (N, 64, 64), row 0 at the top


class _Squares(NamedTuple):
    """Low and high edges in pixels of K squares per room, each (K, N, 2) as (row, column)."""

    low: Float
    high: Float


def background(goal: Float, walls: NDArray[np.bool_] | None = None, size: int = FRAME_SIZE) -> Frames:
    """Render the static parts, (N, size, size, 3) uint8: walls (N, 64, 64), goals (N, 2) in m."""
    frames = np.full((len(goal), size, size, 3), FLOOR, dtype=np.uint8)
    if walls is not None:
        scale = size // walls.shape[1]
        frames[walls.repeat(scale, axis=1).repeat(scale, axis=2)] = WALL
    if goal[0, 0] == NOWHERE:  # then in all rooms
        return frames
    square = _squares(goal[None], GOAL_SIDE, size)
    pixels = _window(square.low[0], GOAL_SIDE, size)
    ground = _ground(walls, pixels, size)
    _blend(frames, pixels, ground, np.zeros(()), _areas(square, pixels)[0])
    return frames


def draw(frames: Frames, scene: Scene) -> None:
    """Draw robots and distractors, in place, on frames from `background`."""
    size = frames.shape[1]
    squares, count = _layers(scene, size)
    for corner in [*squares.low[3 : 3 + count], squares.low[0]]:  # the robot's window comes last
        pixels = _window(corner, ROBOT_SIDE, size)
        ground = _ground(scene.walls, pixels, size)
        robot_area, goal_area, areas = _visible(_areas(squares, pixels), count)
        _blend(frames, pixels, ground, robot_area, goal_area, areas * (ground == FLOOR))


def render(scene: Scene, size: int = FRAME_SIZE) -> Frames:
    """Render complete frames, (N, size, size, 3) uint8; `size` is a multiple of 64."""
    frames = background(scene.goal, scene.walls, size)
    draw(frames, scene)
    return frames


def masks(scene: Scene, size: int = FRAME_SIZE) -> dict[str, NDArray[np.float32]]:
    """Fraction of each pixel visibly covered by each class, (N, size, size) in [0, 1].

    The remainder is floor.
    """
    pixels = np.broadcast_to(np.arange(size), (len(scene.robot), 2, size))
    squares, count = _layers(scene, size)
    robot, goal, distractors = _visible(_areas(squares, pixels), count)
    walls = np.zeros_like(robot)
    if scene.walls is not None:
        walls[:] = _walls(scene.walls, pixels, size)
    shares = {
        "robot": robot,
        "goal": goal,
        "distractors": distractors.sum(axis=0) * (1 - walls),
        "walls": walls,
    }
    # Rounding may leave −1e-17 as the difference of equal areas.
    return {name: np.maximum(share, 0).astype(np.float32) for name, share in shares.items()}


def _layers(scene: Scene, size: int) -> tuple[_Squares, int]:
    """All squares with their overlaps, and the number of distractors, D.

    The order is: robot, goal, their overlap; then D each of the distractors and their overlaps with
    the goal, with the robot, and with both.
    """
    robot, goal = scene.robot[None], scene.goal[None]
    robot, goal = _squares(robot, ROBOT_SIDE, size), _squares(goal, GOAL_SIDE, size)
    layers = [robot, goal, _overlap(robot, goal)]
    count = 0
    if scene.distractors is not None:
        count = scene.distractors.shape[1]
        moving = _squares(scene.distractors.swapaxes(0, 1), distractor.SIDE, size)
        with_goal = _overlap(moving, goal)
        layers += [moving, with_goal, _overlap(moving, robot), _overlap(with_goal, robot)]
    return _Squares(*(np.concatenate(edges) for edges in zip(*layers, strict=True))), count


def _squares(centre: Float, side: float, size: int) -> _Squares:
    """Squares in pixels, given their centres (K, N, 2) in metres."""
    scale = size / (2 * HALF_WIDTH)
    middle = np.empty_like(centre)
    middle[..., 0] = (HALF_WIDTH - centre[..., 1]) * scale  # rows grow downwards, y grows upwards
    middle[..., 1] = (centre[..., 0] + HALF_WIDTH) * scale
    half = 0.5 * side * scale
    return _Squares(middle - half, middle + half)


def _overlap(some: _Squares, others: _Squares) -> _Squares:
    return _Squares(np.maximum(some.low, others.low), np.minimum(some.high, others.high))


def _window(low: Float, side: float, size: int) -> Pixels:
    """Indices of the pixels a square with low edges `low` can touch, (N, 2, W), in the frame."""
    width = int(np.ceil(side * size / (2 * HALF_WIDTH))) + 1
    first = np.minimum(low.astype(np.intp), size - width)
    return first[:, :, None] + np.arange(width)


def _areas(squares: _Squares, pixels: Pixels) -> Float:
    """Area of each pixel covered by each square, (K, N, W, W), for rows and columns (N, 2, W)."""
    low, high = squares.low[..., None], squares.high[..., None]
    cover = np.maximum(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0.0)
    return cover[:, :, 0, :, None] * cover[:, :, 1, None, :]


def _visible(areas: Float, count: int) -> tuple[Float, Float, Float]:
    """Visible areas of robot and goal, (N, W, W) each, and of distractors, (D, N, W, W)."""
    itself, with_goal, with_robot, with_both = areas[3:].reshape(4, count, *areas.shape[1:])
    return areas[0], areas[1] - areas[2], itself - (with_goal + with_robot) + with_both


def _walls(walls: NDArray[np.bool_], pixels: Pixels, size: int) -> NDArray[np.bool_]:
    """Whether each pixel is wall, (N, W, W)."""
    grid = pixels * walls.shape[1] // size
    room = np.arange(len(walls))[:, None, None]
    return walls[room, grid[:, 0, :, None], grid[:, 1, None, :]]


def _ground(walls: NDArray[np.bool_] | None, pixels: Pixels, size: int) -> float | Float:
    """Grey level of floor and walls: one number without walls, else (N, W, W)."""
    return FLOOR if walls is None else np.where(_walls(walls, pixels, size), WALL, FLOOR)


def _blend(
    frames: Frames,
    pixels: Pixels,
    ground: float | Float,
    robot_area: Float,
    goal_area: Float,
    distractor_areas: Iterable[Float] = (),
) -> None:
    """Blend the pixels of a window in place; red is (255, 0, 0), white 255."""
    grey = (ground + 0.5) - ground * goal_area + (255 - ground) * robot_area  # + 0.5 rounds halves up
    value = np.empty((*grey.shape, 3))
    value[..., 0] = grey + 255 * goal_area
    value[..., 1] = value[..., 2] = grey
    for area, colour in zip(distractor_areas, distractor.COLOURS, strict=False):
        value += (colour.astype(np.float64) - FLOOR) * area[..., None]
    width = pixels.shape[2]
    painted = value.astype(np.uint8)
    for frame, window, (row, column) in zip(frames, painted, pixels[:, :, 0].tolist(), strict=True):
        frame[row : row + width, column : column + width] = window
