"""Frames of rooms whose factors vary: other colours, shapes, textures, light and cameras.

A camera that is shifted and rotated sees the room point (x, y) at

    X = cos θ · x − sin θ · y + s_x,    Y = sin θ · x + cos θ · y + s_y.

Every pixel is traced back to the room. There the floor has its texture; outside the room is wall;
the goal lies on top; and everything is lit by gain · (1 + g_x · x + g_y · y), up to white. This is the
canvas, which stays the same during an episode. What moves is blended over it, c · colour +
(1 − c) · canvas, where the coverage c of a shape falls from 1 to 0 over one pixel about its edge. For
an upright square this is exact area coverage, as in `rendering`. A blur of b pixels widens that edge
to 1 + b, and filters the canvas with the weights (k, 1 − 2k, k) along each axis, where
k = ((1 + b)² − 1) / 24 gives the same variance. Values are rounded to uint8, halves up. There are only
sums, products and square roots, in a fixed order, and the compiled loops give the same bits.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_room import distractors as distractor
from robot_room.factors import PLACES, SHAPES
from robot_room.randomness import FLOOR_NOISE, Keys, uniforms
from robot_room.rendering import FRAME_SIZE, Frames, Scene
from robot_room.room import HALF_WIDTH, Float

Single = NDArray[np.float32]

# Distance to a slanted side over what is measured along the axes.
DIAMOND, TRIANGLE = math.sqrt(0.5), math.sqrt(0.2)
CHECKER = 0.25  # m, side of a field
NOISE_CELLS = 16  # cells of the noise field a side
REACH = 7  # pixels at FRAME_SIZE: nothing that moves extends farther from its centre along an axis


class Look(NamedTuple):
    """How N rooms look; constant during an episode."""

    numbers: Float  # (N, NUMBERS), see the columns below
    colour: Single  # (N, S, S, 3), the canvas, 0 to 255
    light: Single  # (N, S, S)
    open: Single  # (N, S, S): how much of a pixel is floor, where distractors show


# Columns of `Look.numbers`. Camera and robot; a colour is three columns.
COS, SIN, SHIFT_X, SHIFT_Y, EDGE, HALF, SHAPE, ROBOT_RED = range(8)
# What the canvas is painted from: the goal's place, half its side, its shape; light; floor; blur.
FLOOR_RED, WALL_RED, GOAL_RED = 10, 13, 16
GOAL_X, GOAL_Y, GOAL_HALF, GOAL_SHAPE, GAIN, LIGHT_X, LIGHT_Y, TEXTURE, CONTRAST, WEIGHT = range(19, 29)
NUMBERS = 29


def _order() -> list[int]:
    """For each column the number that it is computed from, in the vector of factors."""
    names = {
        **{SHIFT_X: "camera_shift", EDGE: "camera_blur", HALF: "robot_size", SHAPE: "robot_shape"},
        **{ROBOT_RED: "robot_colour", FLOOR_RED: "floor_colour", WALL_RED: "wall_colour"},
        **{GOAL_RED: "goal_colour", GOAL_HALF: "goal_size", GOAL_SHAPE: "goal_shape"},
        **{GAIN: "light_gain", LIGHT_X: "light_gradient", TEXTURE: "background"},
        **{CONTRAST: "background_contrast", COS: "camera_rotation", SIN: "camera_rotation"},
    }
    order = [0] * NUMBERS
    for column, name in names.items():
        for i, place in enumerate(range(PLACES[name].start, PLACES[name].stop)):
            order[column + i] = place
    return order


_ORDER = _order()


def blank(count: int, size: int = FRAME_SIZE) -> Look:
    """A `Look` of N rooms to paint on."""
    shape = count, size, size
    arrays = ((*shape, 3), shape, shape)
    return Look(np.zeros((count, NUMBERS)), *(np.zeros(shape, np.float32) for shape in arrays))


def numbers(values: Float, goal: Float, size: int = FRAME_SIZE) -> Float:
    """The numbers of a `Look`, (N, NUMBERS).

    Args:
        values: the factors, (N, factors.COUNT).
        goal: (N, 2), metres.
        size: side of the frames in pixels; a blur needs FRAME_SIZE.
    """
    found = values[:, _ORDER]
    angle = found[:, COS] * (np.pi / 180)
    # Rounded to twelve decimals, because the last bits of a sine differ between machines.
    for column, wave in ((COS, np.cos), (SIN, np.sin)):
        found[:, column] = np.rint(wave(angle) * 1e12) / 1e12
    found[:, SHIFT_X : SHIFT_Y + 1] *= 2 * HALF_WIDTH / FRAME_SIZE
    width = 1 + found[:, EDGE]  # pixels
    found[:, WEIGHT] = (width * width - 1) / 24
    found[:, EDGE] = size / (2 * HALF_WIDTH) / width
    found[:, HALF] /= 2
    found[:, GOAL_X : GOAL_Y + 1] = goal
    found[:, GOAL_HALF] /= 2
    return found


def paint(seen: Look, key: Keys, walls: NDArray[np.bool_] | None = None) -> None:
    """Paint the canvas of N rooms from their numbers.

    Args:
        seen: its other arrays are written.
        key: (N,), which seeds the noise on the floor.
        walls: (N, 64, 64), row 0 at the top.
    """
    size = seen.light.shape[1]
    pixel = np.arange(size)
    x, y = _traced(seen.numbers, pixel, pixel, size)
    columns = seen.numbers[:, None, None]
    wall = (np.abs(x) > HALF_WIDTH) | (np.abs(y) > HALF_WIDTH)
    if walls is not None:
        row, column = (_cells(part, walls.shape[1]) for part in (-y, x))
        wall |= walls[np.arange(len(wall))[:, None, None], row, column]
    floor, concrete, red = (columns[..., c : c + 3] for c in (FLOOR_RED, WALL_RED, GOAL_RED))
    added = columns[..., CONTRAST] * _texture(columns[..., TEXTURE], key, x, y)
    colour = np.clip(floor + added[..., None], 0, 255)
    colour = np.where(wall[..., None], concrete, colour)
    covered = _goal(seen.numbers, x, y, size)
    colour = colour + covered[..., None] * (red - colour)
    weight = columns[..., WEIGHT, None]
    colour = _filtered(_filtered(colour, weight, 1), weight, 2)
    light = columns[..., GAIN] * (1 + columns[..., LIGHT_X] * x + columns[..., LIGHT_Y] * y)
    seen.colour[:] = np.minimum(light[..., None] * colour, 255)
    seen.light[:] = light
    seen.open[:] = (1 - covered) * ~wall


def background(seen: Look) -> Frames:
    """The canvas as frames, (N, S, S, 3)."""
    return (seen.colour.astype(np.float64) + 0.5).astype(np.uint8)


def draw(frames: Frames, seen: Look, scene: Scene) -> None:
    """Draw robots and distractors, in place, on frames from `background`."""
    size = frames.shape[1]
    room = np.arange(len(frames))[:, None, None]
    moving = np.empty((len(frames), 0, 2)) if scene.distractors is None else scene.distractors
    for centre in [*moving.swapaxes(0, 1), scene.robot]:  # the robot's window comes last
        rows, columns = _window(seen.numbers, centre, size)
        x, y = _traced(seen.numbers, columns, rows, size)
        here = room, rows[:, :, None], columns[:, None, :]
        light, floor = seen.light[here].astype(np.float64), seen.open[here].astype(np.float64)
        colour = seen.colour[here].astype(np.float64)
        for place, paint in zip(moving.swapaxes(0, 1), distractor.COLOURS, strict=False):
            area = floor * _square(seen, place, x, y)
            colour = _over(colour, area, light, paint.astype(np.float64)[None, None, None])
        area = _robot(seen, scene.robot, x, y)
        colour = _over(colour, area, light, seen.numbers[:, None, None, ROBOT_RED : ROBOT_RED + 3])
        frames[here] = (colour + 0.5).astype(np.uint8)


def render(values: Float, key: Keys, scene: Scene, size: int = FRAME_SIZE) -> Frames:
    """Render the rooms as they are, without the camera's factors, (N, size, size, 3) uint8."""
    values = values.copy()
    for name in ("camera_shift", "camera_rotation", "camera_blur"):
        values[:, PLACES[name]] = 0.0
    seen = blank(len(values), size)
    seen.numbers[:] = numbers(values, scene.goal, size)
    paint(seen, key, scene.walls)
    frames = background(seen)
    draw(frames, seen, scene)
    return frames


