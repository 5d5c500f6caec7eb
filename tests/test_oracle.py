import numpy as np
import pytest

from robot_room import layouts, oracle, room


def random_rooms(count):
    generator = np.random.default_rng(3)
    goal = generator.uniform(-0.88, 0.88, (count, 2))
    return np.stack([room.sample_start(g, generator) for g in goal]), goal


def test_the_expert_attains_the_minimum_exactly():
    robot, goal = random_rooms(2000)
    best = oracle.min_steps(robot, goal)
    arrived = np.zeros(len(robot), int)
    for k in range(1, 25):
        robot = room.transition(robot, oracle.expert_action(robot, goal))
        arrived[(arrived == 0) & room.is_success(room.distance(robot, goal))] = k
    np.testing.assert_array_equal(arrived, best)


def test_no_sequence_of_actions_is_faster():
    """Brute force: with one step fewer, no reachable displacement on a fine grid ends in the goal."""
    robot, goal = random_rooms(300)
    for start, end, best in zip(robot, goal, oracle.min_steps(robot, goal), strict=True):
        reach = np.linspace(-0.1, 0.1, 201) * (best - 1)
        nearest = np.min((start[0] + reach - end[0]) ** 2) + np.min((start[1] + reach - end[1]) ** 2)
        assert nearest > 0.1**2


def test_known_values():
    goal = np.zeros((6, 2))
    robot = np.array([[0.5, 0.0], [0.4, 0.4], [0.9, 0.9], [0.51, 0.0], [0.05, 0.05], [0.5, 0.45]])
    # (0.4, 0.4): 3 steps leave (0.1, 0.1), whose norm is 0.14.
    np.testing.assert_array_equal(oracle.min_steps(robot, goal), [4, 4, 9, 5, 0, 5])
    # 0.4 − 3 · 0.1 is above 0.1 by rounding, which the tolerance of success forgives.
    assert oracle.min_steps(np.array([[0.4, 0.0]]), goal[:1])[0] == 3


@pytest.mark.parametrize("layout", [None, layouts.door(10)])
def test_a_delay_postpones_every_way_but_none_at_all(layout):
    robot, goal = np.array([[-0.6, 0.0], [-0.15, 0.0]]), np.array([[-0.1, 0.0]] * 2)
    found = oracle.min_steps(robot, goal, layout, delay=2)
    np.testing.assert_array_equal(found, [4 + 2, 0])


@pytest.mark.parametrize("layout", [None, layouts.door(10)])
def test_a_faster_robot_with_friction_takes_steps_of_its_own_length(layout):
    robot, goal = np.array([[-0.8, 0.0]]), np.array([[-0.1, 0.0]])
    speed, friction = 1.5, 0.2  # 0.12 m a step: 5 of them leave 0.1
    assert oracle.min_steps(robot, goal, layout, speed, friction)[0] == 5
    close = np.array([[-0.26, 0.0]])
    action = oracle.expert_action(close, goal, None, speed, friction)
    # Of full speed 0.15 m a step it asks for what friction leaves 0.12 of.
    np.testing.assert_allclose(action, [[1.0, 0.0]], atol=1e-6)
    near = oracle.expert_action(np.array([[-0.16, 0.0]]), goal, None, speed, friction)
    np.testing.assert_allclose(near, [[0.06 / 0.15 + 0.2, 0.0]], atol=1e-6)


LATTICE = 0.1 / 16  # m: positions, walls' edges (5 a pixel) and full speed (16) are whole numbers of it


def brute_force_steps(robot, goal, walls):
    """Breadth first over all positions of the lattice, each step 0 to 16 along x, then along y.

    Where start and goal lie on the lattice it is exact: what can be reached in k steps is a union of
    rectangles whose edges lie on it, and so does the point of a rectangle that is nearest to the goal.
    """
    ticks = np.arange(-144, 145)
    places = ticks * LATTICE
    free = np.array(
        [[room.is_clear(np.array([x, y]), 0.2, walls) for x in places] for y in places]
    )  # [y, x]
    within = (places[:, None] - goal[1]) ** 2 + (places - goal[0]) ** 2 <= 0.1**2 + 1e-10
    reached = np.zeros_like(free)
    reached[
        np.rint(robot[1] / LATTICE).astype(int) + 144, np.rint(robot[0] / LATTICE).astype(int) + 144
    ] = 1
    for steps in range(1000):
        if (reached & within).any():
            return steps
        for axis in (1, 0):
            for _ in range(16):
                grown = reached.copy()
                if axis == 1:
                    grown[:, 1:] |= reached[:, :-1]
                    grown[:, :-1] |= reached[:, 1:]
                else:
                    grown[1:] |= reached[:-1]
                    grown[:-1] |= reached[1:]
                reached = grown & free
    raise AssertionError("never")


