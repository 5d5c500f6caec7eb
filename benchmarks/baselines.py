"""Model-free baselines; the only file that imports stable-baselines3."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.protocol import Policy

PPO_ROOMS = 8
# In RobotRoom-v0 the best of four settings on training seed 100 and on tuning starts: γ 0.97, γ 0.9,
# γ 0.97 with a learning rate of 1e-3, γ 0.95 with half the rollout. Elsewhere γ 0.97: with a random
# goal γ 0.9 learned nothing in 287,000 steps. The rest is stable-baselines3's own.
PPO_STEPS, PPO_BATCH_SIZE = 128, 256
PPO_DISCOUNT, PPO_DISCOUNTS = 0.97, {"RobotRoom-v0": 0.9}


class Snapshot(NamedTuple):
    """A baseline in the middle of its training."""

    policy: Policy
    env_steps: int
    seconds: float  # of training alone


def train_ppo(env_id: str, seed: int, device: str = "cpu") -> Iterator[Snapshot]:
    """Train PPO on pixels without end, stopping at each rollout of PPO_ROOMS · PPO_STEPS steps."""
    env = make_vec_env(env_id, PPO_ROOMS, seed=seed)
    model = PPO(
        "CnnPolicy",
        env,
        n_steps=PPO_STEPS,
        batch_size=PPO_BATCH_SIZE,
        gamma=PPO_DISCOUNTS.get(env_id, PPO_DISCOUNT),
        seed=seed,
        device=device,
    )
    seconds = 0.0
    while True:
        began = time.perf_counter()
        model.learn(PPO_ROOMS * PPO_STEPS, reset_num_timesteps=False)
        seconds += time.perf_counter() - began
        yield Snapshot(model, model.num_timesteps, seconds)
