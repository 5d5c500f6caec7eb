"""Tasks that nobody here wrote, each from one frame at a time of its own camera, beside random actions.

    python -m benchmarks.comparison.suite --workers 2

The agent has one configuration (`agent.presets.MOMENTUM`), which was chosen on training seed 400 and on
tuning starts. A job is one task and one training seed; it is evaluated on held-out starts while it
learns. A suite that was interrupted continues with the jobs that have no file.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, pixels
from agent.learner import Progress
from agent.presets import MOMENTUM
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.policies import Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, evaluate


class Task(NamedTuple):
    """An environment, and what is said of it."""

    looks: tuple[int, ...]
    """Actions after which the agent is evaluated; learning ends at the last."""
    published: str
    """A score from elsewhere, never measured here."""
    frame_repeat: int = 1
    """Environment steps for which each action is repeated."""


TASKS = {
    "Pendulum-v1": Task((2000, 4000), "SAC from the state, 20,000 steps: −157"),
    "MountainCarContinuous-v0": Task((500, 1000), "SAC from the state, 50,000 steps: 94.7", 4),
    "CartPole-v1": Task((2000,), "DreamerV3 after an hour of a GPU, a user: 144"),
}


@dataclass
class Suite:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 3
    """Training seeds, from 0."""
    env_ids: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    episodes: int = 50
    """Episodes of an evaluation."""
    workers: int = 1
    """Jobs at a time. More than one slow each other down; compare seconds only at the same number."""
    out: Path = Path("benchmarks/results/suite")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "episodes", "workers")
        for env_id in self.env_ids:
            if env_id not in TASKS:
                raise ValueError(f"env_ids: got {env_id!r}, allowed: {list(TASKS)}")


def scores(policy: Policy, env: EnvSpec, episodes: int) -> list[float]:
    """Returns of held-out starts."""
    result = evaluate(policy, env, episodes, HELD_OUT_SEED)
    return [round(float(value), 2) for value in result.returns]


def run_job(env_id: str, seed: int, episodes: int, at: tuple[int, ...]) -> Record:
    """Learn, and evaluate before and at each look."""
    torch.set_num_threads(1)
    repeat = TASKS[env_id].frame_repeat
    env = pixels(env_id, frame_repeat=repeat)
    untrained = scores(Uniform(gym.make(env).action_space, seed), env, episodes)
    looks: list[dict[str, Any]] = [{"env_steps": 0, "seconds": 0.0, "returns": untrained}]
    agent, left = Agent(env, seed=seed, device="cpu", **MOMENTUM), list(at)

    def look(progress: Progress) -> None:
        updates = int(agent.config.training.updates_per_step * progress.num_timesteps)
        if left and progress.num_timesteps >= left[0] and progress.num_updates >= updates:
            left.pop(0)
            looks.append(
                {
                    "env_steps": repeat * progress.num_timesteps,
                    "seconds": round(progress.seconds, 1),
                    "returns": scores(agent, env, episodes),
                }
            )

    agent.learn(at[-1], callback=look)
    return {"training_seed": seed, "metrics": agent.progress.metrics, "looks": looks}


def main(config: Suite) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"seed{seed}.json": (env_id, seed, config.episodes, TASKS[env_id].looks)
        for seed in range(config.seeds)
        for env_id in config.env_ids
    }
    repeats = {path: TASKS[path.parent.name].frame_repeat for path in jobs}
    own: dict[Path, Record] = {
        path: {"frame_repeat": repeat} for path, repeat in repeats.items() if repeat > 1
    }
    protocol = {
        "episodes": config.episodes,
        "config": dataclasses.asdict(MOMENTUM["config"]),
        "exploration": dataclasses.asdict(MOMENTUM["exploration"]),
    }
    records = run_jobs(run_job, jobs, protocol, config.workers, own=own)
    table = Table(title="Mean return: mean (lowest to highest) over training seeds")
    for heading in ("task", "steps", "mean return", "seconds", "published elsewhere"):
        table.add_column(heading)
    for env_id in config.env_ids:
        task = TASKS[env_id]
        curves = [
            record["looks"]
            for path, record in zip(jobs, records, strict=True)
            if path.parent.name == env_id
        ]
        for number, looks in enumerate(zip(*curves, strict=True)):
            table.add_row(
                env_id if number == 0 else "",
                f"{looks[0]['env_steps']}" if number > 0 else "random actions",
                spread([sum(look["returns"]) / len(look["returns"]) for look in looks], 0),
                spread([look["seconds"] for look in looks], 0) if number > 0 else "",
                task.published if number == 0 else "",
            )
    Console(width=130).print(table)


if __name__ == "__main__":
    command(Suite, main)
