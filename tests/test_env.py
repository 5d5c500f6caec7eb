import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env


@pytest.fixture
def env():
    env = gym.make("RobotRoom-v0")
    yield env
    env.close()


@pytest.mark.parametrize("kwargs", [{}, {"reward": "sparse"}, {"terminate_on_goal": False}])
def test_gymnasiums_checker_finds_nothing(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("RobotRoom-v0", render_mode="rgb_array", **kwargs).unwrapped)


def test_a_seed_determines_the_rollout(env):
    def rollout():
        observation, info = env.reset(seed=42)
        env.action_space.seed(42)
        out = [observation]
        for _ in range(150):
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            out += [observation, reward, terminated, truncated, info["robot_position"]]
            if terminated or truncated:
                out.append(env.reset()[0])
        return out

    for a, b in zip(rollout(), rollout(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_seeds_give_other_starts(env):
    starts = [env.reset(seed=seed)[1]["robot_position"] for seed in range(20)]
    assert len({tuple(start) for start in starts}) == 20


def test_options_put_the_room_in_an_exact_state(env):
    options = {"robot_position": (0.123, -0.456), "goal_position": (-0.5, 0.25)}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_array_equal(info["robot_position"], [0.123, -0.456])
    np.testing.assert_array_equal(info["goal_position"], [-0.5, 0.25])
    assert info["distance"] == pytest.approx(np.hypot(0.623, 0.706))
    again, _ = env.reset(seed=99, options=options)
    np.testing.assert_array_equal(observation, again)
    _, info = env.reset()  # the goal of options lasts one episode
    np.testing.assert_array_equal(info["goal_position"], [0, 0])


def test_an_episode_is_cut_after_a_hundred_steps(env):
    env.reset(options={"robot_position": (0.9, 0.9)})
    for k in range(1, 101):
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        assert (terminated, truncated) == (False, k == 100)
        assert reward == -info["distance"]


def test_arrival_ends_the_episode_and_is_success(env):
    env.reset(options={"robot_position": (0.45, 0.0)})
    outcomes = [env.step(np.array([-1, 0], np.float32)) for _ in range(4)]
    assert [o[2] for o in outcomes] == [False, False, False, True]
    assert [o[4]["is_success"] for o in outcomes] == [False, False, False, True]


def test_the_observation_does_not_depend_on_render_mode():
    frames = []
    for mode in (None, "rgb_array", "human"):
        env = gym.make("RobotRoom-v0", render_mode=mode)
        env.reset(seed=5)
        frames.append(env.step(np.array([0.3, 0.7], np.float32))[0])
        env.close()
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_the_window_shows_the_sharp_picture():
    import pygame

    env = gym.make("RobotRoom-v0", render_mode="human")
    env.reset(options={"robot_position": (0.5, 0.5)})
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    env.close()
    reference = gym.make("RobotRoom-v0", render_mode="rgb_array")
    reference.reset(options={"robot_position": (0.5, 0.5)})
    assert shown.shape == (512, 512, 3)
    np.testing.assert_array_equal(shown, reference.render())


@pytest.mark.parametrize(
    "action",
    [[0.0], [0.0, 0.0, 0.0], [[0.0, 0.0]], [np.nan, 0.0], [0.0, np.inf], "left", None, [None, 1]],
)
def test_a_bad_action_is_refused_and_changes_nothing(env, action):
    room = env.unwrapped
    room.reset(seed=1)
    with pytest.raises(ValueError, match=r"action: got .*allowed: .*Box"):
        room.step(action)
    reference = gym.make("RobotRoom-v0").unwrapped
    reference.reset(seed=1)
    good = np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(room.step(good)[0], reference.step(good)[0])
    np.testing.assert_array_equal(room.reset()[0], reference.reset()[0])  # the generator too


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"robot": (0, 0)}, "options"),
        ({"robot_position": (0.95, 0)}, "robot_position"),
        ({"robot_position": (0, 0, 0)}, "robot_position"),
        ({"robot_position": "centre"}, "robot_position"),
        ({"goal_position": (0, -0.89)}, "goal_position"),
        ({"goal_position": (np.nan, 0)}, "goal_position"),
    ],
)
def test_a_bad_option_is_refused_and_changes_nothing(env, options, field):
    room = env.unwrapped
    room.reset(seed=1)
    with pytest.raises(ValueError, match=f"{field}: got .*allowed"):
        room.reset(seed=2, options=options)
    reference = gym.make("RobotRoom-v0").unwrapped
    reference.reset(seed=1)
    good = np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(room.step(good)[0], reference.step(good)[0])
    np.testing.assert_array_equal(room.reset()[0], reference.reset()[0])


@pytest.mark.parametrize(
    "kwargs", [{"reward": "big"}, {"terminate_on_goal": 3}, {"render_mode": "ascii"}]
)
def test_a_bad_argument_is_refused(kwargs):
    from robot_room.env import RobotRoomEnv

    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: got .*allowed"):
        RobotRoomEnv(**kwargs)


def test_the_spec_survives_json():
    spec = gym.make("RobotRoom-v0", reward="sparse").spec
    assert spec is not None
    copy = gym.make(EnvSpec.from_json(spec.to_json()))
    assert copy.unwrapped.params.reward == "sparse"


def test_the_package_name_in_an_id_registers_it_and_torch_stays_out():
    code = (
        "import sys, gymnasium; gymnasium.make('robot_room:RobotRoom-v0').reset(seed=0);"
        "assert 'torch' not in sys.modules and 'pygame' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stepping_before_reset_is_refused():
    from robot_room.env import RobotRoomEnv

    with pytest.raises(gym.error.ResetNeeded):
        RobotRoomEnv().step(np.zeros(2, np.float32))
