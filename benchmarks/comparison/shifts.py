r"""How success falls when one factor of variation leaves the ranges of training.

    python -m benchmarks.comparison.shifts --seeds 3 --workers 2

One job trains one algorithm with one seed, in v0 or with all factors varied, then counts successes on
held-out starts: in v0, in Varied and Shifted, and in v0 with each factor alone drawn from its test
range. Every algorithm learns for a fixed number of environment steps. Raw scores are kept; a job that
has its file is not run again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.protocol import TUNING_SEED, Policy, env_spec, evaluate
from robot_room.app.figures import styled_figure
from robot_room.factors import BY_NAME

Algorithm = Literal["ppo", "drq-sac", "world-model"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
TRAINED_IN = ("RobotRoom-v0", "RobotRoomVaried-v0")
WHOLE = ("RobotRoom-v0", "RobotRoomVaried-v0", "RobotRoomShifted-v0")


@dataclass
class Shifts:
    """Run the jobs that have no file yet, then print the table and draw the figure of all."""

    seeds: int = 3
    """Training seeds, from 0."""
    env_steps: int = 1000
    """Environment steps of the world model."""
    ppo_steps: int = 32_768
    """Environment steps of PPO."""
    drq_sac_steps: int = 6_144
    """Environment steps of SAC with random shifts, which makes as many updates."""
    episodes: int = 50
    """Held-out episodes in each room."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/shifts")
    """Folder of the raw scores."""
    figure: Path | None = Path("docs/shifts.png")
    """File of the figure; None: none."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "env_steps", "ppo_steps", "drq_sac_steps", "episodes", "workers")

    def budget(self, algorithm: Algorithm) -> int:
        """Environment steps of an algorithm."""
        budgets = {"ppo": self.ppo_steps, "drq-sac": self.drq_sac_steps}
        return budgets.get(algorithm, self.env_steps)


def run_job(algorithm: Algorithm, env_id: str, seed: int, steps: int, episodes: int) -> Record:
    """Train once, and test in every room."""
    policy = _train(algorithm, env_id, seed, steps)
    deterministic = algorithm == "world-model" or _better_without_noise(policy, env_id, episodes)
    rooms = {name: env_spec(name) for name in WHOLE}
    for factor in BY_NAME:
        rooms[factor] = env_spec("RobotRoom-v0", json.dumps({"factors": {factor: "test"}}))
    success = {
        name: float(evaluate(policy, room, episodes, deterministic=deterministic).is_success.mean())
        for name, room in rooms.items()
    }
    record: Record = {"algorithm": algorithm, "env_id": env_id, "seed": seed}
    return record | {"deterministic": deterministic, "success": success}


def _better_without_noise(policy: Policy, env_id: str, episodes: int) -> bool:
    """Whether a policy does as well without its noise, on tuning starts of its training room."""
    with_noise, without = (
        evaluate(policy, env_id, episodes, TUNING_SEED, choice).is_success.mean()
        for choice in (False, True)
    )
    return bool(without >= with_noise)


def _train(algorithm: Algorithm, env_id: str, seed: int, steps: int) -> Policy:
    if algorithm == "world-model":
        agent = Agent(env_id, AgentConfig(), seed, "cpu")
        agent.learn(steps)
        return agent
    from benchmarks.comparison.baselines import chosen_setting, train  # not in our agent's memory

    setting = chosen_setting(algorithm, "RobotRoom-v0")
    for policy, env_steps, _ in train(algorithm, setting, env_id, seed):
        if env_steps >= steps:
            return policy
    raise AssertionError("training does not end by itself")


def averages(records: list[Record]) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Success in every room and over factors alone, a list over seeds, by algorithm and training."""
    for algorithm in ALGORITHMS:
        for env_id in TRAINED_IN:
            runs = [
                r["success"] for r in records if (r["algorithm"], r["env_id"]) == (algorithm, env_id)
            ]
            scores = {room: [run[room] for run in runs] for room in (*WHOLE, *BY_NAME)}
            alone = [float(np.mean([run[name] for name in BY_NAME])) for run in runs]
            yield f"{algorithm}, trained in {env_id}", {"mean over factors": alone, **scores}


def draw(rows: list[tuple[str, dict[str, list[float]]]], path: Path) -> None:
    """Draw a bar for each factor and each trained policy."""
    rooms = [*WHOLE, *BY_NAME]
    width = 0.8 / len(rows)
    labels = [room.removeprefix("RobotRoom").removesuffix("-v0").strip("-") or "v0" for room in rooms]
    with styled_figure(path, figsize=(8.3, 4.5)) as (_, axes):
        for number, (name, scores) in enumerate(rows):
            places = np.arange(len(rooms)) + width * (number - (len(rows) - 1) / 2)
            axes.bar(places, [100 * np.mean(scores[room]) for room in rooms], width, label=name)
        axes.set_xticks(range(len(rooms)), labels, rotation=60, ha="right")
        axes.set_ylabel("success, %")
        axes.set_title("All factors (left), and one factor alone in its test range")
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.06))


def main(config: Shifts) -> None:
    """Run the benchmark."""
    jobs: dict[Path, tuple[Any, ...]] = {}
    own: dict[Path, Record] = {}
    for seed in range(config.seeds):
        for algorithm in ALGORITHMS:
            steps = config.budget(algorithm)
            for env_id in TRAINED_IN:
                path = config.out / env_id / f"{algorithm}-seed{seed}.json"
                jobs[path] = (algorithm, env_id, seed, steps, config.episodes)
                own[path] = {"env_steps": steps}
    records = run_jobs(run_job, jobs, {"episodes": config.episodes}, config.workers, own=own)
    rows = list(averages(records))
    table = Table(title="Success, %: mean (lowest to highest) over training seeds")
    table.add_column("room")
    for name, _ in rows:
        table.add_column(name)
    for room in rows[0][1]:
        table.add_row(room, *(spread([100 * v for v in scores[room]], 0) for _, scores in rows))
    Console(width=150).print(table)
    if config.figure is not None:
        draw(rows, config.figure)


if __name__ == "__main__":
    command(Shifts, main)