def lattice_room(layout, generator):
    """A start and a goal on the lattice."""
    goal = room.sample_goal(None, generator, layout.mask)
    goal = np.rint(goal / LATTICE) * LATTICE
    while not room.is_clear(goal, 0.24, layout.mask):
        goal = np.rint(room.sample_goal(None, generator, layout.mask) / LATTICE) * LATTICE
    while True:
        robot = np.rint(room.sample_start(goal, generator, layout.mask) / LATTICE) * LATTICE
        if room.is_clear(robot, 0.2, layout.mask):
            return robot, goal


@pytest.mark.parametrize("number", range(12))
def test_among_walls_the_minimum_is_that_of_a_brute_force_search(number):
    generator = np.random.default_rng(number)
    layout = layouts.maze(number * 40_000_001) if number % 3 else layouts.door(4 * number)
    for _ in range(2):
        robot, goal = lattice_room(layout, generator)
        best = oracle.min_steps(robot[None], goal[None], layout)
        assert best[0] == brute_force_steps(robot, goal, layout.mask)


@pytest.mark.slow
@pytest.mark.parametrize("lattice", [False, True], ids=["anywhere", "exact contacts"])
def test_among_walls_the_expert_attains_the_minimum(lattice):
    generator = np.random.default_rng(5)
    for number in range(40):
        layout = layouts.maze(number * 13_000_027) if number % 3 else layouts.door(number)
        if lattice:
            robot, goal = lattice_room(layout, generator)
        else:
            goal = room.sample_goal(None, generator, layout.mask)
            robot = room.sample_start(goal, generator, layout.mask)
        best = oracle.min_steps(robot[None], goal[None], layout)[0]
        robot, steps = robot[None], 0
        while not room.is_success(room.distance(robot, goal)).all() and steps <= best:
            action = oracle.expert_action(robot, goal[None], layout)
            assert action.dtype == np.float32 and np.abs(action).max() <= 1
            robot, steps = room.transition(robot, action.astype(float), None, layout.walls), steps + 1
        assert steps == best


def test_a_door_beside_the_straight_line_costs_what_the_detour_is_long():
    layout = layouts.door(0)  # its door is y from −0.875 to −0.5, the wall x from 0.1875 to 0.25
    robot, goal = np.array([[0.6, 0.5]]), np.zeros((1, 2))
    assert oracle.min_steps(robot, goal)[0] == 5
    # Down to y = −0.6: 11 steps, pressed against the wall at x = 0.35. Left to x = 0.0875: 3 more, the
    # last of which slides up as well, as x comes before y. Up from −0.5 to −0.1, with x to 0: 4.
    assert oracle.min_steps(robot, goal, layout)[0] == 11 + 3 + 4


def test_without_walls_between_them_the_search_agrees_with_the_closed_form():
    layout = layouts.door(10)
    generator = np.random.default_rng(2)
    goal = np.array([[-0.4, 0.1]])
    robot = np.stack([generator.uniform(-0.9, 0.0, 60), generator.uniform(-0.9, 0.9, 60)], axis=1)
    goals = np.repeat(goal, 60, axis=0)
    np.testing.assert_array_equal(
        oracle.min_steps(robot, goals, layout), oracle.min_steps(robot, goals)
    )


def test_a_start_from_which_no_way_leads_to_the_goal_is_refused():
    inside_the_wall = np.array([[0.2, -0.8]])
    with pytest.raises(ValueError, match=r"robot: got .*allowed: a position with a path"):
        oracle.min_steps(inside_the_wall, np.zeros((1, 2)), layouts.door(30))
    goal_in_a_post = np.array([[-0.62, -0.62]])
    with pytest.raises(ValueError, match=r"robot: got .*allowed: a position with a path"):
        oracle.expert_action(np.zeros((1, 2)), goal_in_a_post, layouts.maze(12345))


@pytest.mark.parametrize("layout", [None, layouts.door(3)])
@pytest.mark.parametrize("bad", [[[np.nan, 0.0]], [0.0, 0.0], [[0.0, 0.0, 0.0]], [[np.inf, 0.0]]])
def test_what_is_no_position_is_refused(bad, layout):
    good = np.array([[0.5, 0.5]])
    for function in (oracle.min_steps, oracle.expert_action):
        with pytest.raises(ValueError, match=r"robot: got .*allowed: finite positions"):
            function(bad, good, layout)
        with pytest.raises(ValueError, match=r"goal: got .*allowed: finite positions"):
            function(good, bad, layout)
