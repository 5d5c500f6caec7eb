import numpy as np
import pytest

from robot_room import room
from robot_room.room import RoomParams


def test_a_step_moves_by_a_tenth_of_a_metre_at_most():
    robot = np.zeros((3, 2))
    action = np.array([[1.0, -1.0], [7.0, -0.5], [0.25, 0.0]])
    moved = room.transition(robot, action)
    np.testing.assert_allclose(moved, [[0.1, -0.1], [0.1, -0.05], [0.025, 0.0]], atol=1e-15)


def test_walls_keep_the_whole_body_inside():
    robot = np.array([[0.85, -0.85]])
    for _ in range(5):
        robot = room.transition(robot, np.array([[1.0, -1.0]]))
    np.testing.assert_array_equal(robot, [[0.9, -0.9]])  # 1 m less half of the 0.20 m side
    back = room.transition(robot, np.array([[-1.0, 0.0]]))
    np.testing.assert_allclose(back, [[0.8, -0.9]])


def test_a_batch_is_its_rooms_one_by_one():
    generator = np.random.default_rng(0)
    robot, action = generator.uniform(-0.9, 0.9, (50, 2)), generator.uniform(-2, 2, (50, 2))
    together = room.transition(robot, action)
    for i in range(50):
        np.testing.assert_array_equal(
            together[i : i + 1], room.transition(robot[i : i + 1], action[i : i + 1])
        )


def test_reward_is_minus_the_distance_or_one_on_arrival():
    distance = np.array([0.0, 0.05, 0.1, 0.1001, 1.2])
    np.testing.assert_array_equal(room.reward(RoomParams(), distance), -distance)
    np.testing.assert_array_equal(room.reward(RoomParams(reward="sparse"), distance), [1, 1, 1, 0, 0])


def test_termination_at_the_boundary_is_not_decided_by_rounding():
    params = RoomParams()
    robot, goal = np.array([[0.5, 0.0]]), np.zeros((1, 2))
    for k in range(1, 5):  # 0.5 − 4 · 0.1 is 0.1, but 0.10000000000000003 in floating point
        robot = room.transition(robot, np.array([[-1.0, 0.0]]))
        assert room.terminated(params, room.distance(robot, goal))[0] == (k == 4)
    assert robot[0, 0] > 0.1
    assert not room.terminated(params, np.array([0.100001]))[0]
    assert not room.terminated(RoomParams(terminate_on_goal=False), np.array([0.0]))[0]


def test_starts_are_uniform_outside_the_circle_around_the_goal():
    generator = np.random.default_rng(1)
    goal = np.array([0.3, -0.2])
    starts = np.stack([room.sample_start(goal, generator) for _ in range(20_000)])
    offsets = np.linalg.norm(starts - goal, axis=1)
    assert offsets.min() >= 0.40
    assert np.abs(starts).max() <= 0.9
    # Area of the ring 0.4 to 0.6 m, all of it inside the room, over the free area.
    expected = np.pi * (0.6**2 - 0.4**2) / (1.8**2 - np.pi * 0.4**2)
    assert (offsets < 0.6).mean() == pytest.approx(expected, abs=0.012)  # four standard errors


@pytest.mark.parametrize("field", [{"reward": "dance"}, {"reward": None}, {"terminate_on_goal": "no"}])
def test_a_wrong_parameter_is_named_with_what_is_allowed(field):
    with pytest.raises(ValueError, match=f"{next(iter(field))}: got .*allowed"):
        RoomParams(**field)
