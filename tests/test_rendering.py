from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from robot_room import layouts, rendering
from robot_room.distractors import COLOURS
from robot_room.rendering import Scene

FLOOR, WALL, RED, WHITE = (128,) * 3, (48,) * 3, (255, 0, 0), (255, 255, 255)


def scene(robot, goal=(0.0, 0.0), distractors=None, walls=None):
    """One room."""
    moving = None if distractors is None else np.array([distractors], float)
    return Scene(
        np.array([robot], float),
        np.array([goal], float),
        moving,
        None if walls is None else walls[None],
    )


def cut_pixels(size, robot, goal, distractors=()):
    """Every pixel cut at all edges, in rational numbers: (row, column, area, what is on top)."""
    scale = Fraction(size, 2)

    def rectangle(centre, side):
        x, y, half = Fraction(centre[0]), Fraction(centre[1]), Fraction(side) / 2
        return (
            (x - half + 1) * scale,
            (x + half + 1) * scale,
            (1 - y - half) * scale,
            (1 - y + half) * scale,
        )

    things = [(rectangle(robot, 0.20), "robot"), (rectangle(goal, 0.24), "goal")]  # the first on top
    things += [(rectangle(centre, 0.20), i) for i, centre in enumerate(distractors)]
    for row in range(size):
        for column in range(size):
            xs = {Fraction(column), Fraction(column + 1)}
            ys = {Fraction(row), Fraction(row + 1)}
            for (left, right, top, bottom), _ in things:
                xs |= {x for x in (left, right) if column < x < column + 1}
                ys |= {y for y in (top, bottom) if row < y < row + 1}
            for x0, x1 in pairwise(sorted(xs)):
                for y0, y1 in pairwise(sorted(ys)):
                    x, y, what = (x0 + x1) / 2, (y0 + y1) / 2, "floor"
                    for (left, right, top, bottom), name in things:
                        if left < x < right and top < y < bottom:
                            what = name
                            break
                    yield row, column, (x1 - x0) * (y1 - y0), what


def exact_frame(size, robot, goal, distractors=(), walls=None):
    """The average colour of every pixel in rational numbers."""
    paint = {"robot": WHITE, "goal": RED, "floor": FLOOR}
    paint |= {i: colour.tolist() for i, colour in enumerate(COLOURS)}
    frame = np.zeros((size, size, 3), object)
    for row, column, area, what in cut_pixels(size, robot, goal, distractors):
        colour = paint[what]
        if walls is not None and walls[row, column] and what not in ("robot", "goal"):
            colour = WALL
        for c in range(3):
            frame[row, column, c] += area * colour[c]
    return frame


def assert_rounded_half_up(drawn, exact):
    rounded = np.vectorize(lambda v: int(v + Fraction(1, 2)))(exact)
    # Where the average is half a level to within rounding of floats, either neighbour is right.
    tie = np.vectorize(lambda v: abs((v + Fraction(1, 2)) % 1) < Fraction(1, 10**9))(exact)
    assert not ((drawn != rounded) & ~tie).any()


@pytest.mark.parametrize(
    ("robot", "goal"),
    [
        ((0.5, 0.5), (0.0, 0.0)),
        ((0.01234, -0.0567), (0.0, 0.0)),  # over the goal, inside its edges on one side
        ((0.21, 0.1999), (0.0, 0.0)),  # beside it, sharing pixels with it
        ((-0.9, 0.9), (0.33, -0.71)),  # in a corner
        ((0.9, -0.9), (0.88, -0.88)),  # over the goal in a corner
        ((0.1 / 3, 0.7777), (0.05, 0.7)),
    ],
)
def test_pixels_are_area_averages_rounded_half_up(robot, goal):
    drawn = rendering.render(scene(robot, goal))[0]
    assert_rounded_half_up(drawn, exact_frame(64, robot, goal))


