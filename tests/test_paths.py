"""What a window shows of an agent over the room: imagined paths, a place, heat."""

import numpy as np
from test_panels import room

from robot_room import panels
from robot_room.app.watching.inspection import heat
from robot_room.app.watching.paths import CHOSEN, Paths
from robot_room.drawing import draw, to_picture
from robot_room.panels import View, layout

NOWHERE = np.zeros((0, 3, 2))


def test_the_chosen_plan_is_drawn_through_its_places():
    way = np.array([[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [np.nan, np.nan]])
    picture, _ = room(robot=(-0.8, -0.8), goal=(-0.8, 0.8))
    bare = View(picture)
    view = View(picture, overlay=Paths(NOWHERE, NOWHERE, way).draw)
    size = (640, 660)
    before, after = (to_picture(draw(each, size)).astype(int) for each in (bare, view))
    box = layout(view, size).room
    for place in ([0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.5, 0.25], [0.5, 0.5]):
        x, y = panels.to_pixels(box, np.array(place)).astype(int)
        assert after[y, x].tolist() == list(CHOSEN[:3]), place
    changed = np.argwhere((before != after).any(-1))
    lowest, highest = panels.to_pixels(box, np.array([[-0.02, 0.52], [0.52, -0.02]]))
    assert (changed >= lowest[::-1] - 2).all() and (changed <= highest[::-1] + 2).all()


def test_elites_are_stronger_than_candidates_and_weaker_than_the_chosen():
    picture, _ = room(robot=(-0.8, -0.8), goal=(-0.8, 0.8))
    lines = {y: np.array([[[-0.5, y], [0.5, y], [0.5, y]]]) for y in (0.4, 0.0, -0.4)}
    view = View(picture, overlay=Paths(lines[0.4], lines[0.0], lines[-0.4][0]).draw)
    shown = to_picture(draw(view, (640, 660))).astype(int)
    box = layout(view, (640, 660)).room
    strength = []
    for y in lines:
        column, row = panels.to_pixels(box, np.array([0.1, y])).astype(int)
        strength.append(np.abs(shown[row - 2 : row + 3, column] - 128).sum(-1).max())
    assert 0 < strength[0] < strength[1] < strength[2]


def test_where_the_robot_is_believed_to_be_is_a_ring_around_the_place():
    picture, _ = room(robot=(-0.8, -0.8), goal=(-0.8, 0.8))
    view = View(
        picture, overlay=Paths(NOWHERE, NOWHERE, np.full((3, 2), np.nan), np.array([0.3, -0.4])).draw
    )
    size = (640, 660)
    before, after = (to_picture(draw(each, size)).astype(int) for each in (View(picture), view))
    x, y = panels.to_pixels(layout(view, size).room, np.array([0.3, -0.4]))
    rows, columns = np.nonzero((before != after).any(-1))
    distance = np.hypot(columns - x, rows - y)
    assert 4 <= distance.min() and distance.max() <= 13  # with its smooth edges
    turns = np.arctan2(rows - y, columns - x)
    assert np.histogram(turns, 12, (-np.pi, np.pi))[0].min() > 5  # all around
    apart = np.abs(after[rows, columns] - CHOSEN[:3]).sum(1)
    assert apart.min() < 20 and abs(distance[apart < 60].mean() - distance.mean()) < 1


def test_heat_goes_from_black_over_red_to_white():
    colours = heat(np.array([[0.0, 1.0, 3.0, 9.0, -1.0]]), 3.0)[0].tolist()
    assert colours == [[0, 0, 0], [255, 0, 0], [255, 255, 255], [255, 255, 255], [0, 0, 0]]
