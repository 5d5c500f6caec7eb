"""The comparison with model-free baselines: every algorithm, environment and training seed.

    python -m benchmarks.comparison.sweep --workers 2
    python -m benchmarks.comparison.sweep --backend ray --address 127.0.0.1:6379
    python -m benchmarks.comparison.report

A job is one algorithm in one environment with one seed (`benchmarks.comparison.job`). It runs once, in
a process of its own with one thread, and leaves a file in `--out`. A sweep that was interrupted
continues with the jobs that have no file. Seeds come in turn, so that an unfinished sweep compares what
is comparable.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from benchmarks.comparison import job
from benchmarks.comparison.budgets import ALGORITHMS, BUDGETS, EPISODES, REFERENCES, Algorithm
from benchmarks.comparison.records import releases
from benchmarks.engine.backends import PACKAGES, Backend, OnRay, Processes, Record
from benchmarks.engine.jobs import at_least_one, command, read_record, run_jobs

PROTOCOL = 3  # another number where something that is not in a job's settings changes what it means


@dataclass
class Sweep:
    """Run the jobs that have no file yet."""

    algorithms: tuple[str, ...] = ALGORITHMS
    """Which algorithms."""
    env_ids: tuple[str, ...] = tuple(BUDGETS)
    """Which environments."""
    seeds: int = 10
    """Number of training seeds of ours and of PPO, from 0."""
    other_seeds: int = 5
    """Number of training seeds of the other baselines."""
    seconds_scale: float = 1.0
    """Scales the seconds that a baseline may train; give another --out with it."""
    backend: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster that runs already."""
    address: str = "127.0.0.1:6379"
    """The Ray cluster's."""
    workers: int = 1
    """Local jobs at a time; if more than one, they share the machine, and all run slower."""
    out: Path = Path("benchmarks/results/sweep")
    """Where the raw scores are."""

    def __post_init__(self) -> None:
        for name, allowed in (("algorithms", ALGORITHMS), ("env_ids", tuple(BUDGETS))):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(f"{name}: got {value!r}, allowed: {allowed}")
        at_least_one(self, "seeds", "other_seeds", "workers")
        if not self.seconds_scale > 0:
            raise ValueError(f"seconds_scale: got {self.seconds_scale}, allowed: more than 0")

    def jobs(self) -> Iterator[tuple[Path, Algorithm, str, int]]:
        """File, algorithm, environment and seed of every job; all of a seed before the next."""
        for seed in range(max(self.seeds, self.other_seeds)):
            for env_id in self.env_ids:
                for algorithm in ALGORITHMS:
                    few = 1 if algorithm in REFERENCES else self.other_seeds
                    count = self.seeds if algorithm in ("world-model", "ppo") else few
                    if algorithm in self.algorithms and seed < count:
                        yield (
                            self.out / env_id / f"{algorithm}-seed{seed}.json",
                            algorithm,
                            env_id,
                            seed,
                        )


def check_versions(records: dict[Path, Record]) -> None:
    """Refuse to mix results of other versions with those that are to come.

    Raises:
        ValueError: it names the first file that is of another version.
    """
    installed = releases({name: version(name) for name in PACKAGES})
    for path, record in records.items():
        found = releases(record.get("versions", {}))
        if found != installed:
            raise ValueError(
                f"{path}: got versions {found}, allowed: {installed}, the installed; keep results of "
                "other versions in another folder (--out)"
            )


def run(config: Sweep) -> None:
    """Run the sweep.

    Raises:
        ValueError: files of other settings or versions, or that are no records, or another sweep at
            work in the same folder; nothing is run.
        FailedJobsError: some jobs failed twice; all others have their files.
    """
    planned = list(config.jobs())
    config.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(config.out / ".lock", timeout=0):
            check_versions({path: read_record(path) for path, *_ in planned if path.exists()})
            backend: Backend = (
                OnRay(config.address) if config.backend == "ray" else Processes(config.workers)
            )
            jobs: dict[Path, tuple[Any, ...]] = {}
            own: dict[Path, Record] = {}
            for path, algorithm, env_id, seed in planned:
                budget = BUDGETS[env_id]
                budget = replace(budget, seconds=budget.seconds * config.seconds_scale)
                jobs[path] = (algorithm, env_id, seed, budget, seed == 0)
                own[path] = job.settings(algorithm, env_id, budget)
            settings = {"protocol": PROTOCOL, "episodes": EPISODES}
            run_jobs(job.run_job, jobs, settings, backend=backend, own=own)
    except Timeout as error:
        raise ValueError(f"out: got {config.out}, where another sweep is at work") from error


if __name__ == "__main__":
    command(Sweep, run)