def masks(seen: Look, scene: Scene) -> dict[str, Single]:
    """Fraction of each pixel visibly covered by each class, (N, 64, 64) in [0, 1].

    The remainder is floor.
    """
    pixel = np.arange(FRAME_SIZE)
    x, y = _traced(seen.numbers, pixel, pixel, FRAME_SIZE)
    robot, goal = _robot(seen, scene.robot, x, y), _goal(seen.numbers, x, y, FRAME_SIZE)
    floor = seen.open.astype(np.float64)
    moving = np.zeros_like(robot)
    if scene.distractors is not None:
        for place in scene.distractors.swapaxes(0, 1):
            moving = moving + (1 - moving) * _square(seen, place, x, y)
    shares = {
        "robot": robot,
        "goal": goal * (1 - robot),
        "distractors": moving * floor * (1 - robot),
        "walls": np.maximum(1 - goal - floor, 0) * (1 - robot),
    }
    return {name: share.astype(np.float32) for name, share in shares.items()}


def _cells(coordinate: Float, count: int) -> NDArray[np.int64]:
    """Cell of a coordinate in metres, of `count` from −HALF_WIDTH on."""
    cell = np.floor((coordinate + HALF_WIDTH) * (count / (2 * HALF_WIDTH))).astype(np.int64)
    return np.clip(cell, 0, count - 1)


