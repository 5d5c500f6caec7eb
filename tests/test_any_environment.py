"""What must simply work: environments of other people, with the settings as they are."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from agent import Agent, AgentConfig
from agent.learner import TrainingConfig
from agent.planning import ICEM
from agent.presets import EVERY_ROOM, MOMENTUM

FEW = TrainingConfig(random_steps=24, updates_per_step=0.1, num_envs=2)
QUICK = replace(EVERY_ROOM["config"], training=FEW, planner=ICEM(states=16, discount=0.98))
SETTINGS = {
    "default": {"config": AgentConfig(training=FEW)},
    "every room": EVERY_ROOM | {"config": QUICK},
    "momentum": MOMENTUM
    | {"config": replace(MOMENTUM["config"], training=FEW, planner=ICEM(discount=0.99))},
}


def box(size, dtype=np.float32):
    """Asymmetric bounds."""
    return gym.spaces.Box(-np.arange(1, size + 1, dtype=dtype), 3 * np.ones(size, dtype), dtype=dtype)


class Task(gym.Env):
    """A square of three pixels moves in front of grey; an episode ends at the right edge."""

    def __init__(self, shape=(64, 64, 3), actions=None, reward=lambda place: place[0], length=7):
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.action_space, self.reward, self.length = actions or box(2), reward, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.uniform(0.2, 0.8, 2)
        return self.frame(), {}

    def frame(self):
        height, width, channels = self.observation_space.shape
        frame = np.full((height, width, channels), 60, np.uint8)
        row, column = (self.place * (height - 3, width - 3)).astype(int)
        frame[row : row + 3, column : column + 3] = 250
        return frame

    def step(self, action):
        assert self.action_space.contains(action)
        moved = 0.05 * np.resize(np.tanh(np.atleast_1d(action).astype(float)), 2)
        self.place, self.steps = np.clip(self.place + moved, 0, 1), self.steps + 1
        ended, cut = bool(self.place[1] > 0.95), self.steps >= self.length
        return self.frame(), float(self.reward(self.place)), ended, cut, {}


TASKS = {
    "one channel": {"shape": (64, 64, 1)},
    "stacked frames": {"shape": (64, 64, 12)},
    "32 pixels": {"shape": (32, 32, 3)},
    "128 pixels": {"shape": (128, 128, 3)},
    "wide, of odd sizes": {"shape": (41, 90, 3)},
    "one action": {"actions": box(1)},
    "twelve actions": {"actions": box(12)},
    "half precision": {"actions": box(2, np.float16)},
    "double precision": {"actions": box(2, np.float64)},
    "discrete actions": {"actions": gym.spaces.Discrete(4, start=2)},
    "huge rewards": {"reward": lambda place: 1e30 * place[0]},
    "tiny rewards": {"reward": lambda place: 1e-30 * place[0]},
    "a constant reward": {"reward": lambda place: 7.0},
    "no reward": {"reward": lambda place: 0.0},
    "episodes of one step": {"length": 1},
    "endless episodes": {"length": 10**9},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("task", TASKS)
def test_it_learns_and_acts(task, settings):
    agent = Agent(Task(**TASKS[task]), seed=0, device="cpu", **SETTINGS[settings]).learn(40)
    assert agent.progress.num_updates >= 4 and agent.progress.skipped_updates == 0
    assert all(torch.isfinite(value).all() for value in agent.world_model.parameters())
    frames = np.stack([episode.frames[0] for episode in agent.replay.episodes[:3]])
    actions, _ = agent.predict(frames)
    assert all(agent.action_space.contains(action) for action in actions)
