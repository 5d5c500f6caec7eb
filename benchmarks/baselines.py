"""Model-free baselines; the only file that imports stable-baselines3."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.protocol import Policy

PPO_ROOMS = 8
# The best of four settings on training seed 100 and on tuning starts: γ 0.97, γ 0.9, γ 0.97 with a
# learning rate of 1e-3, γ 0.95 with half the rollout. The rest is stable-baselines3's own.
PPO_SETTINGS = {"n_steps": 128, "batch_size": 256, "gamma": 0.9}


class Snapshot(NamedTuple):
    """A baseline in the middle of its training."""

    policy: Policy
    env_steps: int
    seconds: float  # of training alone


def train_ppo(env_id: str, seed: int, device: str = "cpu") -> Iterator[Snapshot]:
    """Train PPO on pixels without end, stopping at each rollout of PPO_ROOMS · n_steps steps."""
    env = make_vec_env(env_id, PPO_ROOMS, seed=seed)
    model = PPO("CnnPolicy", env, seed=seed, device=device, **PPO_SETTINGS)  # pyright: ignore
    seconds = 0.0
    while True:
        began = time.perf_counter()
        model.learn(PPO_ROOMS * PPO_SETTINGS["n_steps"], reset_num_timesteps=False)  # pyright: ignore
        seconds += time.perf_counter() - began
        yield Snapshot(model, model.num_timesteps, seconds)
