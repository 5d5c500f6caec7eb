"""The comparison's raw scores as one page that needs nothing else, and the README's figure and table.

python -m benchmarks.comparison.report
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from benchmarks.comparison.budgets import EPISODES
from benchmarks.comparison.figures import AXES, aggregates, curves, draw, short
from benchmarks.comparison.job import CLIP_STEPS
from benchmarks.comparison.losses import losses
from benchmarks.comparison.scores import Scores, probability_of_improvement
from benchmarks.comparison.tables import (
    Chances,
    headlines,
    markdown,
    pooled,
    quality,
    settings,
    summary,
    thresholds,
)
from robot_room.app import command_line

COMMANDS = """\
scripts/run python -m benchmarks.comparison.tune --algorithm ppo    # anew; here they were tried by hand
scripts/run python -m benchmarks.comparison.sweep --workers 2    # or --backend ray --address HOST:PORT
scripts/run python -m benchmarks.comparison.sweep --workers 2 --env-ids RobotRoomRandomGoal-v0 \\
    --seconds-scale 5 --seeds 2 --other-seeds 3 --out benchmarks/results/sweep_long
scripts/run python -m benchmarks.comparison.report
scripts/run benchmark --quick    # a small comparison, in twelve minutes"""


@dataclass
class Report:
    """Write the page and the figure, print the README's table."""

    results: Path = Path("benchmarks/results/sweep")
    """The output folder of `sweep`; that of a longer sweep may lie beside it, with `_long` added."""
    page: Path = Path("benchmarks/results/report.html")
    """The page to write."""
    figure: Path | None = Path("docs/comparison.png")
    """The static figure to write."""
    label: str = ""
    """A note for the top of the page."""


def main(config: Report) -> None:
    """Write the report.

    Raises:
        ValueError: there are no results, or they are mixed or half written; nothing is written.
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
    """The scores of the same baselines with more seconds, if that sweep was run.

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


def clips(scores: Scores) -> dict[str, list[dict[str, str] | None]]:
    """The film of each algorithm in each environment, and its caption."""
    found: dict[str, list[dict[str, str] | None]] = {}
    for env_id in scores.env_ids:
        row = []
        for algorithm in scores.algorithms:
            runs = [run for run in scores.runs(algorithm, env_id) if "clip" in run]
            end = runs[0]["curve"][-1] if runs else {}
            title = f"{end['success_rate']:.0%}, {end['env_steps']:,} steps" if runs else ""
            row.append({"gif": runs[0]["clip"], "title": title} if runs else None)
        found[short(env_id)] = row
    return found


def method(scores: Scores) -> list[str]:
    """The protocol in words."""
    budgets = "; ".join(
        f"{short(env_id)} {budget['env_steps']:,} steps, {budget['seconds']:g} s"
        for env_id, budget in scores.budgets.items()
    )
    return [
        "Every algorithm has the same environments, actions and 64 by 64 pixels, and is evaluated with "
        "the environment's own limit of steps. While it collects, ours resets an environment after ten "
        "steps, and so may a baseline: a setting, tuned like others. Frames of resets are not counted "
        "as steps.",
        f"An evaluation runs {EPISODES} held-out starts, seeds 1,000,000 on, the same for all, so "
        "success of 99 % is 99 of them. No setting was chosen on them; ours and the baselines' were "
        "tuned on training seeds from 100 and starts from 5,000.",
        "Each baseline was tuned with seven to nine settings, one training seed, two minutes each in "
        "v0, and PPO four minutes with a random goal; among settings with the same success to a tenth, "
        "the one that made more steps was chosen, and some had more of the machine than others. Other "
        "environments take v0's choice, Door takes RandomGoal's: nobody was tuned on Sparse, and ours "
        "has one configuration for all. Our agent was tuned longer: its ingredients were tried one at "
        "a time in v0 and RandomGoal.",
        "The network chosen for all baselines is ours, not stable-baselines3's: its features are "
        "layer-normalised. Without it, no setting of TD3, DDPG or DrQ's SAC learned anything in that "
        "time (with it, TD3 and DDPG also need the lower rate); SAC came half way, and PPO had 98 % "
        "after 13,312 steps instead of 7,168 to 10,240.",
        f"Our steps and the baselines' seconds: {budgets}. The full run's seconds were set after first "
        "trials of each environment, to more than ours takes; in v0 they are enough for every baseline "
        "on its tuning seed.",
        "Stochastic policies (PPO, A2C, SAC, DrQ's SAC) are evaluated with and without their noise; "
        "the better of the two counts, as in tuning.",
        "Seconds are those of training, planning included and shown apart, with one thread in a "
        "process of its own; other work ran on the same machine. Evaluations do not count.",
        "At equal steps, the first evaluation at or after the mark counts, which gives a baseline in "
        "the middle of a rollout the steps beyond it. A run reaches a threshold between two "
        "evaluations: for the ratios above a baseline counts from the earlier, ours from the later.",
        "random draws actions uniformly; oracle reads the state and takes the exact smallest number of "
        "steps.",
    ]


def made_with(scores: Scores) -> str:
    """Versions and machines."""
    record = next(iter(scores.records.values()))
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    machines = sorted({f"{r['processor']}, Python {r['python']}" for r in scores.records.values()})
    return f"{len(scores.records)} runs. {versions}. Made on: {'; '.join(machines)}."


def _embedded(figure: go.Figure) -> Markup:
    bare = {"full_html": False, "include_plotlyjs": False, "config": {"displayModeBar": False}}
    return Markup(figure.to_html(**bare))


if __name__ == "__main__":
    command_line.run(Report, main)
