"""The baselines' settings, tried on tuning seeds and tuning starts; no result is measured on either.

    python -m benchmarks.comparison.tune --env-id RobotRoom-v0 --minutes 2

A job trains one algorithm with one of its settings (`baselines.SETTINGS`) for so many minutes of
training time, and evaluates it on the way, with and without its policy's noise. The best setting has
the largest mean success over training time, to a tenth, as less is noise; among equals the largest
at the end, then the one that made more steps.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from benchmarks.comparison.baselines import NUM_ENVS, SETTINGS, Algorithm, train
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from robot_room.app.evaluation.protocol import TUNING_SEED, Policy, evaluate

ALGORITHMS: tuple[Algorithm, ...] = tuple(SETTINGS)
FIRST_SEED = 100
EPISODES = 50


@dataclass
class Tune:
    """Run the jobs that have no file yet, then print the table of all."""

    env_id: str = "RobotRoom-v0"
    """The environment."""
    algorithms: tuple[Algorithm, ...] = ALGORITHMS
    """Which of the baselines."""
    minutes: float = 2.0
    """Of training in a job, evaluations not counted."""
    evaluations: int = 12
    """Evaluations in a job after its first, evenly in training time."""
    seeds: int = 1
    """Training seeds, from 100."""
    workers: int = 1
    """Jobs at a time; minutes are the machine's own, so more than one means less training."""
    out: Path = Path("benchmarks/results/tune")
    """Where the raw scores are."""

    def __post_init__(self) -> None:
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ValueError(f"algorithms: got {name!r}, allowed: {ALGORITHMS}")
        at_least_one(self, "evaluations", "seeds", "workers")
        if not self.minutes > 0:
            raise ValueError(f"minutes: got {self.minutes}, allowed: more than 0")


def evaluate_both(policy: Policy, env_id: str) -> Record:
    """Evaluate with and without the policy's noise; the better of the two."""
    results = [
        evaluate(policy, env_id, EPISODES, TUNING_SEED, deterministic).summary()
        | {"deterministic": deterministic}
        for deterministic in (True, False)
    ]
    return max(results, key=lambda result: result["success_rate"])


def run_job(
    algorithm: Algorithm, name: str, env_id: str, seed: int, minutes: float, evaluations: int
) -> Record:
    """Train for so many minutes, evaluating at regular intervals."""
    between, due, curve = 60 * minutes / evaluations, 0.0, []
    for policy, env_steps, seconds in train(
        algorithm, SETTINGS[algorithm][name], env_id, seed, 16 * NUM_ENVS
    ):
        over = seconds >= 60 * minutes
        if seconds >= due or over:
            curve.append(
                {"env_steps": env_steps, "seconds": round(seconds, 1), **evaluate_both(policy, env_id)}
            )
            due = seconds + between
        if over:
            break
    return {
        "algorithm": algorithm,
        "setting": name,
        "env_id": env_id,
        "training_seed": seed,
        "curve": curve,
    }


def objective(record: Record) -> tuple[float, float, int]:
    """Mean success over the evaluations, then success at the end, both to a tenth; then the steps."""
    rates = [point["success_rate"] for point in record["curve"]]
    return round(float(np.mean(rates)), 1), round(rates[-1], 1), record["curve"][-1]["env_steps"]


def main(config: Tune) -> None:
    """Run the benchmark."""
    jobs = {}
    for seed in range(FIRST_SEED, FIRST_SEED + config.seeds):
        for algorithm in config.algorithms:
            for name in SETTINGS[algorithm]:
                file = f"{algorithm}-{name}-seed{seed}".replace(" ", "-").replace(",", "")
                job = (algorithm, name, config.env_id, seed, config.minutes, config.evaluations)
                jobs[config.out / config.env_id / f"{file}.json"] = job
    settings = {"minutes": config.minutes, "evaluations": config.evaluations, "episodes": EPISODES}
    records = run_jobs(run_job, jobs, settings, config.workers)
    table = Table(title=f"{config.env_id}: {config.minutes:g} minutes of training, tuning seeds")
    for heading in (
        "algorithm",
        "setting",
        "mean success, %",
        "at the end, %",
        "steps to 90 %",
        "steps",
    ):
        table.add_column(heading)
    for algorithm in config.algorithms:
        mine = [record for record in records if record["algorithm"] == algorithm]
        for record in sorted(mine, key=objective, reverse=True):
            end = record["curve"][-1]
            rates = [point["success_rate"] for point in record["curve"]]
            reached = [p["env_steps"] for p in record["curve"] if p["success_rate"] >= 0.9]
            table.add_row(
                algorithm,
                record["setting"],
                f"{100 * np.mean(rates):.0f}",
                f"{100 * end['success_rate']:.0f}",
                str(min(reached, default="never")),
                str(end["env_steps"]),
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    command(Tune, main)
