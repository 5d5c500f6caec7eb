"""The comparison's raw scores as one page that needs nothing else, and the README's figure and table.

python -m benchmarks.comparison.report
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from jinja2 import Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from benchmarks.comparison.contest import CLIP_STEPS, EPISODES, ROOMS, Record
from benchmarks.comparison.figures import AXES, aggregates, curves, draw, short
from benchmarks.comparison.scores import (
    BASELINES,
    OURS,
    Axis,
    Estimate,
    Reached,
    Scores,
    aggregate,
    over_ours,
    probability_of_improvement,
)
from robot_room.app import command_line

# How much sooner, where: room, axis, design goal.
HEADLINES: tuple[tuple[str, Axis, float], ...] = (
    ("RobotRoom-v0", "env_steps", 10),
    ("RobotRoomRandomGoal-v0", "env_steps", 25),
    ("RobotRoom-v0", "seconds", 1),
    ("RobotRoomRandomGoal-v0", "seconds", 1),
)
COMMANDS = """\
scripts/run python -m benchmarks.comparison.tune --workers 2
scripts/run python -m benchmarks.comparison.tune --env-id RobotRoomRandomGoal-v0 \\
    --algorithms ppo --minutes 4
scripts/run python -m benchmarks.comparison.sweep --workers 2    # or --backend ray --address HOST:PORT
scripts/run python -m benchmarks.comparison.sweep --workers 2 --rooms RobotRoomRandomGoal-v0 \\
    --seconds-scale 5 --seeds 2 --other-seeds 3 --out benchmarks/results/sweep_long
scripts/run python -m benchmarks.comparison.report
scripts/run benchmark --quick    # a small one, in twelve minutes"""

WHERE: dict[Axis, str] = {"env_steps": "at equal frames", "seconds": "at the end"}

Rows = list[list[str]]
Chances = dict[Axis, dict[str, Estimate]]
"""At equal frames and at the end, by baseline: that a run of ours is better."""


@dataclass
class Report:
    """Write the page and the figure, print the README's table."""

    results: Path = Path("benchmarks/results/sweep")
    """What `sweep` wrote; a longer sweep may lie beside it, named this and `_long`."""
    page: Path = Path("benchmarks/results/report.html")
    """The page to write."""
    figure: Path | None = Path("docs/comparison.png")
    """The static figure to write."""
    label: str = ""
    """What a reader of the page must know first."""


def main(config: Report) -> None:
    """Write the report.

    Raises:
        ValueError: the results are none, mixed, or half written; nothing is written.
    """
    scores = Scores(config.results)
    longer = longer_than(scores, config.results)
    chances: Chances = {axis: probability_of_improvement(scores, axis, 1.0) for axis in AXES}
    template = Template(Path(__file__).with_name("report.html.j2").read_text(), autoescape=True)
    page = template.render(
        plotly_js=Markup(get_plotlyjs()),
        label=config.label,
        losses=losses(scores, chances),
        headlines=[
            ["figure", "best baseline over ours", "design goal", "baselines had"],
            *headlines(scores, chances["env_steps"]),
            *(headlines(longer, {}) if longer else []),
        ],
        longer=longer is not None,
        algorithms=scores.algorithms,
        clips=clips(scores),
        clip_steps=CLIP_STEPS,
        curves=[_embedded(curves(scores, axis)) for axis in AXES],
        shared=", ".join(short(env_id) for env_id in scores.shared) or "none yet",
        aggregates=[_embedded(figure) for figure in aggregates(scores)],
        pooled=pooled(scores, chances),
        thresholds=[*thresholds(scores), *(thresholds(longer)[1:] if longer else [])],
        quality=quality(scores),
        method=method(scores),
        settings=settings(scores),
        commands=COMMANDS,
        made_with=made_with(scores),
    )
    config.page.parent.mkdir(parents=True, exist_ok=True)
    config.page.write_text(page)
    if config.figure is not None:
        config.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(scores, config.figure)
    for each in (scores, longer) if longer else (scores,):
        print(markdown(summary(each)) + "\n")
    print(config.page, file=sys.stderr)


def longer_than(scores: Scores, results: Path) -> Scores | None:
    """What the same baselines did with more seconds, if that was run.

    Raises:
        ValueError: it is of other versions, or another protocol.
    """
    folder = results.with_name(f"{results.name}_long")
    if not folder.is_dir():
        return None
    longer = Scores(folder)
    if longer.origin != scores.origin:
        raise ValueError(f"{folder}: got {longer.origin}, allowed: {scores.origin}, as in {results}")
    return longer


