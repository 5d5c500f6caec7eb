"""The checks of Gymnasium, stable-baselines3, TorchRL and Minari find nothing; wrappers fit."""

import os
import subprocess
import sys
import warnings

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium import wrappers as w
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker, env_util, vec_env

import robot_room
from robot_room.app.datasets.recording import Recorder, record
from robot_room.factors import BY_NAME

pytestmark = pytest.mark.slow

INTERFACES = [
    {"action": "discrete"},
    {"observation": "state"},
    {"frame_skip": 3},
    {"action": "discrete", "observation": "state", "walls": "maze"},
]
MADE = [*((name, {}) for name in robot_room.VARIANTS), *(("RobotRoom-v0", k) for k in INTERFACES)]


@pytest.mark.parametrize("factor", BY_NAME)
def test_gymnasiums_checker_finds_nothing_with_a_factor(factor):
    check_env(gym.make("RobotRoom-v0", factors={factor: "test"}, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("kwargs", INTERFACES, ids=str)
def test_gymnasiums_checker_finds_nothing_with_another_interface(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("RobotRoom-v0", render_mode="rgb_array", **kwargs).unwrapped)


@pytest.mark.parametrize("made", MADE, ids=str)
def test_stable_baselines3s_checker_finds_nothing(made):
    name, kwargs = made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(name, **kwargs)
        # Wrappers hide compute_reward, which the checker calls where there are goals.
        env_checker.check_env(env.unwrapped if "GoalImage" in name else env)


def test_stable_baselines3s_vector_environments_hold_these():
    envs = env_util.make_vec_env("RobotRoomShifted-v0", 2, seed=0)
    envs = vec_env.VecFrameStack(vec_env.VecTransposeImage(envs), 3)
    assert envs.reset().shape == (2, 9, 64, 64)
    for _ in range(110):
        observation, _, _, info = envs.step(np.zeros((2, 2), np.float32))
    assert observation.shape == (2, 9, 64, 64) and {"distance", "is_success"} <= set(info[0])


def test_torchrls_checker_finds_nothing():
    """In a process of its own: importing TorchRL changes warnings and logging."""
    code = f"""
import warnings
warnings.simplefilter("ignore")
import gymnasium as gym, robot_room
from gymnasium.vector import AutoresetMode
from torchrl.envs import GymWrapper
from torchrl.envs.utils import check_env_specs

for name in robot_room.VARIANTS:
    check_env_specs(GymWrapper(gym.make(name)), seed=0)
for kwargs in {INTERFACES}:
    check_env_specs(GymWrapper(gym.make("RobotRoom-v0", **kwargs)), seed=0)
for mode in (AutoresetMode.DISABLED, AutoresetMode.SAME_STEP):
    kwargs = dict(autoreset_mode=mode, max_episode_steps=7)
    envs = GymWrapper(gym.make_vec("RobotRoom-v0", 3, "vector_entry_point", **kwargs))
    check_env_specs(envs, seed=0)
    assert int(envs.rollout(20, break_when_any_done=False)["next", "done"].sum()) >= 6
print("checked")
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["checked"], done.stderr


class Sampling:
    """A behaviour that draws every action from its space."""

    def __init__(self, space):
        self.space = space

    def reset(self, generator):
        self.space.seed(int(generator.integers(1000)))

    def __call__(self, observation, info):
        return self.space.sample()


@pytest.mark.parametrize("made", MADE, ids=str)
def test_minari_stores_and_recovers_every_environment(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name, kwargs = made
    env = gym.make(name, max_episode_steps=4, **kwargs)
    recorder = Recorder("room/check-v0", env, "random", append=False)
    for seed in (3, 4):
        recorder.add(record(env, Sampling(env.action_space), seed))
    dataset = minari.load_dataset("room/check-v0")
    recovered = dataset.recover_environment()
    for seed, episode in zip((3, 4), dataset.iterate_episodes(), strict=True):
        seen = [recovered.reset(seed=seed)[0], *(recovered.step(a)[0] for a in episode.actions)]
        for t, observation in enumerate(seen):
            if isinstance(observation, dict):
                for name, part in observation.items():
                    np.testing.assert_array_equal(part, episode.observations[name][t])
            else:
                np.testing.assert_array_equal(observation, episode.observations[t])


class Plain(gym.Env):
    """An environment with the same spaces and nothing else: what wrappers do to any environment."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, room):
        self.observation_space, self.action_space = room.observation_space, room.action_space
        self.render_mode, self.spec = "rgb_array", room.spec

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((64, 64, 3), np.uint8), {}

    def step(self, action):
        return np.zeros((64, 64, 3), np.uint8), 0.0, False, False, {}

    def render(self):
        return np.zeros((512, 512, 3), np.uint8)


FLOATS = gym.spaces.Box(0.0, 1.0, (64, 64, 3), np.float32)
WRAPPERS = {
    "AddRenderObservation": lambda e: w.AddRenderObservation(e, render_only=False),
    "AddWhiteNoise": lambda e: w.AddWhiteNoise(e, 0.3),
    "Autoreset": w.Autoreset,
    "ClipAction": w.ClipAction,
    "ClipReward": lambda e: w.ClipReward(e, -0.5, 0.5),
    "DelayObservation": lambda e: w.DelayObservation(e, 2),
    "DiscretizeAction": lambda e: w.DiscretizeAction(e, 5),
    "DtypeObservation": lambda e: w.DtypeObservation(e, np.float64),
    "FlattenObservation": w.FlattenObservation,
    "FrameStackObservation": lambda e: w.FrameStackObservation(e, 3),
    "GrayscaleObservation": w.GrayscaleObservation,
    "GrayscaleKeepingTheAxis": lambda e: w.GrayscaleObservation(e, keep_dim=True),
    "MaxAndSkipObservation": lambda e: w.MaxAndSkipObservation(e, 2),
    "NormalizeObservation": w.NormalizeObservation,
    "NormalizeReward": w.NormalizeReward,
    "ObstructView": lambda e: w.ObstructView(e, 0.1, 0.2, 0.1),
    "OrderEnforcing": w.OrderEnforcing,
    "PassiveEnvChecker": w.PassiveEnvChecker,
    "RecordEpisodeStatistics": w.RecordEpisodeStatistics,
    "RenderCollection": w.RenderCollection,
    "RepeatAction": lambda e: w.RepeatAction(e, 2),
    "RescaleAction": lambda e: w.RescaleAction(e, np.float32(-3), np.float32(3)),
    "RescaleObservation": lambda e: w.RescaleObservation(e, np.float32(0), np.float32(1)),
    "ReshapeObservation": lambda e: w.ReshapeObservation(e, (64 * 64, 3)),
    "StickyAction": lambda e: w.StickyAction(e, 0.3),
    "TimeAwareObservation": w.TimeAwareObservation,
    "TimeLimit": lambda e: w.TimeLimit(e, 5),
    "TransformAction": lambda e: w.TransformAction(e, lambda a: a, e.action_space),
    "TransformObservation": lambda e: w.TransformObservation(e, lambda o: o / np.float32(255), FLOATS),
    "TransformReward": lambda e: w.TransformReward(e, lambda r: 2 * r),
}


def attempt(env, names):
    """What a stack of wrappers does: the error's type, or the types and shapes of what it returns."""
    try:
        for name in names:
            env = WRAPPERS[name](env)
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        seen = [
            np.asarray(observation).shape if not isinstance(observation, dict) else sorted(observation)
        ]
        inside = env.observation_space.contains(observation)
        for _ in range(6):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            seen.append(type(observation).__name__)
            inside &= env.observation_space.contains(observation)
            if terminated or truncated:
                env.reset()
        return seen, inside, str(env.observation_space), isinstance(float(reward), float)
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", range(6))
def test_thirty_wrappers_in_odd_orders_do_what_they_do_to_any_environment(seed):
    assert len(WRAPPERS) == 30
    generator = np.random.default_rng(seed)
    worked = 0
    for _ in range(12):
        names = generator.choice([*WRAPPERS], 4).tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            room = gym.make("RobotRoom-v0", render_mode="rgb_array", max_episode_steps=30)
            got, expected = attempt(room, names), attempt(Plain(room), names)
        assert got == expected, names
        worked += not isinstance(got, str)
    assert worked >= 4


def test_videos_are_recorded(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = w.RecordVideo(gym.make("RobotRoomShifted-v0", render_mode="rgb_array"), str(tmp_path))
        env.reset(seed=0)
        for _ in range(5):
            env.step(env.action_space.sample())
        env.close()
    assert (tmp_path / "rl-video-episode-0.mp4").stat().st_size > 1000
