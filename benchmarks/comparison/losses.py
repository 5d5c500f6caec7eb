"""Where the comparison is lost, in words: the first thing that the report's page says."""

from collections.abc import Iterator

import numpy as np

from benchmarks.comparison.budgets import OURS
from benchmarks.comparison.figures import AXES, short
from benchmarks.comparison.scores import Axis, Scores
from benchmarks.comparison.tables import WHERE, Chances, interval, median, percent


def losses(scores: Scores, chances: Chances) -> list[str]:
    """Environments that ours does not learn, and baselines that are better somewhere."""
    lines = [] if OURS in scores.algorithms else ["Ours has not run: nothing is compared."]
    for env_id in scores.env_ids:
        if scores.runs(OURS, env_id):
            lines += [*unlearned(scores, env_id), *sooner(scores, env_id), *shorter(scores, env_id)]
    for axis, found in chances.items():
        lines += [
            f"All environments together, {WHERE[axis]}: {algorithm} is ahead; the probability that "
            f"a run of ours has the better SPL is {interval(chance)}."
            for algorithm, chance in found.items()
            if chance.point < 0.5
        ]
    return [*lines, *missing(scores)] or ["Nowhere in these environments."]


def unlearned(scores: Scores, env_id: str) -> Iterator[str]:
    """Whether ours does not learn the environment, or does not keep what it learned."""
    threshold, at = scores.budgets[env_id]["threshold"], scores.budgets[env_id]["env_steps"]
    ours = scores.at(OURS, env_id, "env_steps", at, "success_rate")
    if np.mean(ours) < threshold:
        yield (
            f"{short(env_id)}: ours does not learn it: {percent(ours)} % success after {at} steps, "
            f"{threshold:.0%} would count as learned."
        )
    if relapses := scores.relapses(OURS, env_id):
        yield (
            f"{short(env_id)}: {len(relapses)} of {len(ours)} runs of ours fell below {threshold:.0%} "
            f"again after they first reached it, the lowest to {min(relapses):.0%}."
        )


def sooner(scores: Scores, env_id: str) -> Iterator[str]:
    """Which baselines learn the environment before ours does."""
    for axis, name in AXES.items():
        mine = scores.reached(OURS, env_id, axis)
        for algorithm in scores.others:
            theirs = scores.reached(algorithm, env_id, axis)
            if not theirs.values or theirs.median[1]:
                continue
            if not mine.values or mine.median[1] or theirs.median[0] <= mine.median[0]:
                said = f"{algorithm} after {median(theirs, 0)} {name}, ours {median(mine, 0)}"
                yield f"{short(env_id)}: a baseline learns it faster, or alone: {said}."


def shorter(scores: Scores, env_id: str) -> Iterator[str]:
    """Which baselines have the better SPL, at equal steps or at the end."""
    after: dict[Axis, str] = {"env_steps": f"after {scores.budgets[env_id]['env_steps']} steps"}
    for axis, where in (WHERE | after).items():
        mark = scores.budgets[env_id][axis]
        mine = np.mean(scores.at(OURS, env_id, axis, mark, "spl"))
        for algorithm in scores.others:
            theirs = scores.at(algorithm, env_id, axis, mark, "spl")
            if theirs and np.mean(theirs) >= mine:
                numbers = f"SPL {np.mean(theirs):.3f} against {mine:.3f}"
                yield f"{short(env_id)}, {where}: {algorithm} is as good or better, {numbers}."


def missing(scores: Scores) -> Iterator[str]:
    """Which algorithms have too few runs to conclude much."""
    complete = scores.complete()
    for algorithm in scores.learners:
        if algorithm not in complete:
            yield f"{algorithm} has no seed that ran in all environments: it is in no aggregate."
    fewest = {a: min(len(scores.runs(a, env_id)) for env_id in scores.env_ids) for a in scores.learners}
    few = [f"{algorithm} {count}" for algorithm, count in fewest.items() if count < 5]
    if few:
        yield (
            "Some algorithms have fewer than five training seeds in some environment, so that their "
            "intervals are too narrow, or missing, and the order may change (algorithm and seeds: "
            f"{', '.join(few)})."
        )
