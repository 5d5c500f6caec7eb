"""How fast the agent learns RobotRoom-v0, beside stable-baselines3's PPO on the same machine.

    python -m benchmarks.learning

One cell is one algorithm with one seed. Each runs in a process of its own, one after the other, ours
and PPO's in turn, and leaves its raw scores in a file; a cell that has its file is not run again.
Success is measured on held-out starts: 200 along the way, and 1,000 where these succeed. Training
stops for an evaluation, whose time is not counted.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.training import Progress
from benchmarks.protocol import HELD_OUT_SEED, Policy, evaluate
from benchmarks.run_report import peak_memory_gib

Algorithm = Literal["world-model", "ppo"]
ALGORITHMS: tuple[Algorithm, ...] = ("world-model", "ppo")
THRESHOLD = 0.99
EPISODES = 1000
PACKAGES = ("robot-room", "torch", "numpy", "gymnasium", "stable-baselines3")


@dataclass
class Learning:
    """Run the cells that have no file yet, then print the table of all."""

    env_id: str = "RobotRoom-v0"
    """The environment."""
    seeds: int = 5
    """Training seeds, from 0."""
    env_steps: int = 500
    """At which our training ends."""
    evaluate_every: int = 50
    """Environment steps between our evaluations."""
    ppo_steps: int = 60_000
    """At which PPO is given up, if it has not reached the threshold."""
    out: Path = Path("benchmarks/results/learning")
    """Where the raw scores are."""
    cell: tuple[Algorithm, int] | None = None
    """Run this one cell, in this process."""


class Recorder:
    """Evaluates along the way and finds out when the threshold was reached."""

    def __init__(self, env_id: str, algorithm: Algorithm, seed: int) -> None:
        self.env_id = env_id
        self.record: dict[str, Any] = {
            "algorithm": algorithm,
            "env_id": env_id,
            "seed": seed,
            "curve": [],
            "versions": {name: version(name) for name in PACKAGES},
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
        }

    def look(self, policy: Policy, env_steps: int, seconds: float, episodes: int = 200) -> float:
        """Evaluate now; returns the success rate.

        PPO is taken with or without the noise of its policy, whichever succeeds more often.
        """
        where = {
            "env_steps": env_steps,
            "seconds": round(seconds, 2),
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
        points = []
        for deterministic in (True, False) if self.record["algorithm"] == "ppo" else (True,):
            result = evaluate(policy, self.env_id, episodes, HELD_OUT_SEED, deterministic)
            points.append(where | {"deterministic": deterministic} | result.summary())
        best = max(points, key=lambda point: point["success_rate"])
        self.record["curve"].append(best)
        return best["success_rate"]

    def reached(self, policy: Policy, env_steps: int, seconds: float) -> bool:
        """Whether the threshold is met by 200 starts and then by 1,000."""
        if self.look(policy, env_steps, seconds) < THRESHOLD:
            return False
        return self.look(policy, env_steps, seconds, EPISODES) >= THRESHOLD


def run_world_model(config: Learning, seed: int) -> dict[str, Any]:
    """Train the agent, evaluating on the way."""
    recorder = Recorder(config.env_id, "world-model", seed)
    agent = Agent(config.env_id, seed=seed)
    due, confirmed = config.evaluate_every, False

    def callback(progress: Progress) -> None:
        nonlocal due, confirmed
        owed = agent.config.training.updates_per_step * progress.num_timesteps
        if due <= progress.num_timesteps < config.env_steps and progress.num_updates >= owed:
            if confirmed:
                recorder.look(agent, progress.num_timesteps, progress.seconds)
            else:
                confirmed = recorder.reached(agent, progress.num_timesteps, progress.seconds)
            due = progress.num_timesteps + config.evaluate_every

    agent.learn(config.env_steps, callback)
    recorder.look(agent, agent.num_timesteps, agent.progress.seconds, EPISODES)
    return recorder.record


def run_ppo(config: Learning, seed: int) -> dict[str, Any]:
    """Train PPO until it succeeds on 99 % of 200, then of 1,000 starts."""
    from benchmarks.baselines import train_ppo

    recorder = Recorder(config.env_id, "ppo", seed)
    for policy, env_steps, seconds in train_ppo(config.env_id, seed):
        if recorder.reached(policy, env_steps, seconds) or env_steps >= config.ppo_steps:
            break
    return recorder.record


def first_reached(record: dict[str, Any]) -> dict[str, Any] | None:
    """The first point of a curve at the threshold over 1,000 starts; None if there is none."""
    points = (point for point in record["curve"] if point["episodes"] >= EPISODES)
    return next((point for point in points if point["success_rate"] >= THRESHOLD), None)


def rows(records: list[dict[str, Any]]) -> Iterator[list[str]]:
    """A row for each algorithm: figures as mean (lowest to highest) over the seeds."""

    def spread(values: list[float], digits: int) -> str:
        if not values:
            return "never"
        low, high = min(values), max(values)
        return f"{np.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    for algorithm in ALGORITHMS:
        cells = [record for record in records if record["algorithm"] == algorithm]
        ends = [record["curve"][-1] for record in cells]
        reached = [point for record in cells if (point := first_reached(record)) is not None]
        if cells:
            yield [
                algorithm,
                f"{len(reached)} of {len(cells)}",
                spread([point["env_steps"] for point in reached], 0),
                spread([point["seconds"] for point in reached], 1),
                spread([end["env_steps"] for end in ends], 0),
                spread([end["seconds"] for end in ends], 1),
                spread([100 * end["success_rate"] for end in ends], 1),
                spread([end["steps_over_oracle"] for end in ends], 3),
                spread([end["peak_memory_gib"] for end in ends], 2),
            ]


def main(config: Learning) -> None:
    """Run the benchmark."""
    torch.set_num_threads(1)
    config.out.mkdir(parents=True, exist_ok=True)
    if config.cell is not None:
        algorithm, seed = config.cell
        record = {"world-model": run_world_model, "ppo": run_ppo}[algorithm](config, seed)
        path = config.out / f"{algorithm}-seed{seed}.json"
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.rename(path)
        return
    for seed in range(config.seeds):
        for algorithm in ALGORITHMS:
            if not (config.out / f"{algorithm}-seed{seed}.json").exists():
                arguments = [*sys.argv[1:], "--cell", algorithm, str(seed)]
                subprocess.run([sys.executable, "-m", "benchmarks.learning", *arguments], check=True)
    records = [json.loads(path.read_text()) for path in sorted(config.out.glob("*.json"))]
    table = Table(title=f"{config.env_id}: mean (lowest to highest) over training seeds")
    for heading in (
        "algorithm",
        "reached 99 %",
        "steps to it",
        "seconds to it",
        "steps at end",
        "seconds at end",
        "success at end, %",
        "steps over oracle",
        "peak GiB",
    ):
        table.add_column(heading)
    for row in rows(records):
        table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main(tyro.cli(Learning))
