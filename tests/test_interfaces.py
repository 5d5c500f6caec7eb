"""Discrete actions, frame skip and observations of the state, against the plain room."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from test_vector_env import assert_same

from robot_room import layouts
from robot_room.env import RobotRoomEnv
from robot_room.vector_env import RobotRoomVectorEnv

COMBINED = [
    {"action": "discrete"},
    {"action": "discrete", "frame_skip": 3, "goal": "random", "slip": 0.1},
    {"frame_skip": 4, "walls": "door", "observation": "state"},
    {"frame_skip": 2, "reward": "sparse", "terminate_on_goal": False},
    {"frame_skip": 3, "corruption": "dropped_frames", "severity": 3, "distractors": 2},
    {"action": "discrete", "walls": "maze", "num_layouts": 9, "observation": "state"},
    {"observation": "goal_image", "goal": "random", "goal_image": True, "distractors": 2},
]


def test_discrete_actions_are_directions_at_full_speed():
    velocities = [(0, 0), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    discrete, plain = gym.make("RobotRoom-v0", action="discrete"), gym.make("RobotRoom-v0")
    for number, velocity in enumerate(velocities):
        discrete.reset(seed=number), plain.reset(seed=number)
        for action in (number, np.int64(number), np.array(number)):
            for a, b in zip(
                discrete.step(action), plain.step(np.array(velocity, np.float32)), strict=True
            ):
                assert_same(a, b)


def test_frame_skip_repeats_an_action_until_the_episode_ends():
    kwargs = {"slip": 0.2, "distractors": 2}
    skipping, plain = RobotRoomEnv(frame_skip=4, **kwargs), RobotRoomEnv(**kwargs)
    generator, early = np.random.default_rng(0), 0
    for episode in range(30):
        _, info = skipping.reset(seed=episode)
        plain.reset(seed=episode)
        for _ in range(12):
            towards = 4 * (info["goal_position"] - info["robot_position"])
            action = np.clip(towards + generator.normal(0, 0.3, 2), -1, 1).astype(np.float32)
            observation, reward, terminated, _, info = skipping.step(action)
            rewards = []
            for _ in range(4):
                expected = plain.step(action)
                rewards.append(expected[1])
                if expected[2]:
                    break
            early += len(rewards) < 4
            np.testing.assert_array_equal(observation, expected[0])
            assert terminated == expected[2] and reward == pytest.approx(sum(rewards), abs=1e-12)
            assert_same(info, expected[4])
            if terminated:
                break
    assert early > 10


def test_an_observation_of_the_state_has_the_positions_and_the_layout():
    for walls, kwargs in ((None, {}), ("door", {}), ("maze", {"num_layouts": 20})):
        env = gym.make("RobotRoom-v0", observation="state", goal="random", walls=walls, **kwargs)
        for seed in range(5):
            _, info = env.reset(seed=seed)
            observation, _, _, _, info = env.step(env.action_space.sample())
            assert env.observation_space.contains(observation)
            expected = np.concatenate([info["robot_position"], info["goal_position"]])
            np.testing.assert_array_equal(observation[:4], expected.astype(np.float32))
            rest = observation[4:]
            if walls is None:
                assert len(rest) == 0
                continue
            mask = layouts.layout(env.unwrapped.params, info["layout"]).mask[::-1]  # from below
            if walls == "door":
                free = np.flatnonzero(~mask[:, 38])
                assert rest.tolist() == [(free[0] + free[-1] + 1) / 64 - 1]
            else:  # a pixel within each of the slabs
                pixels = [5, 12, 18, 25, 32, 39, 45, 52, 58]
                np.testing.assert_array_equal(rest.reshape(9, 9), mask[np.ix_(pixels, pixels)])


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.parametrize("kwargs", COMBINED, ids=range(len(COMBINED)))
def test_native_and_sync_give_the_same_bits(kwargs, mode):
    made = {"max_episode_steps": 7, **kwargs}
    native = gym.make_vec("RobotRoom-v0", 3, "vector_entry_point", autoreset_mode=mode, **made)
    sync = gym.make_vec("RobotRoom-v0", 3, "sync", vector_kwargs={"autoreset_mode": mode}, **made)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    assert_same(native.reset(seed=3), sync.reset(seed=3))
    native.action_space.seed(0)
    for _ in range(40):
        action = native.action_space.sample()
        both = [envs.step(action) for envs in (native, sync)]
        for a, b in zip(*both, strict=True):
            assert_same(a, b)
        done = both[0][2] | both[0][3]
        if mode is AutoresetMode.DISABLED and done.any():
            options = {"reset_mask": done}
            assert_same(native.reset(options=options), sync.reset(options=options))


@pytest.mark.parametrize("action", [9, -1, 1.0, [1], None, "up", True, np.zeros(2, np.float32)])
def test_a_bad_discrete_action_is_refused_and_changes_nothing(action):
    env = RobotRoomEnv(action="discrete")
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match=r"(?s)action: got .*allowed.*Discrete\(9\)"):
        env.step(action)
    assert repr(env.get_state()) == repr(before)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"action": "both"},
        {"action": 9},
        {"frame_skip": 0},
        {"frame_skip": 21},
        {"frame_skip": 2.0},
        {"frame_skip": True},
        {"observation": "both"},
        {"observation": "state", "corruption": "gaussian", "severity": 1},
        {"observation": "state", "distractors": 1},
        {"masks": True, "observation": "state"},
        {"oracle_steps": True, "action": "discrete"},
        {"oracle_steps": True, "frame_skip": 2},
    ],
)
def test_a_bad_argument_is_refused(kwargs):
    for make in (RobotRoomEnv, RobotRoomVectorEnv):
        with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: got .*allowed"):
            make(**kwargs)


def test_there_is_no_buffer_for_states():
    envs = RobotRoomVectorEnv(2, observation="state")
    with pytest.raises(ValueError, match=r"buffer: got .*allowed"):
        envs.set_buffer(np.zeros((2, 64, 64, 3), np.uint8))
