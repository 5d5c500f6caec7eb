"""An environment that nobody here wrote, from pixels: Gymnasium's Pendulum, beside random and PPO.

    python -m benchmarks.pendulum

Pendulum-v1 as `AddRenderObservation` shows it, scaled to 64 × 64, two frames as one image of six
channels, so that an image tells the velocity. The agent plans further ahead than in the room, as a
swing takes longer than a way; the rest of its recipe is the room's.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.wrappers import AddRenderObservation, FrameStackObservation, TransformObservation
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from agent import Agent, AgentConfig
from benchmarks.cells import Record, run_cells
from benchmarks.policies import Uniform
from benchmarks.protocol import HELD_OUT_SEED, Policy, evaluate

SIDE, FRAMES = 64, 2
EPISODES = 50
ENV_ID = "PixelPendulum-v0"
ALGORITHMS = ("world-model", "ppo", "random")


def pixel_pendulum(**kwargs: Any) -> gym.Env[Any, Any]:
    """Pendulum-v1 with the last two frames as its observation, (64, 64, 6) uint8."""
    kwargs["render_mode"] = "rgb_array"
    env: gym.Env[Any, Any] = gym.make("Pendulum-v1", **kwargs)
    env = AddRenderObservation(env, render_only=True)
    frames = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    env = FrameStackObservation(TransformObservation(env, _scaled, frames), FRAMES)
    stacked = gym.spaces.Box(0, 255, (SIDE, SIDE, 3 * FRAMES), np.uint8)
    return TransformObservation(env, _in_channels, stacked)


def _scaled(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX))


def _in_channels(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate(list(frames), -1)


gym.register(ENV_ID, "benchmarks.pendulum:pixel_pendulum")


@dataclass
class Pendulum:
    """Run the cells that have no file yet, then print the table."""

    seeds: int = 5
    """Training seeds, from 0."""
    env_steps: int = 20_000
    """Environment steps, the same for ours and PPO."""
    workers: int = 1
    """Cells at a time; with more than one, seconds are not comparable."""
    out: Path = Path("benchmarks/results/pendulum")
    """Where the raw scores are."""


def recipe() -> AgentConfig:
    """The room's, with a longer horizon, whole episodes and half of the updates."""
    config = AgentConfig()
    return AgentConfig(
        config.world_model,
        dataclasses.replace(config.planner, horizon=20, discount=0.99),
        dataclasses.replace(
            config.training, longest_episode=200, random_steps=800, updates_per_step=0.5
        ),
    )


def run_cell(algorithm: str, env_steps: int, seed: int) -> Record:
    """Train and evaluate."""
    policy: Policy
    steps, seconds = 0, 0.0
    if algorithm == "world-model":
        policy = agent = Agent(ENV_ID, recipe(), seed)
        agent.learn(env_steps)
        steps, seconds = agent.num_timesteps, agent.progress.seconds
    elif algorithm == "ppo":
        from benchmarks.baselines import train_ppo

        snapshots = train_ppo(ENV_ID, seed)
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
    cells = {
        config.out / f"{algorithm}-seed{seed}.json": (algorithm, config.env_steps, seed)
        for seed in range(config.seeds)
        for algorithm in ALGORITHMS
    }
    records = run_cells(run_cell, cells, config.workers)
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
    main(tyro.cli(Pendulum))