def losses(scores: Scores, chances: Chances) -> list[str]:
    """In words: rooms that ours does not learn, and baselines that are better somewhere."""
    lines = [] if OURS in scores.algorithms else ["Ours has not run: nothing is compared."]
    for env_id in scores.rooms:
        if scores.runs(OURS, env_id):
            lines += [*unlearned(scores, env_id), *sooner(scores, env_id), *shorter(scores, env_id)]
    for axis, found in chances.items():
        lines += [
            f"All rooms together, {WHERE[axis]}: {algorithm} is ahead; the probability that a run of "
            f"ours has the better SPL is {_interval(chance)}."
            for algorithm, chance in found.items()
            if chance.point < 0.5
        ]
    return [*lines, *missing(scores)] or ["Nowhere in these rooms."]


def unlearned(scores: Scores, env_id: str) -> Iterator[str]:
    """That ours does not learn the room, or does not keep what it learned."""
    threshold, at = scores.budgets[env_id]["threshold"], scores.budgets[env_id]["env_steps"]
    ours = scores.at(OURS, env_id, "env_steps", at, "success_rate")
    if np.mean(ours) < threshold:
        yield (
            f"{short(env_id)}: ours does not learn it: {_percent(ours)} % success after {at} steps, "
            f"{threshold:.0%} would count as learned."
        )
    if relapses := scores.relapses(OURS, env_id):
        yield (
            f"{short(env_id)}: {len(relapses)} of {len(ours)} runs of ours fell below {threshold:.0%} "
            f"again after they first had it, the lowest to {min(relapses):.0%}."
        )


def sooner(scores: Scores, env_id: str) -> Iterator[str]:
    """Which baselines learn the room before ours does."""
    for axis, name in AXES.items():
        mine = scores.reached(OURS, env_id, axis)
        for algorithm in BASELINES:
            theirs = scores.reached(algorithm, env_id, axis)
            if not theirs.values or theirs.median[1]:
                continue
            if not mine.values or mine.median[1] or theirs.median[0] <= mine.median[0]:
                said = f"{algorithm} after {_median(theirs, 0)} {name}, ours {_median(mine, 0)}"
                yield f"{short(env_id)}: a baseline learns it sooner, or alone: {said}."


def shorter(scores: Scores, env_id: str) -> Iterator[str]:
    """Which baselines have the better SPL, at equal frames or at the end."""
    after: dict[Axis, str] = {"env_steps": f"after {scores.budgets[env_id]['env_steps']} steps"}
    for axis, where in (WHERE | after).items():
        mark = scores.budgets[env_id][axis]
        mine = np.mean(scores.at(OURS, env_id, axis, mark, "spl"))
        for algorithm in BASELINES:
            theirs = scores.at(algorithm, env_id, axis, mark, "spl")
            if theirs and np.mean(theirs) >= mine:
                numbers = f"SPL {np.mean(theirs):.3f} against {mine:.3f}"
                yield f"{short(env_id)}, {where}: {algorithm} is as good or better, {numbers}."


def missing(scores: Scores) -> Iterator[str]:
    """Which runs are too few to say much."""
    complete = scores.complete()
    for algorithm in scores.learners:
        if algorithm not in complete:
            yield f"{algorithm} has no seed that ran in all rooms: it is in no aggregate."
    fewest = {a: min(len(scores.runs(a, env_id)) for env_id in scores.rooms) for a in scores.learners}
    few = [f"{algorithm} {count}" for algorithm, count in fewest.items() if count < 5]
    if few:
        yield (
            "Some algorithms have fewer than five training seeds in some room, so that intervals are "
            f"too narrow, or none, and the order may change (algorithm and seeds: {', '.join(few)})."
        )


def headlines(scores: Scores, chances: dict[str, Estimate]) -> Rows:
    """How much sooner ours arrives than the best baseline, beside the goal of the design."""
    rows = []
    for env_id, axis, design_goal in HEADLINES:
        if not any(scores.runs(algorithm, env_id) for algorithm in BASELINES):
            continue
        best, ratio, bound = over_ours(scores, env_id, axis)
        seeds = {len(runs) for a in BASELINES if (runs := scores.runs(a, env_id))}
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
        said = f"{_interval(chances[least], 3)} ({least})"  # so that 0.948 does not read as met
        goal = "probability of improvement at equal frames, the least"
        rows.append([goal, said, "≥ 0.95", ""])
    return rows


