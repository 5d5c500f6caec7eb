from itertools import combinations

import numpy as np
import pytest

from robot_room import layouts, room
from robot_room.room import RoomParams


def is_spanning_tree(edges, vertices):
    group = list(range(vertices))
    for u, v in edges:
        if group[u] == group[v]:
            return False
        group = [group[u] if g == group[v] else g for g in group]
    return len(edges) == vertices - 1


def test_numbers_are_exactly_the_spanning_trees():
    """Brute force on 3 by 3: of all 495 choices of 8 of 12 edges, 192 are trees, each has a number."""
    edges = [(v, v + 1) for v in range(9) if (v + 1) % 3] + [(v, v + 3) for v in range(6)]
    trees = {frozenset(c) for c in combinations(edges, 8) if is_spanning_tree(c, 9)}
    assert {frozenset(layouts.spanning_tree(3, number)) for number in range(192)} == trees


def test_the_number_of_mazes_is_kirchhoffs():
    """A product over eigenvalues of the grid's Laplacian, without any determinant."""
    k = np.arange(5)
    waves = 2 - 2 * np.cos(np.pi * k / 5)
    eigenvalues = (waves[:, None] + waves).ravel()[1:]
    assert round(eigenvalues.prod() / 25) == layouts.MAZES
    assert is_spanning_tree(layouts.spanning_tree(5, layouts.MAZES - 1), 25)
    assert is_spanning_tree(layouts.spanning_tree(5, 0), 25)


def test_layouts_of_a_seed_are_distinct_and_no_other_seed_has_them():
    sets = []
    for seed in (0, 1, 2, 55_755):
        params = RoomParams(walls="maze", num_layouts=100, layout_seed=seed)
        sets.append({layouts.layout(params, i).mask.tobytes() for i in range(100)})
    assert [len(s) for s in sets] == [100] * 4
    assert len(set.union(*sets)) == 400
    # No two of all seeds' indices share a number: the stride permutes all mazes.
    assert np.gcd(layouts.MAZE_STRIDE, layouts.MAZES) == 1
    assert room.LAYOUT_SEEDS * room.LAYOUTS_PER_SEED <= layouts.MAZES
    assert (room.LAYOUT_SEEDS + 1) * room.LAYOUTS_PER_SEED > layouts.MAZES


@pytest.mark.parametrize("number", [0, 1, 12345678, layouts.MAZES - 1])
def test_in_a_maze_there_is_one_way_between_any_two_places(number):
    """Flood fill: one component of floor, and no wall can be walked around (the walls, with the
    room's border, are one component too)."""
    walls = np.pad(layouts.maze(number).mask, 1, constant_values=True)
    for area, start in ((~walls, (1, 1)), (walls, (0, 0))):
        reached = np.zeros_like(walls)
        reached[start] = True
        while True:
            grown = reached.copy()
            grown[1:] |= reached[:-1]
            grown[:-1] |= reached[1:]
            grown[:, 1:] |= reached[:, :-1]
            grown[:, :-1] |= reached[:, 1:]
            grown &= area
            if (grown == reached).all():
                break
            reached = grown
        assert (reached == area).all()


def test_numbers_that_no_layout_has_are_refused():
    for number in (-1, layouts.MAZES, 1.5):
        with pytest.raises(ValueError, match=r"maze: got .*allowed"):
            layouts.maze(number)
    with pytest.raises(ValueError, match=r"door: got 45, allowed"):
        layouts.door(45)


def test_the_number_of_layouts():
    rooms = RoomParams(), RoomParams(walls="door"), RoomParams(walls="maze", num_layouts=7)
    assert [layouts.count(params) for params in rooms] == [0, layouts.DOORS, 7]


def test_an_unknown_kind_of_walls_is_an_error():
    params = room.RoomParams()
    object.__setattr__(params, "walls", "spiral")
    with pytest.raises(ValueError, match="spiral"):
        layouts.layout(params, 0)


def test_every_door_is_open_and_wide_enough():
    for place in range(layouts.DOORS):
        column = layouts.door(place).mask[:, 38]
        opening = np.flatnonzero(~column)
        assert len(opening) == 12 and (np.diff(opening) == 1).all()
        assert 64 - opening.max() - 1 == 4 + place  # from the bottom
        assert not layouts.door(place).mask[:, [37, 40]].any()


def slide_in_small_steps(start, action, walls, pieces=400):
    """The same rule by brute force: along x, then along y, while a square of 0.2 m fits."""
    position = start.copy()
    for axis in (0, 1):
        for piece in range(1, pieces + 1):
            moved = position.copy()
            moved[axis] = start[axis] + 0.1 * action[axis] * piece / pieces
            if abs(moved[axis]) > 0.9 or not room.is_clear(moved, 0.2, walls):
                break
            position = moved
    return position


@pytest.mark.parametrize("layout", [layouts.door(0), layouts.door(30), layouts.maze(5_000_000)])
def test_walls_stop_the_robot_where_its_body_touches_them(layout):
    generator = np.random.default_rng(0)
    far = np.array([5.0, 5.0])
    for _ in range(300):
        start = room.sample_start(far, generator, layout.mask)
        action = generator.uniform(-1, 1, 2)
        moved = room.transition(start[None], action[None], None, layout.walls)[0]
        assert room.is_clear(moved, 0.2, layout.mask)
        expected = slide_in_small_steps(start, action, layout.mask)
        np.testing.assert_allclose(moved, expected, atol=0.1 / 400 + 1e-8)


def test_a_robot_pressed_against_a_wall_stops_at_its_face_and_slides_along_it():
    layout = layouts.door(20)  # the wall is x from 0.1875 to 0.25, its door y from −0.25 to 0.125
    robot = np.array([[0.05, 0.5]])
    for _ in range(3):
        robot = room.transition(robot, np.array([[1.0, -0.1]]), None, layout.walls)
    np.testing.assert_allclose(robot, [[0.0875, 0.47]], atol=1e-12)
    for _ in range(3):  # at y = 0.17 the body still overlaps the wall; a step later it is through
        robot = room.transition(robot, np.array([[1.0, -1.0]]), None, layout.walls)
    np.testing.assert_allclose(robot, [[0.0875, 0.17]], atol=1e-12)
    robot = room.transition(robot, np.array([[0.0, -1.5]]), None, layout.walls)
    robot = room.transition(robot, np.array([[0.0, -1.0]]), None, layout.walls)
    robot = room.transition(robot, np.array([[1.0, 0.0]]), None, layout.walls)
    np.testing.assert_allclose(robot, [[0.1875, -0.03]], atol=1e-12)


def test_a_step_never_jumps_over_a_wall():
    layout = layouts.maze(77)
    generator = np.random.default_rng(1)
    robot = np.stack([room.sample_start(np.array([5.0, 5.0]), generator, layout.mask)])
    for _ in range(3000):
        moved = room.transition(robot, generator.choice([-1.0, 1.0], (1, 2)), None, layout.walls)
        for a, b in ((robot[0], [moved[0, 0], robot[0, 1]]), ([moved[0, 0], robot[0, 1]], moved[0])):
            for t in np.linspace(0, 1, 9):
                assert room.is_clear((1 - t) * np.array(a) + t * np.array(b), 0.2, layout.mask)
        robot = moved
