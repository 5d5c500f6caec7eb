r"""The comparison with model-free baselines: every algorithm, environment and training seed.

    python -m benchmarks.comparison.sweep --workers 2
    python -m benchmarks.comparison.sweep --backend ray --address 127.0.0.1:6379
    python -m benchmarks.comparison.sweep --algorithms my_package.module:make \
        --env-ids my_package:Room-v0
    python -m benchmarks.comparison.report

A job is one algorithm in one environment with one seed (`benchmarks.comparison.job`). It runs once, in
a process of its own with one thread, and leaves a file in `--out`. A sweep that was interrupted
continues with the jobs that have no file. Seeds come in turn, so that an unfinished sweep compares what
is comparable.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from filelock import FileLock, Timeout

import robot_room  # noqa: F401 - registers its environments
from benchmarks.comparison import algorithms, job
from benchmarks.comparison.budgets import (
    ALGORITHMS,
    BUDGETS,
    EPISODES,
    OTHER,
    OURS,
    PLAIN,
    REFERENCES,
    Budget,
)
from benchmarks.comparison.records import releases
from benchmarks.engine.backends import PACKAGES, Backend, OnRay, Processes, Record
from benchmarks.engine.jobs import at_least_one, command, read_record, run_jobs
from robot_room.app.evaluation.policies import Uniform
from robot_room.app.evaluation.protocol import TUNING_SEED, env_spec, evaluate

PROTOCOL = 3  # another number where something that is not in a job's settings changes what it means


@dataclass(kw_only=True)
class Machines:
    """Where the jobs run."""

    backend: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster that runs already."""
    address: str = "127.0.0.1:6379"
    """The Ray cluster's."""
    num_cpus: float = 1
    """Processors that a job takes on the Ray cluster."""
    num_gpus: float = 0
    """GPUs that a job takes there."""
    retries: int = 3
    """How often a job is run again whose node is lost."""
    storage: str | None = None
    """Folder that all machines reach, a path or URI; each job leaves its record there, too."""


@dataclass
class Sweep(Machines):
    """Run the jobs that have no file yet."""

    algorithms: tuple[str, ...] = ALGORITHMS
    """Which algorithms: built-in ones, module:function or NAME=module:function."""
    env_ids: tuple[str, ...] = tuple(BUDGETS)
    """Which environments; of a package of its own as package:Name-v0."""
    seeds: int = 10
    """Number of training seeds of ours, plain or not, and of PPO, from 0."""
    other_seeds: int = 5
    """Number of training seeds of the other algorithms."""
    seconds_scale: float = 1.0
    """Scales the seconds that a baseline may train; give another --out with it."""
    other_budget: Budget = field(default_factory=lambda: OTHER)
    """In environments that are not the comparison's own."""
    workers: int = 1
    """Local jobs at a time; if more than one, they share the machine, and all run slower."""
    out: Path = Path("benchmarks/results/sweep")
    """Where the raw scores are."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "other_seeds", "workers")
        if not self.seconds_scale > 0:
            raise ValueError(f"seconds_scale: got {self.seconds_scale}, allowed: more than 0")
        for env_id in self.env_ids:
            env_spec(env_id)
        names = [name for name, _ in self.chosen()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"algorithms: got {name!r} twice, allowed: once, or NAME=module:function"
                )

    def chosen(self) -> list[tuple[str, str | None]]:
        """Name and target of every algorithm; the built-in ones first, which have no target.

        Raises:
            ValueError: one is neither built-in nor module:function.
        """
        outside = [algorithms.parse(given) for given in self.algorithms if given not in ALGORITHMS]
        for name, target in outside:
            if name in ALGORITHMS:
                raise ValueError(
                    f"algorithms: got {name}={target}, allowed: a name that is not built-in"
                )
        return [*((name, None) for name in ALGORITHMS if name in self.algorithms), *outside]

    def jobs(self) -> Iterator[tuple[Path, str, str, int]]:
        """File, algorithm, environment and seed of every job; all of a seed before the next."""
        for seed in range(max(self.seeds, self.other_seeds)):
            for env_id in self.env_ids:
                for algorithm, _ in self.chosen():
                    few = 1 if algorithm in REFERENCES else self.other_seeds
                    count = self.seeds if algorithm in (OURS, PLAIN, "ppo") else few
                    if seed < count:
                        folder = self.out / env_id.replace(":", ".")
                        yield folder / f"{algorithm}-seed{seed}.json", algorithm, env_id, seed

    def budget(self, env_id: str) -> Budget:
        """How long an algorithm may take in an environment."""
        budget = BUDGETS.get(env_id, self.other_budget)
        return replace(budget, seconds=budget.seconds * self.seconds_scale)


def check_outside(config: Sweep) -> None:
    """Try what is not built in for a moment, before anything runs for minutes.

    Raises:
        ValueError: an environment without the oracle's steps, or an algorithm that does not fit.
    """
    for env_id in config.env_ids:
        spec = env_spec(env_id)
        if env_id not in BUDGETS:
            check_room(env_id)
        for _, target in config.chosen():
            if target is not None:
                with closing(algorithms.train(algorithms.load(target), spec, 0)) as training:
                    next(training, None)


def check_room(env_id: str) -> None:
    """Run two episodes of random actions in an environment.

    Raises:
        ValueError: it cannot be scored: its optimal numbers of steps are not known.
    """
    policy = Uniform(gym.make(env_id).action_space, 0)
    if evaluate(policy, env_id, 2, TUNING_SEED).oracle_steps is None:
        raise ValueError(
            f"env_ids: got {env_id!r}, whose optimal numbers of steps are not known, allowed: a room "
            "of RobotRoomEnv with continuous actions, or info['oracle_steps'] at every reset"
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
                OnRay(config.address, config.num_cpus, config.num_gpus, config.retries)
                if config.backend == "ray"
                else Processes(config.workers)
            )
            targets = dict(config.chosen())
            if any(not path.exists() for path, *_ in planned):
                check_outside(config)
            jobs: dict[Path, tuple[Any, ...]] = {}
            own: dict[Path, Record] = {}
            for path, algorithm, env_id, seed in planned:
                budget, target = config.budget(env_id), targets[algorithm]
                jobs[path] = (algorithm, env_id, seed, budget, seed == 0, target)
                own[path] = job.settings(algorithm, env_id, budget, target)
            settings = {"protocol": PROTOCOL, "episodes": EPISODES}
            run_jobs(job.run_job, jobs, settings, backend=backend, own=own, stored=config.storage)
    except Timeout as error:
        raise ValueError(f"out: got {config.out}, where another sweep is at work") from error


if __name__ == "__main__":
    command(Sweep, run)
