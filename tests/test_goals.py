"""Goals told by an image: the frame with the robot at the goal, and rewards between frames."""

import gymnasium as gym
import numpy as np
import pytest
from test_vector_env import KINDS, assert_same

from robot_room.env import RobotRoomEnv
from robot_room.goal_env import RobotRoomGoalEnv
from robot_room.goals import locate
from robot_room.vector_env import RobotRoomVectorEnv

ID = "RobotRoomGoalImage-v0"


@pytest.mark.parametrize(
    "kwargs", [{}, {"walls": "door"}, {"factors": "test", "walls": "maze"}], ids=str
)
@pytest.mark.parametrize("compiled", KINDS)
def test_the_goal_image_is_what_the_camera_sees_when_the_robot_is_there(compiled, kwargs):
    env = gym.make(ID, compiled=compiled, **kwargs)
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        state = env.unwrapped.get_state()
        limit = 1 - 0.1 if "factors" not in kwargs else 1 - state["factors"][0, 12] / 2
        state["robot_position"][0] = np.clip(info["goal_position"], -limit, limit)
        try:
            there = env.unwrapped.set_state(state)[0]
        except ValueError:  # a robot that is larger than the goal does not fit everywhere
            assert "factors" in kwargs
            continue
        np.testing.assert_array_equal(there["observation"], observation["desired_goal"])


@pytest.mark.parametrize("compiled", KINDS)
def test_a_robot_that_cannot_be_at_its_goal_is_shown_as_near_as_it_can_be(compiled):
    """Its side is 0.28 m, so that its centre stays 0.14 m away from the walls."""
    env = gym.make(ID, compiled=compiled, factors={"robot_size": 0.28}, goal="random")
    observation, _ = env.reset(seed=0, options={"goal_position": (0.88, -0.87)})
    there, _ = env.reset(seed=0, options={"robot_position": (0.86, -0.86)})
    np.testing.assert_array_equal(there["observation"], observation["desired_goal"])


def test_the_red_square_is_not_to_be_seen_and_the_picture_for_people_shows_it():
    env = gym.make(ID, render_mode="rgb_array", masks=True)
    observation, info = env.reset(seed=0)
    for frame in observation.values():
        assert (frame.max(axis=-1) == frame.min(axis=-1)).all()  # grey and white
    assert info["masks"]["goal"].sum() == 0
    assert ((env.render() == [255, 0, 0]).all(axis=-1)).any()


def test_in_other_rooms_the_goal_image_is_in_info_on_request():
    plain = gym.make("RobotRoomDistractors-v0", goal="random", corruption="gaussian", severity=3)
    env = gym.make(
        "RobotRoomDistractors-v0", goal="random", corruption="gaussian", severity=3, goal_image=True
    )
    _, info = env.reset(seed=5)
    image, expected = info.pop("goal_image"), plain.reset(seed=5)[1]
    assert_same(info, expected)
    room = gym.make("RobotRoomDistractors-v0", goal="random").unwrapped
    room.reset(seed=5)
    state = room.get_state()
    state["robot_position"] = state["goal_position"].copy()
    np.testing.assert_array_equal(room.set_state(state)[0], image)  # a clean camera
    np.testing.assert_array_equal(env.step([1, 1])[4]["goal_image"], image)


def test_a_frame_tells_the_position_to_less_than_a_millimetre():
    envs = RobotRoomVectorEnv(200, observation="goal_image", goal="random")
    observation, info = envs.reset(seed=0)
    assert np.abs(locate(observation["observation"]) - info["robot_position"]).max() < 1e-3
    assert np.abs(locate(observation["desired_goal"]) - info["goal_position"]).max() < 1e-3
    channels_first = observation["observation"].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(locate(channels_first), locate(observation["observation"]))


@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_compute_reward_agrees_with_the_rewards_of_steps(reward):
    env = gym.make(ID, reward=reward, walls="door")
    _, info = env.reset(seed=1)
    seen, infos, rewards = [], [], []
    for _ in range(60):
        observation, given, terminated, _, info = env.step(env.unwrapped.expert_action())
        seen.append(observation)
        infos.append(info)
        rewards.append(given)
        if terminated:
            break
    assert terminated
    computed = env.unwrapped.compute_reward(
        np.stack([o["achieved_goal"] for o in seen]), np.stack([o["desired_goal"] for o in seen]), {}
    )
    assert computed == pytest.approx(rewards, abs=2e-3)
    for frame, step, given in zip(seen, infos, rewards, strict=True):
        goal = frame["achieved_goal"], frame["desired_goal"]
        assert env.unwrapped.compute_reward(*goal, step) == given
        assert env.unwrapped.compute_reward(*goal, np.array([step], dtype=object)) == given
        assert env.unwrapped.compute_reward(*goal, None) == pytest.approx(given, abs=2e-3)
    both = [np.stack([o[name] for o in seen[:2]]) for name in ("achieved_goal", "desired_goal")]
    wrong = infos[1] | {"robot_position": infos[1]["robot_position"] + 0.5}
    first, second = env.unwrapped.compute_reward(*both, [infos[0], wrong])
    assert first == rewards[0] and second == pytest.approx(rewards[1], abs=2e-3)  # as the frame says
    relabelled = seen[-1]["achieved_goal"], seen[5]["achieved_goal"]
    distance = np.linalg.norm(infos[-1]["robot_position"] - infos[5]["robot_position"])
    expected = -distance if reward == "dense" else float(distance <= 0.1)
    assert env.unwrapped.compute_reward(*relabelled, infos[-1]) == pytest.approx(expected, abs=2e-3)
    one = env.unwrapped.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
    assert isinstance(one, float) and one == pytest.approx(rewards[-1], abs=2e-3)


def test_bad_goals_are_refused():
    env = RobotRoomGoalEnv(observation="goal_image")
    good = env.reset(seed=0)[0]["observation"]
    empty, white = np.full_like(good, 128), np.full_like(good, 255)
    two = np.maximum(good, np.roll(good, 20, axis=1))  # robots
    part = good.copy()
    first, second = np.argwhere((good == 255).all(-1))[:2]
    part[tuple(first)], part[tuple(second)] = 128, 192  # one and a half of its pixels are missing
    for bad in (part, good.astype(float), good[:10], empty, white, two, "here", None):
        with pytest.raises(ValueError, match=r"goal: got .*allowed"):
            env.compute_reward(good, bad, {})
    for kwargs in ({"distractors": 1}, {"factors": {}}, {"corruption": "blackout", "severity": 1}):
        other = RobotRoomGoalEnv(observation="goal_image", **kwargs)
        with pytest.raises(ValueError, match=r"compute_reward: got .*allowed"):
            other.compute_reward(good, good, {})
    with pytest.raises(ValueError, match=r"goal_image: got True .*allowed"):
        RobotRoomEnv(observation="state", goal_image=True)
    with pytest.raises(ValueError, match=r"goal_image: got 1, allowed"):
        RobotRoomVectorEnv(goal_image=1)
    with pytest.raises(ValueError, match=r"buffer: got .*allowed"):
        RobotRoomVectorEnv(1, observation="goal_image").set_buffer(np.zeros((1, 64, 64, 3), np.uint8))
