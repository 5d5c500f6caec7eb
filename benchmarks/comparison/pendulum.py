"""An environment that nobody here wrote, from pixels: Gymnasium's Pendulum, beside random and PPO.

    python -m benchmarks.comparison.pendulum

Pendulum-v1 as `AddRenderObservation` shows it, scaled to 64 × 64, two frames as one image of six
channels, so that an image tells the velocity. The agent's settings (`recipe`) were chosen on training
seed 100; PPO's are what it learns RobotRoom-v0 with, less the short episodes.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AddRenderObservation
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from agent import Agent, AgentConfig
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from robot_room.app.evaluation.policies import Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, evaluate

SIDE, FRAMES = 64, 2
EPISODES = 50
ENV_ID = "PixelPendulum-v0"
ALGORITHMS = ("world-model", "ppo", "random")


class PixelPendulum(gym.Env[NDArray[np.uint8], NDArray[np.float32]]):
    """Pendulum-v1; the observation is its last two frames, (64, 64, 6) uint8.

    An environment and no wrapper, so that its spec makes it again.
    """

    def __init__(self) -> None:
        pendulum = gym.make("Pendulum-v1", render_mode="rgb_array")
        self.inner = AddRenderObservation(pendulum, render_only=True)
        self.observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3 * FRAMES), np.uint8)
        self.action_space = self.inner.action_space
        self.frames: list[NDArray[np.uint8]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """See `gymnasium.Env.reset`; both frames are the first."""
        super().reset(seed=seed)
        frame, info = self.inner.reset(seed=seed, options=options)
        self.frames = [_scaled(frame)] * FRAMES
        return np.concatenate(self.frames, -1), info

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        frame, reward, terminated, truncated, info = self.inner.step(action)
        self.frames = [*self.frames[1:], _scaled(frame)]
        return np.concatenate(self.frames, -1), float(reward), terminated, truncated, info

    def close(self) -> None:
        """See `gymnasium.Env.close`."""
        self.inner.close()


def _scaled(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX))


gym.register(ENV_ID, "benchmarks.comparison.pendulum:PixelPendulum")


@dataclass
class Pendulum:
    """Run the jobs that have no file yet, then print the table."""

    seeds: int = 3
    """Training seeds, from 0."""
    env_steps: int = 20_000
    """Environment steps; PPO goes on to the end of its rollout."""
    workers: int = 1
    """Jobs at a time; with more than one, seconds are not comparable."""
    out: Path = Path("benchmarks/results/pendulum")
    """Where the raw scores are."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "env_steps", "workers")


def recipe() -> AgentConfig:
    """The room's, but: further ahead, whole episodes, fewer and larger updates, sharper likelihoods.

    A velocity is a difference of two frames, faint beside what else an image holds.
    """
    config = AgentConfig()
    return AgentConfig(
        dataclasses.replace(config.world_model, frame_std=0.2, reward_std=0.2),
        dataclasses.replace(config.planner, horizon=20, discount=0.99),
        dataclasses.replace(
            config.training,
            longest_episode=200,
            random_steps=800,
            updates_per_step=0.5,
            batch_size=32,
        ),
    )


def run_job(algorithm: str, env_steps: int, seed: int) -> Record:
    """Train and evaluate."""
    policy: Policy
    steps, seconds = 0, 0.0
    if algorithm == "world-model":
        policy = agent = Agent(ENV_ID, recipe(), seed, "cpu")
        agent.learn(env_steps)
        steps, seconds = agent.num_timesteps, agent.progress.seconds
    elif algorithm == "ppo":
        from benchmarks.comparison.baselines import SETTINGS, train

        setting = SETTINGS["ppo"]["γ 0.9, normed network"]
        snapshots = train("ppo", setting, ENV_ID, seed)
        policy, steps, seconds = next(each for each in snapshots if each.env_steps >= env_steps)
    else:
        policy = Uniform(gym.make(ENV_ID).action_space, seed)
    result = evaluate(policy, ENV_ID, EPISODES, HELD_OUT_SEED)
    return {
        "algorithm": algorithm,
        "training_seed": seed,
        "env_steps": steps,
        "seconds": round(seconds, 1),
        **result.summary(),
        "returns": [round(float(value), 2) for value in result.returns],
    }


def main(config: Pendulum) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / f"{algorithm}-seed{seed}.json": (algorithm, config.env_steps, seed)
        for seed in range(config.seeds)
        for algorithm in ALGORITHMS
    }
    records = run_jobs(run_job, jobs, {"env_steps": config.env_steps}, config.workers)
    table = Table(title=f"{ENV_ID}, {EPISODES} held-out starts: mean (lowest to highest) over seeds")
    for heading in ("algorithm", "environment steps", "mean return", "seconds"):
        table.add_column(heading)
    for algorithm in ALGORITHMS:
        mine = [record for record in records if record["algorithm"] == algorithm]
        returns = [record["mean_return"] for record in mine]
        spread = f"{np.mean(returns):.0f} ({min(returns):.0f} to {max(returns):.0f})"
        seconds = f"{np.mean([record['seconds'] for record in mine]):.0f}"
        table.add_row(algorithm, str(mine[0]["env_steps"]), spread, seconds)
    Console(width=110).print(table)


if __name__ == "__main__":
    command(Pendulum, main)
