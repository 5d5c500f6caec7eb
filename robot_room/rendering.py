"""Frames of rooms: squares drawn with exact area coverage, at any resolution.

A pixel's colour is the average of the scene over the pixel: floor or wall at the bottom, then
distractors, goal, robot on top. All edges are parallel to the axes, so each area is a product of two
lengths and the average is exact:

    pixel = ground · (1 − G − R − Σ D) + red · G + white · R + Σ colour · D,
    R = area(robot),   G = area(goal) − area(goal ∩ robot),
    D = area(it) − area(it ∩ goal) − area(it ∩ robot) + area(it ∩ goal ∩ robot), 0 where there is wall.

(Distractors do not overlap each other. Walls lie on the pixel grid, and neither goal nor robot
overlaps them.) It is then rounded to uint8 with halves up. Only the pixels that a square touches are
computed; the rest of the frame is copied. Row 0 is y = +1. Batches have a leading axis N of rooms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room import distractors as distractor
from robot_room.room import GOAL_SIDE, HALF_WIDTH, ROBOT_SIDE, Float

FRAME_SIZE = 64  # pixels; the observation
FLOOR = 128  # grey level of all three channels
WALL = 48

Frames = NDArray[np.uint8]
Pixels = NDArray[np.intp]


class Scene(NamedTuple):
    """What is to be drawn in N rooms; positions are of centres, in metres."""

    robot: Float  # (N, 2)
    goal: Float  # (N, 2)
    distractors: Float | None = None  # (N, D, 2)
    walls: NDArray[np.bool_] | None = None  # (N, 64, 64), row 0 at the top


class _Square(NamedTuple):
    """Squares of N rooms, in pixels: low and high edges, each (N, 2) as (row, column)."""

    low: Float
    high: Float

    def overlap(self, other: "_Square") -> "_Square":
        return _Square(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


def background(goal: Float, walls: NDArray[np.bool_] | None = None, size: int = FRAME_SIZE) -> Frames:
    """Frames of what does not move, (N, size, size, 3) uint8: walls (N, 64, 64), goals (N, 2) in m."""
    frames = np.full((len(goal), size, size, 3), FLOOR, dtype=np.uint8)
    if walls is not None:
        scale = size // walls.shape[1]
        frames[walls.repeat(scale, axis=1).repeat(scale, axis=2)] = WALL
    square = _square(goal, GOAL_SIDE, size)
    pixels = _window(square.low, GOAL_SIDE, size)
    ground = _ground(walls, pixels, size)
    _blend(frames, pixels, ground, _area(square, pixels), np.zeros(()))
    return frames


def draw(frames: Frames, scene: Scene) -> None:
    """Draw what moves, in place, into the `background` frames of the scene's goals and walls."""
    size = frames.shape[1]
    robot, goal, distractors = _squares(scene, size)
    windows = [_window(square.low, distractor.SIDE, size) for square in distractors]
    for pixels in [*windows, _window(robot.low, ROBOT_SIDE, size)]:
        ground = _ground(scene.walls, pixels, size)
        robot_area = _area(robot, pixels)
        goal_area = _area(goal, pixels) - _area(robot.overlap(goal), pixels)
        tints = [_visible(square, robot, goal, pixels) * (ground == FLOOR) for square in distractors]
        _blend(frames, pixels, ground, goal_area, robot_area, tints)


def render(scene: Scene, size: int = FRAME_SIZE) -> Frames:
    """Whole frames from nothing, (N, size, size, 3) uint8; `size` is a multiple of 64."""
    frames = background(scene.goal, scene.walls, size)
    draw(frames, scene)
    return frames


def masks(scene: Scene, size: int = FRAME_SIZE) -> dict[str, NDArray[np.float32]]:
    """The share of each pixel that each kind of thing visibly covers, (N, size, size) in [0, 1].

    With the floor's share, which is not there, they add up to 1.
    """
    robot, goal, distractors = _squares(scene, size)
    pixels = np.broadcast_to(np.arange(size), (len(scene.robot), 2, size))
    shares = {
        "robot": _area(robot, pixels),
        "goal": _area(goal, pixels) - _area(robot.overlap(goal), pixels),
        "distractors": np.zeros((len(scene.robot), size, size)),
        "walls": np.zeros((len(scene.robot), size, size)),
    }
    for square in distractors:
        shares["distractors"] += _visible(square, robot, goal, pixels)
    if scene.walls is not None:
        shares["walls"][:] = _walls(scene.walls, pixels, size)
        shares["distractors"] *= 1 - shares["walls"]
    # Differences of equal areas may leave −1e-17.
    return {name: np.maximum(share, 0).astype(np.float32) for name, share in shares.items()}