def _texture(kind: Float, key: Keys, x: Float, y: Float) -> Float:
    """The pattern of each room's background, (N, S, S), from −1 to 1; `kind` is (N, 1, 1)."""
    fields = np.floor(x / CHECKER) + np.floor(y / CHECKER)
    checker = np.where(np.mod(fields, 2) == 0, 1.0, -1.0)
    drawn = uniforms(key, np.zeros(len(key), np.int64), FLOOR_NOISE, NOISE_CELLS * NOISE_CELLS)
    drawn = 2 * drawn.reshape(-1, NOISE_CELLS, NOISE_CELLS) - 1
    noise = drawn[np.arange(len(x))[:, None, None], _cells(y, NOISE_CELLS), _cells(x, NOISE_CELLS)]
    return np.select([kind == 1, kind == 2, kind == 3], [checker, noise, (x + y) / 2], 0.0)


def _goal(numbers: Float, x: Float, y: Float, size: int) -> Float:
    """Coverage of the goals; the blur comes later."""
    edge = np.full(len(numbers), size / (2 * HALF_WIDTH))
    dx, dy = x - numbers[:, GOAL_X, None, None], y - numbers[:, GOAL_Y, None, None]
    return _coverage(numbers[:, GOAL_SHAPE], numbers[:, GOAL_HALF], edge, dx, dy)


def _filtered(colour: Float, weight: Float, axis: int) -> Float:
    """Blur along an axis with the weights (k, 1 − 2k, k); the border is repeated."""
    padded = np.concatenate([colour.take([0], axis), colour, colour.take([-1], axis)], axis)
    size = colour.shape[axis]
    before, after = (padded.take(range(i, i + size), axis) for i in (0, 2))
    return (1 - 2 * weight) * colour + weight * (before + after)


