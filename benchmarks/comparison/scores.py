"""What the comparison's records say: thresholds with censoring, and rliable's statistics.

A run's score is success weighted by path length (SPL, arXiv 1807.06757: the oracle has 1), or its
success rate. Aggregates over environments are the interquartile mean, performance profiles and the
probability of improvement of rliable (arXiv 2108.13264), with 95 % intervals of a bootstrap that is
stratified by environment.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics
from scipy import stats

from benchmarks.comparison.budgets import OURS
from benchmarks.comparison.records import Records
from benchmarks.engine.backends import Record

Axis = Literal["env_steps", "seconds"]
REPETITIONS = 1000


class Estimate(NamedTuple):
    """A point and its 95 % interval, which is NaN where it comes from a single seed."""

    point: float
    low: float
    high: float


class Reached(NamedTuple):
    """When the runs of an algorithm in an environment first reached its threshold."""

    values: list[float]
    """Of the runs that did: the evaluation at which they did, or the one before it."""
    censored: list[float]
    """Where the others ended."""

    @property
    def median(self) -> tuple[float, bool]:
        """The median, and whether it is only a lower bound, as some runs never got there.

        Those runs would have arrived at the earliest just where they ended, or else never. Where the
        median is the same in both cases it is known, else it is at least that of the first.
        """
        earliest = np.median([*self.values, *self.censored])
        latest = np.median([*self.values, *(np.inf for _ in self.censored)])
        return float(earliest), bool(earliest != latest)


class Scores(Records):
    """The records of a sweep and their statistics."""

    def threshold(self, env_id: str) -> float:
        """The success rate that counts as learned."""
        return self.budgets[env_id]["threshold"]

    def reached(self, algorithm: str, env_id: str, axis: Axis, earliest: bool = False) -> Reached:
        """When an algorithm's runs first reached the environment's threshold.

        Args:
            algorithm: one of `algorithms`.
            env_id: the environment.
            axis: environment steps or training seconds.
            earliest: give the earliest possible time, that of the evaluation before.
        """
        values, censored = [], []
        for record in self.runs(algorithm, env_id):
            points = record["curve"]
            number = self._first(record)
            if number == len(points):
                censored.append(float(points[-1][axis]))
            elif earliest:
                values.append(float(points[number - 1][axis]) if number else 0.0)
            else:
                values.append(float(points[number][axis]))
        return Reached(values, censored)

    def relapses(self, algorithm: str, env_id: str) -> list[float]:
        """The lowest success rate of each run that fell below the threshold after reaching it."""
        threshold = self.threshold(env_id)
        lowest = []
        for record in self.runs(algorithm, env_id):
            later = record["curve"][self._first(record) :]
            lowest.append(min((point["success_rate"] for point in later), default=threshold))
        return [rate for rate in lowest if rate < threshold]

    def at(self, algorithm: str, env_id: str, axis: Axis, value: float, name: str) -> list[float]:
        """A figure of each run at the first evaluation at or after `value`, or at its last one.

        So a baseline that is evaluated a little later than ours has the advantage of it.
        """
        return [evaluation_at(run, axis, value)[name] for run in self.runs(algorithm, env_id)]

    def matrix(self, algorithm: str, axis: Axis, share: float, name: str) -> NDArray[np.float64]:
        """Scores (runs, environments), of the seeds that have run in all shared environments.

        Args:
            algorithm: one of `algorithms`.
            axis: at equal environment steps, or at equal seconds.
            share: where, in units of our steps or of the baselines' seconds in each environment.
            name: of the score.
        """
        seeds = [{s for a, e, s in self.records if (a, e) == (algorithm, each)} for each in self.shared]
        common = sorted(set.intersection(*seeds)) if seeds else []

        def score(env_id: str, seed: int) -> float:
            mark = share * self.budgets[env_id][axis]
            return evaluation_at(self.records[algorithm, env_id, seed], axis, mark)[name]

        columns = [[score(env_id, seed) for seed in common] for env_id in self.shared]
        return np.array(columns, np.float64).T

    def span(self, algorithm: str, axis: Axis) -> tuple[float, float]:
        """From which share of the budgets on all its runs have evaluations, and up to which."""
        curves = [
            [point[axis] / self.budgets[env_id][axis] for point in run["curve"]]
            for env_id in self.shared
            for run in self.runs(algorithm, env_id)
        ]
        return max(curve[0] for curve in curves), min(curve[-1] for curve in curves)

    def complete(self) -> list[str]:
        """The algorithms that have a seed with all shared environments."""
        return [a for a in self.algorithms if self.matrix(a, "env_steps", 1.0, "spl").size]

    def _first(self, record: Record) -> int:
        """The number of the first evaluation at the threshold; if there is none, how many there are."""
        rates = [point["success_rate"] for point in record["curve"]]
        threshold = self.threshold(record["env_id"])
        return next((i for i, rate in enumerate(rates) if rate >= threshold), len(rates))


def evaluation_at(record: Record, axis: Axis, value: float) -> Record:
    """The first evaluation at or after `value`; the last one where training ended before."""
    later = (point for point in record["curve"] if point[axis] >= value)
    return next(later, record["curve"][-1])


def aggregate(scores: Scores, axis: Axis, share: float, name: str = "spl") -> dict[str, Estimate]:
    """The interquartile mean of each algorithm over runs and environments."""
    matrices = {a: scores.matrix(a, axis, share, name) for a in scores.complete()}
    return _estimates(matrices, lambda x: np.array([metrics.aggregate_iqm(x)]))


def probability_of_improvement(scores: Scores, axis: Axis, share: float) -> dict[str, Estimate]:
    """P(a run of ours has a better SPL than one of each baseline), averaged over environments."""
    if OURS not in scores.complete():
        return {}
    ours = scores.matrix(OURS, axis, share, "spl")
    pairs = {
        algorithm: [ours, scores.matrix(algorithm, axis, share, "spl")]
        for algorithm in scores.complete()
        if algorithm in scores.others
    }
    return _estimates(pairs, lambda x, y: np.array([better(x, y)]))


def better(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """P(X > Y) + P(X = Y) / 2 of runs (n, E) and (m, E), the mean over E environments.

    rliable's `probability_of_improvement` without its rank test, a hundred times faster.
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

    Evaluations are some way apart, so a baseline counts from the last evaluation before it reached
    the threshold, and ours from the first at which it had: the true ratio is no less. A baseline of
    which most runs never got there counts from where they ended; so the best one may be one that has
    not arrived, and then the ratio is a lower bound. No name and NaN: there is nothing to compare.
    """
    mine = scores.reached(OURS, env_id, axis)
    medians = {
        algorithm: scores.reached(algorithm, env_id, axis, earliest=True).median
        for algorithm in scores.others
        if scores.runs(algorithm, env_id)
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
