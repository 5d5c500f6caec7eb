"""The tables of the comparison, as rows of text; the first row is the heading."""

import numpy as np

from benchmarks.comparison.budgets import BUDGETS, OTHER, OURS
from benchmarks.comparison.figures import AXES, short
from benchmarks.comparison.scores import Axis, Estimate, Reached, Scores, aggregate, over_ours
from benchmarks.engine.backends import Record

# Speed-ups to show: environment, axis, design goal.
HEADLINES: tuple[tuple[str, Axis, float], ...] = (
    ("RobotRoom-v0", "env_steps", 10),
    ("RobotRoomRandomGoal-v0", "env_steps", 25),
    ("RobotRoom-v0", "seconds", 1),
    ("RobotRoomRandomGoal-v0", "seconds", 1),
)
WHERE: dict[Axis, str] = {"env_steps": "at equal steps", "seconds": "at the end"}

Rows = list[list[str]]
Chances = dict[Axis, dict[str, Estimate]]
"""At equal steps and at the end, by baseline: the probability that a run of ours is better."""


def headlines(scores: Scores, chances: dict[str, Estimate]) -> Rows:
    """How much faster ours reaches a threshold than the best baseline, beside the design goal."""
    rows = []
    for env_id, axis, design_goal in HEADLINES:
        if not any(scores.runs(algorithm, env_id) for algorithm in scores.others):
            continue
        best, ratio, bound = over_ours(scores, env_id, axis)
        seeds = {len(runs) for a in scores.others if (runs := scores.runs(a, env_id))}
        counts = " to ".join(str(count) for count in sorted({min(seeds), max(seeds)}))
        had = f"{scores.budgets[env_id]['seconds']:g} s, seeds: {counts}"
        goal = f"{AXES[axis]} to {scores.budgets[env_id]['threshold']:.0%} on {short(env_id)}"
        if not best:
            said = "ours does not learn it" if scores.runs(OURS, env_id) else "ours has not run"
        elif bound:
            said = f"at least {ratio:.1f} (where {best} ended without it)"
        else:
            said = f"{ratio:.1f} ({best})"
        rows.append([goal, said, f"≥ {design_goal:g}", had])
    if chances:
        least = min(chances, key=lambda algorithm: chances[algorithm].point)
        said = f"{interval(chances[least], 3)} ({least})"  # so that 0.948 does not read as met
        goal = "probability of improvement at equal steps, the lowest"
        rows.append([goal, said, "≥ 0.95", ""])
    return rows


def pooled(scores: Scores, chances: Chances) -> Rows:
    """All environments together: the interquartile mean, and the probability of improvement."""
    means = {axis: aggregate(scores, axis, 1.0) for axis in AXES}
    rows = [
        [
            "algorithm",
            "seeds in all environments",
            *(f"interquartile mean of SPL, {where}" for where in WHERE.values()),
            *(f"probability that ours has the better SPL, {where}" for where in WHERE.values()),
        ]
    ]
    for algorithm in scores.complete():
        seeds = str(len(scores.matrix(algorithm, "env_steps", 1.0, "spl")))
        mean = [interval(means[axis][algorithm]) for axis in AXES]
        ahead = [
            interval(chances[axis][algorithm]) if algorithm in chances[axis] else "" for axis in AXES
        ]
        rows.append([algorithm, seeds, *mean, *ahead])
    return rows


def thresholds(scores: Scores) -> Rows:
    """When runs first reached the threshold, and how many fell below it again."""
    head = ["environment", "algorithm", "runs that reached it"]
    rows = [[*head, *AXES.values(), "fell below again (lowest)"]]
    for env_id in scores.env_ids:
        for algorithm in scores.learners:
            if scores.runs(algorithm, env_id):
                steps, seconds = (scores.reached(algorithm, env_id, axis) for axis in AXES)
                arrived = f"{len(steps.values)} of {len(steps.values) + len(steps.censored)}"
                budget = scores.budgets[env_id]
                goal = f"{short(env_id)}, {budget['threshold']:.0%}"
                if budget["seconds"] != BUDGETS.get(env_id, OTHER).seconds:
                    goal += f", {budget['seconds']:g} s"
                relapses = scores.relapses(algorithm, env_id)
                fell = f"{len(relapses)} ({min(relapses):.0%})" if relapses else ""
                rows.append([goal, algorithm, arrived, median(steps, 0), median(seconds, 1), fell])
    return rows