def pooled(scores: Scores, chances: Chances) -> Rows:
    """All rooms together: the interquartile mean, and the probability of improvement."""
    means = {axis: aggregate(scores, axis, 1.0) for axis in AXES}
    rows = [
        [
            "algorithm",
            "seeds in all rooms",
            *(f"interquartile mean of SPL, {where}" for where in WHERE.values()),
            *(f"probability that ours has the better SPL, {where}" for where in WHERE.values()),
        ]
    ]
    for algorithm in scores.complete():
        seeds = str(len(scores.matrix(algorithm, "env_steps", 1.0, "spl")))
        mean = [_interval(means[axis][algorithm]) for axis in AXES]
        ahead = [
            _interval(chances[axis][algorithm]) if algorithm in chances[axis] else "" for axis in AXES
        ]
        rows.append([algorithm, seeds, *mean, *ahead])
    return rows


def clips(scores: Scores) -> dict[str, list[dict[str, str] | None]]:
    """The film of each algorithm in each room, and what to write beneath it."""
    found: dict[str, list[dict[str, str] | None]] = {}
    for env_id in scores.rooms:
        row = []
        for algorithm in scores.algorithms:
            runs = [run for run in scores.runs(algorithm, env_id) if "clip" in run]
            end = runs[0]["curve"][-1] if runs else {}
            title = f"{end['success_rate']:.0%}, {end['env_steps']:,} steps" if runs else ""
            row.append({"gif": runs[0]["clip"], "title": title} if runs else None)
        found[short(env_id)] = row
    return found


def thresholds(scores: Scores) -> Rows:
    """When runs first had the room's success rate, and how many fell below it again."""
    rows = [["room", "algorithm", "runs that arrived", *AXES.values(), "fell below again (lowest)"]]
    for env_id in scores.rooms:
        for algorithm in scores.learners:
            if scores.runs(algorithm, env_id):
                steps, seconds = (scores.reached(algorithm, env_id, axis) for axis in AXES)
                arrived = f"{len(steps.values)} of {len(steps.values) + len(steps.censored)}"
                budget = scores.budgets[env_id]
                goal = f"{short(env_id)}, {budget['threshold']:.0%}"
                if budget["seconds"] != ROOMS[env_id].seconds:
                    goal += f", {budget['seconds']:g} s"
                relapses = scores.relapses(algorithm, env_id)
                fell = f"{len(relapses)} ({min(relapses):.0%})" if relapses else ""
                rows.append([goal, algorithm, arrived, _median(steps, 0), _median(seconds, 1), fell])
    return rows


def quality(scores: Scores) -> Rows:
    """How well, at equal frames and at the end; and what it costs."""
    head = ["room", "algorithm", "seeds", "success at our steps, %", "SPL at our steps"]
    ends = [
        "at its end: steps",
        "seconds",
        "of these planning",
        "success, %",
        "SPL",
        "steps over oracle",
        "return",
    ]
    rows = [[*head, *ends, "ms a decision"]]
    for env_id in scores.rooms:
        at = scores.budgets[env_id]["env_steps"]
        for algorithm in scores.algorithms:
            runs = scores.runs(algorithm, env_id)
            if runs:
                last = [run["curve"][-1] for run in runs]
                success = _percent(scores.at(algorithm, env_id, "env_steps", at, "success_rate"))
                spl = np.mean(scores.at(algorithm, env_id, "env_steps", at, "spl"))
                start = [short(env_id), algorithm, str(len(runs)), success, f"{spl:.3f}"]
                means = [_mean(last, name) for name in ("env_steps", "seconds", "planning_seconds")]
                end = [f"{means[0]:,.0f}", f"{means[1]:.1f}", f"{means[2]:.1f}"]
                score = [_percent([p["success_rate"] for p in last]), f"{_mean(last, 'spl'):.3f}"]
                more = ("steps_over_oracle", "mean_return", "decision_ms")
                rows.append([*start, *end, *score, *(f"{_mean(last, name):.2f}" for name in more)])
    return rows


