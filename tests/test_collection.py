import copy
import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agent import Agent
from agent.collection import (
    Collector,
    SavedVectorEnv,
    as_vector_env,
    described,
    importable_id,
    plain,
    registered_spec,
    remade,
    scale_actions,
    single_spec,
)
from agent.replay import Replay
from robot_room import rendering


def make_rooms(mode, rooms=3, limit=7):
    def make():
        return gym.make("RobotRoom-v0", max_episode_steps=limit)

    return SyncVectorEnv([make] * rooms, autoreset_mode=mode)


def robot_position(frame):
    """Where the robot is, from the frame alone: the centre of what is nearly white, in metres."""
    rows, columns = np.nonzero(frame[:, :, 1] > 200)
    return np.array([(columns.mean() + 0.5) / 32 - 1, 1 - (rows.mean() + 0.5) / 32])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_episodes_are_whole_and_true_in_every_autoreset_mode(mode):
    replay = Replay(10_000)
    collector = Collector(make_rooms(mode), replay, seed=0)
    generator = np.random.default_rng(0)
    steps, finished = 0, []
    for _ in range(60):
        taken, ended = collector.step(generator.uniform(-1, 1, (3, 2)).astype(np.float32))
        steps += taken
        finished += ended
    assert replay.num_steps == steps == sum(len(e.actions) for e in replay.episodes)
    assert steps == (180 if mode != AutoresetMode.NEXT_STEP else 180 - 3 * (60 // 8))
    closed = [e for e in replay.episodes if len(e.actions) == 7]
    assert len(closed) == len(finished) >= 20
    for episode in closed:
        for t, action in enumerate(episode.actions):
            before, after = robot_position(episode.frames[t]), robot_position(episode.frames[t + 1])
            expected = np.clip(before + 0.1 * action, -0.9, 0.9)
            np.testing.assert_allclose(after, expected, atol=0.04)  # just over a pixel
            assert episode.rewards[t] == pytest.approx(-np.linalg.norm(after), abs=0.03)
    assert not any(episode.terminated for episode in replay.episodes)  # they were cut off
    for outcome in finished:
        assert (outcome.length, outcome.is_success) == (7, False)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_success_is_reported(mode):
    collector = Collector(make_rooms(mode, limit=100), Replay(10_000), seed=0)
    outcomes = []
    for _ in range(40):
        positions = np.stack([robot_position(frame) for frame in collector.frames])
        actions = np.clip(-positions / 0.1, -1, 1).astype(np.float32)
        outcomes += collector.step(actions)[1]
    assert len(outcomes) > 6 and all(outcome.is_success for outcome in outcomes)
    ended = [episode for episode in collector.replay.episodes if episode.terminated]
    assert len(ended) == len(outcomes)
    for episode in ended:
        assert np.linalg.norm(robot_position(episode.frames[-1])) <= 0.1 + 0.04


class Unmasked(gym.vector.VectorWrapper):
    """It tells of success without saying for which of the environments."""

    def step(self, actions):
        *step, infos = self.env.step(actions)
        return *step, {name: value for name, value in infos.items() if name != "_is_success"}


def test_success_is_reported_without_a_mask():
    rooms = Unmasked(make_rooms(AutoresetMode.DISABLED, limit=3))
    collector = Collector(rooms, Replay(10_000), seed=0)
    done = [o for _ in range(3) for o in collector.step(np.zeros((3, 2), np.float32))[1]]
    assert [outcome.is_success for outcome in done] == [False] * 3


def test_long_episodes_are_cut_where_rooms_can_be_reset_one_by_one():
    replay = Replay(10_000)
    collector = Collector(as_vector_env("RobotRoom-v0", 3), replay, seed=0, longest=4)
    for _ in range(12):
        collector.step(np.zeros((3, 2), np.float32))
    assert [len(e.actions) for e in replay.episodes] == [4] * 9 + [0] * 3
    for episode in replay.episodes[:3]:  # still frames: the robot stood still, so no reset is inside
        assert all((frame == episode.frames[0]).all() for frame in episode.frames)


def test_a_single_environment_is_a_batch_of_one():
    env = as_vector_env(gym.make("RobotRoom-v0"), 8)
    assert env.num_envs == 1
    spec = single_spec(env)
    assert spec is not None and importable_id(spec) == "robot_room:RobotRoom-v0"


def test_actions_are_scaled_to_the_space():
    space = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    scaled = scale_actions(space, np.array([[-1, -1], [0, 0], [1, 1]], np.float32))
    np.testing.assert_array_equal(scaled, [[-2, 0], [0, 5], [2, 10]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (-0.3, 0.7), (1e-3, 2e-3), (-6e4, 6e4)])
def test_scaled_actions_lie_in_the_space_and_have_its_type(dtype, low, high):
    space = gym.spaces.Box(dtype(low), dtype(high), (3,), dtype)
    actions = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    actions[:2] = [[-1], [1]]
    scaled = scale_actions(space, actions)
    assert scaled.dtype == dtype and all(action in space for action in scaled)
    expected = np.float64(low) + 0.5 * (actions.astype(np.float64) + 1) * (high - low)
    np.testing.assert_allclose(scaled, expected, rtol=2e-3, atol=2e-3 * (high - low))
    np.testing.assert_array_equal(scaled[:2], [space.low, space.high])


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e38), (np.float64, 1.5e308)])
def test_a_space_whose_width_overflows_is_refused(dtype, bound):
    class Wide(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
        action_space = gym.spaces.Box(-bound, bound, (1,), dtype)

    with pytest.raises(ValueError, match=r"action space: got .*width does not overflow"):
        Agent(Wide())


def test_an_unknown_id_says_what_to_do():
    with pytest.raises(ValueError, match=r'env: got .*"robot_room:RobotRoom-v0"'):
        as_vector_env("NoSuchRoom-v0", 2)


def test_frames_kept_are_not_overwritten_by_the_environment():
    env = as_vector_env("RobotRoom-v0", 1)
    replay = Replay(100)
    collector = Collector(env, replay, seed=0)
    start = replay.episodes[0].frames[0].copy()
    collector.step(np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(replay.episodes[0].frames[0], start)
    assert start.shape == (rendering.FRAME_SIZE, rendering.FRAME_SIZE, 3)


def test_the_arguments_of_an_environment_become_plain():
    given = {"a": np.float32(0.5), "b": [np.int64(3), (np.bool_(True), "x")], "c": np.eye(2), "d": None}
    made = plain(given)
    assert made == {"a": 0.5, "b": [3, (True, "x")], "c": [[1, 0], [0, 1]], "d": None}
    assert json.loads(json.dumps(made))["b"] == [3, [True, "x"]]


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
@pytest.mark.parametrize("native", [True, False])
def test_a_vector_environment_is_made_again_in_the_same_form(native, mode):
    if native:
        told = {} if mode is None else {"autoreset_mode": mode}
        env = gym.make_vec("RobotRoom-v0", 2, "vector_entry_point", **told)
        kind = type(env.unwrapped)
    else:
        env, kind = make_rooms(mode or AutoresetMode.NEXT_STEP, rooms=2), SyncVectorEnv
    if mode is None and not native:
        mode = AutoresetMode.NEXT_STEP
    form = described(env)
    assert form == SavedVectorEnv(2, native, mode and mode.value)
    again = remade(single_spec(env), form)
    assert type(again.unwrapped) is kind and again.num_envs == 2
    assert again.metadata["autoreset_mode"] == env.metadata["autoreset_mode"]


def stored_spec(**changes):
    return json.dumps(json.loads(gym.spec("RobotRoom-v0").to_json()) | changes)


@pytest.mark.parametrize("limit", [None, 1, 2, 10**6])
def test_a_file_may_choose_arguments_and_the_step_limit(limit):
    spec = registered_spec(stored_spec(kwargs={"speed": 0.2}, max_episode_steps=limit))
    assert (spec.id, spec.kwargs, spec.max_episode_steps) == ("RobotRoom-v0", {"speed": 0.2}, limit)
    assert gym.spec("RobotRoom-v0").kwargs == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_episode_steps": 0}, "max_episode_steps 0"),
        ({"max_episode_steps": True}, "max_episode_steps True"),
        ({"max_episode_steps": 1.0}, "max_episode_steps 1.0"),
        ({"id": 5}, "id 5"),
        ({"kwargs": []}, r"kwargs \[\]"),
        ({"reward_threshold": 3.0}, "reward_threshold 3.0"),
        ({"nondeterministic": True}, "nondeterministic True"),
    ],
)
def test_a_file_may_choose_nothing_else(changes, message):
    with pytest.raises(ValueError, match=rf"env_spec: got .*{message}.*allowed: "):
        registered_spec(stored_spec(**changes))