@pytest.mark.parametrize(
    ("robot", "goal", "distractors"),
    [
        ((0.5, 0.5), (0.0, 0.0), [(-0.512, -0.6), (0.3, 0.011), (0.77, 0.6)]),
        ((0.07, 0.05), (0.0, 0.0), [(-0.1, -0.6), (-0.08, 0.03), (0.0, 0.6)]),  # beneath both
        ((0.23, 0.11), (0.0, 0.0), [(0.0, -0.43), (0.177, -0.03), (0.2, 0.6)]),  # sharing pixels
        ((-0.9, 0.9), (-0.88, 0.84), [(-0.9, -0.9), (0.9, 0.1), (-0.82, 0.85)]),  # in corners
    ],
)
def test_what_is_beneath_shows_by_its_visible_area(robot, goal, distractors):
    drawn = rendering.render(scene(robot, goal, distractors))[0]
    assert_rounded_half_up(drawn, exact_frame(64, robot, goal, distractors))


def test_walls_hide_distractors_and_border_on_the_robot():
    walls = layouts.door(20).mask
    robot, goal = (0.0875, 0.6), (0.0, 0.0)  # the robot touches the wall, whose face is at 0.1875
    distractors = [(0.21, -0.63), (0.1, 0.04), (0.25, 0.58)]
    drawn = rendering.render(scene(robot, goal, distractors, walls))[0]
    assert (drawn[walls] == WALL).all()
    assert_rounded_half_up(drawn, exact_frame(64, robot, goal, distractors, walls))


def test_masks_are_the_visible_areas():
    walls = layouts.door(20).mask
    robot, goal = (0.05, 0.07), (0.0, 0.0)
    distractors = [(0.21, -0.63), (-0.1, 0.04), (0.25, 0.58)]
    masks = rendering.masks(scene(robot, goal, distractors, walls))
    expected = {name: np.zeros((64, 64)) for name in ("robot", "goal", "distractors", "walls")}
    for row, column, area, what in cut_pixels(64, robot, goal, distractors):
        name = "distractors" if isinstance(what, int) else what
        if walls[row, column]:
            name = "walls"
        if name != "floor":
            expected[name][row, column] += float(area)
    for name, mask in masks.items():
        assert mask.dtype == np.float32 and mask.shape == (1, 64, 64)
        np.testing.assert_allclose(mask[0], expected[name], atol=1e-6)
    assert masks["robot"].sum() == pytest.approx((0.20 * 32) ** 2, rel=1e-6)


def test_frames_have_the_right_way_up_and_the_right_colours():
    frame = rendering.render(scene((0.5, 0.5)))[0]
    assert tuple(frame[16, 48]) == WHITE  # x = +0.5 is to the right, y = +0.5 is up
    assert tuple(frame[32, 32]) == RED
    assert tuple(frame[48, 16]) == FLOOR


def test_a_frame_tells_the_position_to_a_small_fraction_of_a_pixel():
    a, b = rendering.render(scene((0.5, 0.5))), rendering.render(scene((0.501, 0.5)))  # 1/31 pixel
    assert (a != b).any()


def test_a_batch_is_its_rooms_one_by_one():
    generator = np.random.default_rng(0)
    robot, goal = generator.uniform(-0.9, 0.9, (40, 2)), generator.uniform(-0.88, 0.88, (40, 2))
    moving = np.stack([generator.uniform(-0.9, 0.9, (40, 2)), generator.uniform(0, 0.1, (40, 2))], 1)
    walls = np.stack([layouts.maze(number * 1000).mask for number in range(40)])
    together = rendering.render(Scene(robot, goal, moving, walls))
    for i in range(40):
        alone = Scene(*(part[i : i + 1] for part in (robot, goal, moving, walls)))
        np.testing.assert_array_equal(together[i], rendering.render(alone)[0])


def test_a_larger_picture_averages_to_the_observation():
    for one in (scene((0.123, -0.05)), scene((0.5, -0.5), (0, 0), [(0.2, 0.3)], layouts.door(3).mask)):
        small = rendering.render(one).astype(float)[0]
        large = rendering.render(one, 512).astype(float)[0]
        means = large.reshape(64, 8, 64, 8, 3).mean((1, 3))
        assert np.abs(means - small).max() <= 1.0  # each was rounded
