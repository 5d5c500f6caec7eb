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
        assert room.terminated(params, room.is_success(room.distance(robot, goal)))[0] == (k == 4)
    assert robot[0, 0] > 0.1
    assert not room.is_success(np.array([0.100001]))[0]
    assert not room.terminated(RoomParams(terminate_on_goal=False), np.array([True]))[0]


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal", "center"),
        ("walls", "fence"),
        ("num_layouts", 0),
        ("num_layouts", 10_001),
        ("layout_seed", -1),
        ("layout_seed", 55_756),
        ("distractors", 7),
        ("distractors", 1.0),
        ("distractors", True),
        ("slip", -0.1),
        ("slip", float("nan")),
        ("slip", "0.1"),
        ("corruption", "fog"),
        ("corruption", ["gaussian"]),
        ("severity", 6),
        ("severity", None),
        ("reward", np.array(["dense", "sparse"])),
    ],
)
def test_every_parameter_has_its_range(field, value):
    base = {"walls": "maze"} if field in ("num_layouts", "layout_seed") else {}
    with pytest.raises(ValueError, match=f"{field}: got .*allowed"):
        RoomParams(**{**base, field: value})


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"num_layouts": 5}, "only with walls='maze'"),
        ({"layout_seed": 5, "walls": "door"}, "only with walls='maze'"),
        ({"corruption": "gaussian"}, "1 to 5 with corruption"),
        ({"severity": 2}, "0 without corruption"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_reason(kwargs, reason):
    with pytest.raises(ValueError, match=reason):
        RoomParams(**kwargs)


def test_noise_is_added_to_the_clipped_velocity():
    moved = room.transition(np.zeros((1, 2)), np.array([[5.0, -0.5]]), np.array([[0.25, 0.5]]))
    np.testing.assert_allclose(moved, [[0.125, 0.0]], atol=1e-15)


def test_random_goals_are_uniform_where_they_fit():
    generator = np.random.default_rng(1)
    goals = np.stack([room.sample_goal(None, generator) for _ in range(20_000)])
    assert np.abs(goals).max() <= 0.88
    np.testing.assert_allclose(goals.std(axis=0), 1.76 / np.sqrt(12), rtol=0.02)
    robot = np.array([0.5, 0.5])
    apart = np.stack([room.sample_goal(robot, generator) for _ in range(2_000)])
    assert np.linalg.norm(apart - robot, axis=1).min() >= 0.40


def test_bouncing_is_that_of_a_ball_followed_in_small_steps():
    start, limit, piece = 0.3, 1.1, 1e-3
    position, direction, expected = start, 1, []
    for _ in range(8000):
        position += direction * piece
        if position > limit or position < 0:
            position = 2 * limit - position if position > limit else -position
            direction = -direction
        expected.append(position)
    travelled = piece * np.arange(1, 8001)
    np.testing.assert_allclose(room.bounce(np.array(start), travelled, limit), expected, atol=1e-9)