def method(scores: Scores) -> list[str]:
    """The protocol in words."""
    budgets = "; ".join(
        f"{short(room)} {budget['env_steps']:,} steps, {budget['seconds']:g} s"
        for room, budget in scores.budgets.items()
    )
    return [
        "Every algorithm has the same rooms, actions and 64 by 64 pixels, and is looked at with the "
        "room's own limit of steps. While it collects, ours resets a room after ten steps, and so may "
        "a baseline: a setting, tuned like others. Frames of resets are not counted as steps.",
        f"A look evaluates {EPISODES} starts, seeds 1,000,000 on, the same for all. No setting was "
        "chosen on them; ours and the baselines' were tuned on training seeds from 100 and starts from "
        "5,000.",
        "Each baseline was tuned with seven to nine settings, one training seed, two minutes each in "
        "v0, and PPO four minutes with a random goal; among settings with the same success to a tenth, "
        "the one that made more steps was chosen, and some had more of the machine than others. Other "
        "rooms take v0's choice, Door takes RandomGoal's: Sparse was tuned for nobody, and ours has "
        "one configuration for all. Our agent was tuned longer: its ingredients were tried one at a "
        "time in v0 and RandomGoal.",
        "The network chosen for all baselines is ours, not stable-baselines3's: its features are "
        "layer-normalised. No setting without it let TD3, DDPG or DrQ's SAC learn anything in that "
        "time (with it, TD3 and DDPG also need the lower rate); SAC came half way, and PPO had 98 % "
        "after 13,312 steps instead of 7,168 to 10,240.",
        f"Our steps and the baselines' seconds: {budgets}. The full run's seconds were set after first "
        "trials of each room, to more than ours takes; in v0 those are enough for every baseline on "
        "its tuning seed.",
        "Policies that have a noise (PPO, A2C, SAC, DrQ's SAC) are looked at with and without it; the "
        "better counts, as in tuning.",
        "Seconds are those of training, planning included and shown apart, with one thread in a "
        "process of its own; other work ran on the same machine. Looks do not count.",
        "At equal frames the first look at or after the mark counts, which gives a baseline in the "
        "middle of a rollout the steps beyond it. A run arrives between two looks: for the ratios "
        "above a baseline counts from the earlier, ours from the later.",
        "random draws actions uniformly; oracle reads the state and takes the exact smallest number of "
        "steps.",
    ]


def settings(scores: Scores) -> Rows:
    """The settings that each baseline ran with."""
    rows = [["algorithm", "rooms", "setting", "arguments; 8 rooms, the rest is stable-baselines3's"]]
    for algorithm in BASELINES:
        used: dict[tuple[str, str], list[str]] = {}
        for env_id in scores.rooms:
            for run in scores.runs(algorithm, env_id)[:1]:
                key = run["settings"]["setting"], run["settings"]["arguments"]
                used.setdefault(key, []).append(short(env_id))
        rows += [[algorithm, ", ".join(rooms), *key] for key, rooms in used.items()]
    return rows


def made_with(scores: Scores) -> str:
    """Versions and machines."""
    record = next(iter(scores.records.values()))
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    machines = sorted({f"{r['processor']}, Python {r['python']}" for r in scores.records.values()})
    return f"{len(scores.records)} runs. {versions}. Made on: {'; '.join(machines)}."


def summary(scores: Scores) -> Rows:
    """The README's table: median steps until a room is learned, and how many runs got there."""
    rows = [["steps to success of", *scores.learners]]
    for env_id in scores.rooms:
        row = []
        for algorithm in scores.learners:
            reached = scores.reached(algorithm, env_id, "env_steps")
            count = len(reached.values) + len(reached.censored)
            median, bound = reached.median if count else (0.0, False)
            said = f"{'over ' if bound else ''}{median:,.0f} ({len(reached.values)}/{count})"
            row.append(said if count else "")
        rows.append([f"{scores.budgets[env_id]['threshold']:.0%} in {short(env_id)}", *row])
    return rows


def markdown(rows: Rows) -> str:
    """A table in Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _embedded(figure: go.Figure) -> Markup:
    bare = {"full_html": False, "include_plotlyjs": False, "config": {"displayModeBar": False}}
    return Markup(figure.to_html(**bare))


def _median(reached: Reached, digits: int) -> str:
    if not reached.values and not reached.censored:
        return "not run"
    median, bound = reached.median
    if bound:
        return f"more than {median:,.{digits}f}"
    low, high = min(reached.values), max(reached.values)
    upper = "never" if reached.censored else f"{high:,.{digits}f}"
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {upper})"


def _percent(values: list[float]) -> str:
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * np.mean(values):.0f} ({low:.0f} to {high:.0f})"


def _interval(estimate: Estimate, digits: int = 2) -> str:
    point, low, high = (f"{value:.{digits}f}" for value in estimate)
    return f"{point}, one seed" if np.isnan(estimate.low) else f"{point} ({low} to {high})"


def _mean(points: list[Record], name: str) -> float:
    return float(np.mean([point[name] for point in points]))


if __name__ == "__main__":
    command_line.run(Report, main)