def test_just_the_episodes_that_go_on_are_open():
    replay = Replay(10_000)
    collector = Collector(make_rooms(AutoresetMode.SAME_STEP, limit=3), replay, seed=0)
    for step in range(1, 8):
        collector.step(np.zeros((3, 2), np.float32))
        assert [e.open for e in replay.episodes] == [False] * (3 * (step // 3)) + [True] * 3


def halfway():
    """A collector in the middle of episodes, and all it depends on."""
    replay = Replay(10_000)
    collector = Collector(as_vector_env("RobotRoomSlip-v0", 2), replay, seed=0, longest=4)
    for _ in range(6):
        collector.step(np.full((2, 2), 0.5, np.float32))
    return collector, copy.deepcopy(collector.state()), copy.deepcopy(replay)


def test_a_collection_goes_on_from_its_state():
    collector, state, replay = halfway()
    again = Collector.resumed(as_vector_env("RobotRoomSlip-v0", 2), replay, 4, state)
    for step in range(5):
        actions = np.full((2, 2), 0.1 * step, np.float32)
        assert collector.step(actions) == again.step(actions)
        np.testing.assert_array_equal(collector.frames, again.frames)
        np.testing.assert_array_equal(collector.episode_start, again.episode_start)
    one, other = collector.replay.state(), replay.state()
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("frames", lambda x: x[:1]),
        ("frames", lambda x: x.astype(np.int16)),
        ("episode_start", lambda x: x[:, None]),
        ("episode_start", lambda x: x.astype(np.uint8)),
        ("resetting", lambda x: x.astype(np.float32)),
        ("episodes", lambda x: x.astype(np.int32)),
        ("episodes", lambda x: x - 1),
        ("episodes", lambda x: x[:1]),
    ],
)
def test_the_state_of_another_collection_is_refused(name, change):
    _, state, replay = halfway()
    state[name] = change(state[name])
    before = copy.deepcopy(replay.state())
    with pytest.raises(ValueError, match=f"{name}: got .*, allowed: "):
        Collector.resumed(as_vector_env("RobotRoomSlip-v0", 2), replay, 4, state)
    for field, value in replay.state().items():
        np.testing.assert_array_equal(value, before[field])