def _squares(scene: Scene, size: int) -> tuple[_Square, _Square, list[_Square]]:
    """Robot, goal and distractors."""
    robot, goal = _square(scene.robot, ROBOT_SIDE, size), _square(scene.goal, GOAL_SIDE, size)
    centres = () if scene.distractors is None else scene.distractors.swapaxes(0, 1)
    return robot, goal, [_square(centre, distractor.SIDE, size) for centre in centres]


def _square(centre: Float, side: float, size: int) -> _Square:
    """Squares in pixels from their centres, (N, 2) in metres."""
    scale = size / (2 * HALF_WIDTH)
    middle = np.empty_like(centre)
    middle[:, 0] = (HALF_WIDTH - centre[:, 1]) * scale  # rows grow downwards, y grows upwards
    middle[:, 1] = (centre[:, 0] + HALF_WIDTH) * scale
    half = 0.5 * side * scale
    return _Square(middle - half, middle + half)


def _window(low: Float, side: float, size: int) -> Pixels:
    """Indices of the pixels that squares from `low` can touch, (N, 2, W), all inside the frame."""
    width = int(np.ceil(side * size / (2 * HALF_WIDTH))) + 1
    first = np.minimum(low.astype(np.intp), size - width)
    return first[:, :, None] + np.arange(width)


def _area(square: _Square, pixels: Pixels) -> Float:
    """Area of each pixel that a square covers, (N, W, W), for rows and columns (N, 2, W)."""
    low, high = square.low[:, :, None], square.high[:, :, None]
    cover = np.maximum(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0.0)
    return cover[:, 0, :, None] * cover[:, 1, None, :]


def _visible(square: _Square, robot: _Square, goal: _Square, pixels: Pixels) -> Float:
    """What is seen of squares beneath goal and robot, (N, W, W)."""
    beneath_goal, beneath_robot = square.overlap(goal), square.overlap(robot)
    hidden = _area(beneath_goal, pixels) + _area(beneath_robot, pixels)
    return _area(square, pixels) - hidden + _area(beneath_goal.overlap(robot), pixels)


def _walls(walls: NDArray[np.bool_], pixels: Pixels, size: int) -> NDArray[np.bool_]:
    """Which pixels are wall, (N, W, W)."""
    grid = pixels * walls.shape[1] // size
    room = np.arange(len(walls))[:, None, None]
    return walls[room, grid[:, 0, :, None], grid[:, 1, None, :]]


def _ground(walls: NDArray[np.bool_] | None, pixels: Pixels, size: int) -> float | Float:
    """Grey level of what lies at the bottom: of all pixels, or of each, (N, W, W)."""
    return FLOOR if walls is None else np.where(_walls(walls, pixels, size), WALL, FLOOR)


def _blend(
    frames: Frames,
    pixels: Pixels,
    ground: float | Float,
    goal_area: Float,
    robot_area: Float,
    tints: Sequence[Float] = (),
) -> None:
    """Write the blended pixels of a window, in place; red is (255, 0, 0), white 255."""
    grey = (ground + 0.5) - ground * goal_area + (255 - ground) * robot_area  # + 0.5: halves up
    room = np.arange(len(frames))[:, None, None]
    rows, columns = pixels[:, 0, :, None], pixels[:, 1, None, :]
    if not tints:
        frames[room, rows, columns, 0] = grey + 255 * goal_area
        frames[room, rows, columns, 1] = frames[room, rows, columns, 2] = grey
        return
    for channel in range(3):
        value = grey + 255 * goal_area if channel == 0 else grey.copy()
        for area, colour in zip(tints, distractor.COLOURS.astype(np.float64), strict=False):
            value += (colour[channel] - FLOOR) * area
        frames[room, rows, columns, channel] = value