def quality(scores: Scores) -> Rows:
    """Success and SPL at equal steps and at the end, and what they cost."""
    head = ["environment", "algorithm", "seeds", "success at our steps, %", "SPL at our steps"]
    ends = [
        "at the end: steps",
        "seconds",
        "of these planning",
        "success, %",
        "SPL",
        "path ratio",
        "return",
    ]
    rows = [[*head, *ends, "ms per action"]]
    for env_id in scores.env_ids:
        at = scores.budgets[env_id]["env_steps"]
        for algorithm in scores.algorithms:
            runs = scores.runs(algorithm, env_id)
            if runs:
                last = [run["curve"][-1] for run in runs]
                success = percent(scores.at(algorithm, env_id, "env_steps", at, "success_rate"))
                spl = np.mean(scores.at(algorithm, env_id, "env_steps", at, "spl"))
                start = [short(env_id), algorithm, str(len(runs)), success, f"{spl:.3f}"]
                means = [mean(last, name) for name in ("env_steps", "seconds", "planning_seconds")]
                end = [f"{means[0]:,.0f}", f"{means[1]:.1f}", f"{means[2]:.1f}"]
                score = [percent([p["success_rate"] for p in last]), f"{mean(last, 'spl'):.3f}"]
                more = ("path_ratio", "mean_return", "decision_ms")
                rows.append([*start, *end, *score, *(f"{mean(last, name):.2f}" for name in more)])
    return rows


def settings(scores: Scores) -> Rows:
    """The settings that each baseline ran with."""
    what = "arguments; built-in ones have 8 environments, the rest is the library's default"
    rows = [["algorithm", "environments", "setting", what]]
    for algorithm in scores.others:
        used: dict[tuple[str, str], list[str]] = {}
        for env_id in scores.env_ids:
            for run in scores.runs(algorithm, env_id)[:1]:
                key = run["settings"]["setting"], run["settings"]["arguments"]
                used.setdefault(key, []).append(short(env_id))
        rows += [[algorithm, ", ".join(names), *key] for key, names in used.items()]
    return rows


def summary(scores: Scores) -> Rows:
    """The README's table: median steps to each threshold, and how many runs reached it."""
    rows = [["steps to success of", *scores.learners]]
    for env_id in scores.env_ids:
        row = []
        for algorithm in scores.learners:
            reached = scores.reached(algorithm, env_id, "env_steps")
            count = len(reached.values) + len(reached.censored)
            median, bound = reached.median if count else (0.0, False)
            first = [run["curve"][0]["env_steps"] for run in scores.runs(algorithm, env_id)]
            at_most = count and not bound and median <= np.median(first)  # nothing was evaluated before
            said = f"{'over ' if bound else '≤ ' if at_most else ''}{median:,.0f}"
            said += f" ({len(reached.values)}/{count})"
            row.append(said if count else "")
        rows.append([f"{scores.budgets[env_id]['threshold']:.0%} in {short(env_id)}", *row])
    return rows


def markdown(rows: Rows) -> str:
    """A table in Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median(reached: Reached, digits: int) -> str:
    """The median over runs, with lowest and highest."""
    if not reached.values and not reached.censored:
        return "not run"
    median, bound = reached.median
    if bound:
        return f"more than {median:,.{digits}f}"
    low, high = min(reached.values), max(reached.values)
    upper = "never" if reached.censored else f"{high:,.{digits}f}"
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {upper})"


def percent(values: list[float]) -> str:
    """The mean of rates in per cent, with lowest and highest."""
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * np.mean(values):.0f} ({low:.0f} to {high:.0f})"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """A point with its 95 % interval."""
    point, low, high = (f"{value:.{digits}f}" for value in estimate)
    return f"{point}, one seed" if np.isnan(estimate.low) else f"{point} ({low} to {high})"


def mean(points: list[Record], name: str) -> float:
    """The mean of a figure over evaluations."""
    return float(np.mean([point[name] for point in points]))
