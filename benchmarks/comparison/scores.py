"""What the comparison's raw scores say: thresholds with censoring, and rliable's statistics.

A run's score is success weighted by path length (SPL, arXiv 1807.06757: the oracle has 1), or its
success rate. Aggregates over rooms are the interquartile mean, performance profiles and the
probability of improvement of rliable (arXiv 2108.13264), with 95 % intervals of a bootstrap that is
stratified by room.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics
from scipy import stats

from benchmarks.comparison.contest import ALGORITHMS, ROOMS
from benchmarks.engine.backends import Record
from benchmarks.engine.jobs import read_record

Axis = Literal["env_steps", "seconds"]
OURS, REFERENCES = "world-model", ("random", "oracle")
BASELINES = tuple(a for a in ALGORITHMS if a not in (OURS, *REFERENCES))
REPETITIONS = 1000
FIGURES = (
    *("env_steps", "seconds", "planning_seconds", "success_rate", "spl", "mean_return"),
    *("steps_over_oracle", "decision_ms"),
)
"""Of every look."""


class Estimate(NamedTuple):
    """A point and its 95 % interval, which is NaN where it comes from a single seed."""

    point: float
    low: float
    high: float


class Reached(NamedTuple):
    """When the runs of an algorithm in a room first succeeded often enough."""

    values: list[float]
    """Of the runs that did: the look at which they did, or the one before it."""
    censored: list[float]
    """Where the others ended."""

    @property
    def median(self) -> tuple[float, bool]:
        """The median, and whether it is only a lower bound, as some runs never got there.

        They would have at the earliest just where they ended, or else never: where the median is the
        same in both cases it is known, else it is at least that of the first.
        """
        earliest = np.median([*self.values, *self.censored])
        latest = np.median([*self.values, *(np.inf for _ in self.censored)])
        return float(earliest), bool(earliest != latest)


class Scores:
    """The records of a sweep, by algorithm, room and seed.

    Args:
        folder: what `benchmarks.comparison.sweep` wrote.

    Raises:
        ValueError: no records, or one that is half written, of an unknown algorithm or room, twice
            there, or of other versions, settings or budgets than the rest.
    """

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*/*.json"))
        if not paths:
            raise ValueError(
                f"out: got {folder}, which has no records; run benchmarks.comparison.sweep first"
            )
        self.records: dict[tuple[str, str, int], Record] = {}
        self.budgets: dict[str, Record] = {}
        self.origin: Record = {}
        """Versions and protocol, which all records share."""
        for path in paths:
            record = read_record(path)
            self._check(path, record)
            origin = {name: record["settings"].get(name) for name in ("protocol", "episodes")}
            origin["versions"] = releases(record["versions"])
            self.origin = self.origin or origin
            for name, others in self.origin.items():
                if (mine := origin[name]) != others:
                    raise ValueError(f"{path}: got {name} {mine}, allowed: {others}, as in {paths[0]}")
            budget = self.budgets.setdefault(record["env_id"], {})
            for name in ("threshold", "env_steps", "seconds"):
                mine = record["settings"].get(name)
                if mine is not None and budget.setdefault(name, mine) != mine:
                    allowed = f"{budget[name]}, as in others of {record['env_id']}"
                    raise ValueError(f"{path}: got {name} {mine}, allowed: {allowed}")
            key = record["algorithm"], record["env_id"], record["seed"]
            if key in self.records:
                raise ValueError(f"{path}: got {key}, which is there twice; remove one of the files")
            for other in self.runs(*key[:2])[:1]:
                mine, others = (r["settings"].get("arguments") for r in (record, other))
                if mine != others:
                    raise ValueError(f"{path}: got arguments {mine}, allowed: {others}, as other seeds")
            self.records[key] = record
        for env_id, budget in self.budgets.items():
            budget.setdefault("seconds", ROOMS[env_id].seconds)  # no baseline has run here
            budget.setdefault("env_steps", ROOMS[env_id].env_steps)
        self.rooms = [env_id for env_id in ROOMS if env_id in self.budgets]
        present = {algorithm for algorithm, _, _ in self.records}
        self.algorithms = [algorithm for algorithm in ALGORITHMS if algorithm in present]
        self.learners = [algorithm for algorithm in self.algorithms if algorithm not in REFERENCES]
        self.shared = [e for e in self.rooms if all(self.runs(a, e) for a in self.learners)]
        """The rooms that every learner has run in: only these are taken together."""

    def _check(self, path: Path, record: Record) -> None:
        """Refuse a record that is none of a sweep's."""
        for name, allowed in (("algorithm", ALGORITHMS), ("env_id", tuple(ROOMS))):
            if record.get(name) not in allowed:
                raise ValueError(f"{path}: {name}: got {record.get(name)!r}, allowed: {allowed}")
        kinds = (("seed", int), ("curve", list), ("versions", dict), ("settings", dict))
        wrong = [name for name, kind in kinds if not isinstance(record.get(name), kind)]
        if not wrong and not (record["curve"] and all(map(_is_look, record["curve"]))):
            wrong = ["curve"]
        if not wrong and not _is_base64(record.get("clip", "")):
            wrong = ["clip"]
        if wrong:
            raise ValueError(
                f"{path}: {wrong[0]}: got {record.get(wrong[0])!r:.200}, allowed: as a sweep writes "
                "it; remove the file to run its job again"
            )

    def runs(self, algorithm: str, env_id: str) -> list[Record]:
        """An algorithm's records in a room, by seed."""
        keys = sorted(key for key in self.records if key[:2] == (algorithm, env_id))
        return [self.records[key] for key in keys]

    def reached(self, algorithm: str, env_id: str, axis: Axis, earliest: bool = False) -> Reached:
        """When its runs first had the room's success rate.

        Args:
            algorithm: whose.
            env_id: the room.
            axis: steps or seconds.
            earliest: when they may have had it at the earliest, just after the look before.
        """
        values, censored = [], []
        for record in self.runs(algorithm, env_id):
            points = record["curve"]
            rates = [point["success_rate"] for point in points]
            number = next(
                (i for i, r in enumerate(rates) if r >= self.budgets[env_id]["threshold"]), None
            )
            if number is None:
                censored.append(float(points[-1][axis]))
            elif earliest:
                values.append(float(points[number - 1][axis]) if number else 0.0)
            else:
                values.append(float(points[number][axis]))
        return Reached(values, censored)

    def relapses(self, algorithm: str, env_id: str) -> list[float]:
        """The lowest success rate, after it first had the room's, of each run that fell below it."""
        threshold = self.budgets[env_id]["threshold"]
        lowest = []
        for record in self.runs(algorithm, env_id):
            rates = [point["success_rate"] for point in record["curve"]]
            number = next((i for i, rate in enumerate(rates) if rate >= threshold), len(rates))
            lowest.append(min(rates[number:], default=threshold))
        return [rate for rate in lowest if rate < threshold]

    def at(self, algorithm: str, env_id: str, axis: Axis, value: float, name: str) -> list[float]:
        """A figure of each run at the first look at or after `value`, or at its last one.

        So a baseline that is looked at a little later than ours has the advantage of it.
        """
        return [look_at(record, axis, value)[name] for record in self.runs(algorithm, env_id)]

    def matrix(self, algorithm: str, axis: Axis, share: float, name: str) -> NDArray[np.float64]:
        """Scores (runs, rooms) in the shared rooms, of the seeds that have run in all of them.

        Args:
            algorithm: whose.
            axis: of equal frames, or of equal seconds.
            share: where, in units of our steps or of the baselines' seconds in each room.
            name: of the score.
        """
        seeds = [{s for a, e, s in self.records if (a, e) == (algorithm, room)} for room in self.shared]
        common = sorted(set.intersection(*seeds)) if seeds else []
        columns = [
            [
                look_at(self.records[algorithm, room, seed], axis, share * self.budgets[room][axis])[
                    name
                ]
                for seed in common
            ]
            for room in self.shared
        ]
        return np.array(columns, np.float64).T

    def span(self, algorithm: str, axis: Axis) -> tuple[float, float]:
        """From which share of the budgets on all its runs had been looked at, and up to which."""
        curves = [
            [point[axis] / self.budgets[room][axis] for point in run["curve"]]
            for room in self.shared
            for run in self.runs(algorithm, room)
        ]
        return max(curve[0] for curve in curves), min(curve[-1] for curve in curves)

    def complete(self) -> list[str]:
        """The algorithms that have a seed with all shared rooms."""
        return [a for a in self.algorithms if self.matrix(a, "env_steps", 1.0, "spl").size]


