import numpy as np

from robot_room import oracle, room


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