def _traced(
    numbers: Float, columns: NDArray[np.int64], rows: NDArray[np.int64], size: int
) -> tuple[Float, Float]:
    """Room coordinates x and y of pixel centres, (N, W, W) each; pixels are (W,) or (N, W)."""
    scale = size / (2 * HALF_WIDTH)
    across = ((columns + 0.5) / scale - HALF_WIDTH) - numbers[:, SHIFT_X, None]
    up = (HALF_WIDTH - (rows + 0.5) / scale) - numbers[:, SHIFT_Y, None]
    cos, sin = numbers[:, COS, None, None], numbers[:, SIN, None, None]
    across, up = across[:, None, :], up[:, :, None]
    return cos * across + sin * up, cos * up - sin * across


def _window(numbers: Float, centre: Float, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, (N, W) each, that a shape at `centre` can touch."""
    scale = size / (2 * HALF_WIDTH)
    cos, sin = numbers[:, COS], numbers[:, SIN]
    across = cos * centre[:, 0] - sin * centre[:, 1] + numbers[:, SHIFT_X]
    up = sin * centre[:, 0] + cos * centre[:, 1] + numbers[:, SHIFT_Y]
    reach = REACH * size // FRAME_SIZE
    found = []
    for middle in ((HALF_WIDTH - up) * scale, (across + HALF_WIDTH) * scale):
        first = np.clip(np.floor(middle).astype(np.int64) - reach, 0, size - 2 * reach)
        found.append(first[:, None] + np.arange(2 * reach))
    return found[0], found[1]


def _over(colour: Float, area: Float, light: Float, paint: Float) -> Float:
    """Blend a lit paint over colours (N, W, W, 3)."""
    lit = np.minimum(light[..., None] * paint, 255)
    return colour + area[..., None] * (lit - colour)


def _robot(seen: Look, robot: Float, x: Float, y: Float) -> Float:
    numbers = seen.numbers
    shape, half, edge = (numbers[:, column] for column in (SHAPE, HALF, EDGE))
    return _coverage(shape, half, edge, x - robot[:, 0, None, None], y - robot[:, 1, None, None])


def _square(seen: Look, centre: Float, x: Float, y: Float) -> Float:
    """Coverage of a distractor."""
    dx, dy = np.abs(x - centre[:, 0, None, None]), np.abs(y - centre[:, 1, None, None])
    edge = seen.numbers[:, EDGE, None, None]
    return _ramp((distractor.SIDE / 2 - dx) * edge) * _ramp((distractor.SIDE / 2 - dy) * edge)


def _coverage(shape: Float, half: Float, edge: Float, dx: Float, dy: Float) -> Float:
    """Coverage of a shape by each pixel, (N, W, W), given their offsets from its centre in metres.

    Args:
        shape: (N,), index in `SHAPES`.
        half: (N,), half the side of the square around it, metres.
        edge: (N,), one over the width of its edge, 1/m.
        dx: (N, W, W), to the right.
        dy: (N, W, W), up.
    """
    half, edge = half[:, None, None], edge[:, None, None]
    covered = np.empty_like(dx)
    for kind in np.unique(shape).astype(int).tolist():
        some = shape == kind
        x, y, h, e = dx[some], dy[some], half[some], edge[some]
        # Depth within the square around the shape, beyond whose edge no sharp corner is drawn.
        box = (h - np.maximum(np.abs(x), np.abs(y))) * e
        match SHAPES[kind]:
            case "square":
                area = _ramp((h - np.abs(x)) * e) * _ramp((h - np.abs(y)) * e)
            case "disc":
                area = _ramp((h - np.sqrt(x * x + y * y)) * e)
            case "diamond":
                area = _ramp(np.minimum(box, (h - np.abs(x) - np.abs(y)) * (e * DIAMOND)))
            case _:  # triangle, its tip up
                area = _ramp(np.minimum(box, (h - y - 2 * np.abs(x)) * (e * TRIANGLE)))
        covered[some] = area
    return covered


def _ramp(depth: Float) -> Float:
    """From 0 to 1 over the width of an edge; `depth` is in units of it, positive inside."""
    return np.minimum(np.maximum(depth + 0.5, 0.0), 1.0)
