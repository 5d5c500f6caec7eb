from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from robot_room import rendering

FLOOR, RED, WHITE = (128, 128, 128), (255, 0, 0), (255, 255, 255)


def exact_frame(robot, goal, size):
    """The average colour of every pixel in rational numbers, by cutting each pixel at all edges."""
    scale = Fraction(size, 2)

    def rectangle(centre, side):
        x, y, half = Fraction(centre[0]), Fraction(centre[1]), Fraction(side) / 2
        return (
            (x - half + 1) * scale,
            (x + half + 1) * scale,
            (1 - y - half) * scale,
            (1 - y + half) * scale,
        )

    scene = [(rectangle(robot, 0.20), WHITE), (rectangle(goal, 0.24), RED)]  # the first one is on top
    frame = np.zeros((size, size, 3), object)
    for row in range(size):
        for column in range(size):
            xs = {Fraction(column), Fraction(column + 1)}
            ys = {Fraction(row), Fraction(row + 1)}
            for (left, right, top, bottom), _ in scene:
                xs |= {x for x in (left, right) if column < x < column + 1}
                ys |= {y for y in (top, bottom) if row < y < row + 1}
            xs, ys = sorted(xs), sorted(ys)
            for x0, x1 in pairwise(xs):
                for y0, y1 in pairwise(ys):
                    x, y, colour = (x0 + x1) / 2, (y0 + y1) / 2, FLOOR
                    for (left, right, top, bottom), paint in scene:
                        if left < x < right and top < y < bottom:
                            colour = paint
                            break
                    for c in range(3):
                        frame[row, column, c] += (x1 - x0) * (y1 - y0) * colour[c]
    return frame


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
    drawn = rendering.render(np.array([robot]), np.array([goal]))[0]
    exact = exact_frame(robot, goal, 64)
    rounded = np.vectorize(lambda v: int(v + Fraction(1, 2)))(exact)
    # Where the average is half a level to within rounding of floats, either neighbour is right.
    tie = np.vectorize(lambda v: abs((v + Fraction(1, 2)) % 1) < Fraction(1, 10**9))(exact)
    assert not ((drawn != rounded) & ~tie).any()


def test_frames_have_the_right_way_up_and_the_right_colours():
    frame = rendering.render(np.array([[0.5, 0.5]]), np.zeros((1, 2)))[0]
    assert tuple(frame[16, 48]) == WHITE  # x = +0.5 is to the right, y = +0.5 is up
    assert tuple(frame[32, 32]) == RED
    assert tuple(frame[48, 16]) == FLOOR


def test_a_frame_tells_the_position_to_a_small_fraction_of_a_pixel():
    a = rendering.render(np.array([[0.5, 0.5]]), np.zeros((1, 2)))
    b = rendering.render(np.array([[0.501, 0.5]]), np.zeros((1, 2)))  # 1/31 of a pixel
    assert (a != b).any()


def test_a_batch_is_its_rooms_one_by_one():
    generator = np.random.default_rng(0)
    robot, goal = generator.uniform(-0.9, 0.9, (40, 2)), generator.uniform(-0.88, 0.88, (40, 2))
    together = rendering.render(robot, goal)
    for i in range(40):
        np.testing.assert_array_equal(
            together[i], rendering.render(robot[i : i + 1], goal[i : i + 1])[0]
        )


def test_a_larger_picture_averages_to_the_observation():
    robot, goal = np.array([[0.123, -0.05]]), np.zeros((1, 2))
    small = rendering.render(robot, goal).astype(float)[0]
    large = rendering.render(robot, goal, 512).astype(float)[0]
    means = large.reshape(64, 8, 64, 8, 3).mean((1, 3))
    assert np.abs(means - small).max() <= 1.0  # each was rounded