def releases(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions without their builds (+cpu, +cu130), which do not matter."""
    return {name: number.split("+")[0] for name, number in versions.items()}


def _is_base64(clip: object) -> bool:
    """Whether a film is written as a sweep writes it: it goes into the page as it is."""
    try:
        return isinstance(clip, str) and bool(base64.b64decode(clip, validate=True) or not clip)
    except ValueError:
        return False


def _is_look(point: Any) -> bool:
    """Whether all figures of a look are there, as numbers."""
    numbers = [point.get(name) for name in FIGURES] if isinstance(point, dict) else [None]
    return all(isinstance(number, int | float) and np.isfinite(number) for number in numbers)


def look_at(record: Record, axis: Axis, value: float) -> Record:
    """The first look at or after `value`; the last one where training ended before."""
    later = (point for point in record["curve"] if point[axis] >= value)
    return next(later, record["curve"][-1])


def aggregate(scores: Scores, axis: Axis, share: float, name: str = "spl") -> dict[str, Estimate]:
    """The interquartile mean of each algorithm over runs and rooms."""
    matrices = {a: scores.matrix(a, axis, share, name) for a in scores.complete()}
    return _estimates(matrices, lambda x: np.array([metrics.aggregate_iqm(x)]))


def probability_of_improvement(scores: Scores, axis: Axis, share: float) -> dict[str, Estimate]:
    """That a run of ours has a better SPL than one of each baseline, in a room drawn at random."""
    if OURS not in scores.complete():
        return {}
    ours = scores.matrix(OURS, axis, share, "spl")
    pairs = {
        algorithm: [ours, scores.matrix(algorithm, axis, share, "spl")]
        for algorithm in scores.complete()
        if algorithm in BASELINES
    }
    return _estimates(pairs, lambda x, y: np.array([better(x, y)]))


def better(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """P(X > Y) + P(X = Y) / 2 of runs (n, rooms) and (m, rooms), the mean over rooms.

    rliable's `probability_of_improvement`, without its rank test, a hundred times sooner.
    """
    difference = x[:, None] - y[None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def profiles(
    scores: Scores, axis: Axis, share: float, taus: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The share of runs with an SPL above each τ, and its interval (2, τ)."""
    matrices = {a: scores.matrix(a, axis, share, "spl") for a in scores.complete()}
    with _seeded():
        points, intervals = library.create_performance_profile(matrices, taus, reps=REPETITIONS)
    return {algorithm: (points[algorithm], intervals[algorithm]) for algorithm in points}


def efficiency(
    scores: Scores, axis: Axis, shares: Sequence[float]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The interquartile mean at several shares of the budgets, and its interval (2, shares)."""
    matrices = {
        a: np.stack([scores.matrix(a, axis, share, "spl") for share in shares], -1)
        for a in scores.complete()
    }
    with _seeded():
        points, intervals = library.get_interval_estimates(
            matrices,
            # metrics.aggregate_iqm at every share, in one call
            lambda x: stats.trim_mean(x.reshape(-1, len(shares)), 0.25, axis=0),
            reps=REPETITIONS,
        )
    return {algorithm: (points[algorithm], intervals[algorithm]) for algorithm in points}


def over_ours(scores: Scores, env_id: str, axis: Axis) -> tuple[str, float, bool]:
    """The best baseline's median over our median; whether that is a lower bound only.

    Looks are some way apart, so a baseline counts from its look before the one at which it had
    arrived, and ours from the one at which it had: the ratio is no less than that. A baseline of which
    most runs never got there counts from where they ended; so the best one may be one that has not
    arrived, and then the ratio is at least what is given. No name and NaN: there is nothing to compare.
    """
    mine = scores.reached(OURS, env_id, axis)
    medians = {
        algorithm: scores.reached(algorithm, env_id, axis, earliest=True).median
        for algorithm in scores.algorithms
        if algorithm in BASELINES and scores.runs(algorithm, env_id)
    }
    if not medians or not mine.values or mine.median[1]:
        return "", float("nan"), False
    best = min(medians, key=lambda algorithm: medians[algorithm])
    return best, medians[best][0] / mine.median[0], medians[best][1]


def _estimates(
    scores: dict[str, NDArray[np.float64]] | dict[str, list[NDArray[np.float64]]],
    function: Callable[..., NDArray[Any]],
) -> dict[str, Estimate]:
    with _seeded():
        points, intervals = library.get_interval_estimates(scores, function, reps=REPETITIONS)
    found = {}
    for name, interval in intervals.items():
        matrices = scores[name] if isinstance(scores[name], list) else [scores[name]]
        if min(len(matrix) for matrix in matrices) < 2:
            interval = np.full_like(interval, np.nan)
        found[name] = Estimate(float(points[name][0]), float(interval[0, 0]), float(interval[1, 0]))
    return found


@contextmanager
def _seeded() -> Iterator[None]:
    """The same bootstrap every time; rliable's draws from numpy's global stream."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
