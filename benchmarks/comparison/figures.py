"""The comparison's figures: interactive ones by plotly, the README's by matplotlib."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from benchmarks.comparison.budgets import OURS, PLAIN
from benchmarks.comparison.scores import Axis, Scores, efficiency, profiles
from robot_room.app.figures import styled_figure

COLOURS = {
    OURS: "#d55e00",
    PLAIN: "#8a6d3b",
    "ppo": "#0072b2",
    "a2c": "#56b4e9",
    "sac": "#009e73",
    "td3": "#cc79a7",
    "ddpg": "#e69f00",
    "drq-sac": "#666666",
    "random": "#999999",
    "oracle": "#222222",
}
MORE_COLOURS = ("#e76f51", "#6a994e", "#bc5090", "#3d405b", "#c9a227", "#577590", "#7f5539")
AXES: dict[Axis, str] = {"env_steps": "environment steps", "seconds": "training seconds"}
TAUS = np.linspace(0, 1, 51)
SHARES: dict[Axis, tuple[float, ...]] = {
    "env_steps": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0),
    "seconds": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}


def colour_of(algorithm: str) -> str:
    """An algorithm's colour; one from outside has one of several, by its name."""
    own = zlib.crc32(algorithm.encode()) % len(MORE_COLOURS)
    return COLOURS.get(algorithm, MORE_COLOURS[own])


def short(env_id: str) -> str:
    """An id without what all ids have."""
    return env_id.removeprefix("RobotRoom").removesuffix("-v0").strip("-") or "v0"


def learning_curves(
    scores: Scores, algorithm: str, env_id: str, axis: Axis
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Where its runs were evaluated, and their success there, (runs, evaluations); None: no runs.

    Each run counts with its last evaluation at or before a place, and none before its first.
    """
    runs = scores.runs(algorithm, env_id)
    if not runs:
        return None
    first = max(run["curve"][0][axis] for run in runs)
    places = np.unique([point[axis] for run in runs for point in run["curve"]])
    places = places[places >= first]
    rows = []
    for run in runs:
        x = np.array([point[axis] for point in run["curve"]])
        y = np.array([point["success_rate"] for point in run["curve"]])
        rows.append(y[np.searchsorted(x, places, side="right") - 1])
    return places, np.array(rows)


def curves(scores: Scores, axis: Axis) -> go.Figure:
    """Success against steps or seconds in every environment."""
    figure = make_subplots(1, len(scores.env_ids), subplot_titles=[short(e) for e in scores.env_ids])
    for column, env_id in enumerate(scores.env_ids, 1):
        for algorithm in scores.learners:
            found = learning_curves(scores, algorithm, env_id, axis)
            if found is None:
                continue
            x, y = found
            middle, spread = np.median(y, 0), (y.min(0), y.max(0))
            _band(figure, column, algorithm, x, middle, spread, legend=column == 1)
    figure.update_xaxes(title_text=AXES[axis], type="log", dtick=1)
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title_text="success rate", col=1)
    return _styled(figure, 360)


def aggregates(scores: Scores) -> list[go.Figure]:
    """Sample efficiency at equal frames and equal seconds, and performance profiles at both.

    A baseline's line ends where its first run did. Ours, which stops at its own budget and counts
    unchanged after it, begins where all its runs have been evaluated.
    """
    figures = []
    units: dict[Axis, str] = {"env_steps": "our steps", "seconds": "the baselines' seconds"}
    for axis, unit in units.items():
        shares = np.array(SHARES[axis])
        figure = make_subplots(1, 2, subplot_titles=["interquartile mean", "share of runs above τ"])
        lines = efficiency(scores, axis, SHARES[axis])
        heights = profiles(scores, axis, 1.0, TAUS)
        for algorithm, (point, interval) in lines.items():
            first, last = scores.span(algorithm, axis)
            drawn = shares <= last if algorithm in scores.others else shares >= first
            _band(figure, 1, algorithm, shares[drawn], point[drawn], interval[:, drawn], legend=True)
            height, bounds = heights[algorithm]
            _band(figure, 2, algorithm, TAUS, height, bounds, legend=False)
        figure.update_xaxes(title_text=f"in units of {unit}", type="log", dtick=1, col=1)
        figure.update_xaxes(title_text=f"τ, SPL at 1 of {unit}", col=2)
        figure.update_yaxes(title_text="SPL", range=[-0.02, 1.02], col=1)
        figure.update_yaxes(range=[-0.02, 1.02], col=2)
        figures.append(_styled(figure, 380))
    return figures


def _band(
    figure: go.Figure, column: int, algorithm: str, x: Any, middle: Any, interval: Any, legend: bool
) -> None:
    x = np.asarray(x)
    place: dict[str, Any] = {"row": 1, "col": column, "legendgroup": algorithm, "mode": "lines"}
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([interval[1], interval[0][::-1]]),
        fill="toself",
        fillcolor=colour_of(algorithm),
        opacity=0.15,
        line_width=0,
        hoverinfo="skip",
        showlegend=False,
        **place,
    )
    colour = colour_of(algorithm)
    figure.add_scatter(x=x, y=middle, name=algorithm, line_color=colour, showlegend=legend, **place)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 50, "r": 10, "t": 40, "b": 50},
        legend={"orientation": "h", "y": -0.25},
    )


def draw(scores: Scores, path: Path) -> None:
    """The README's figure: success against environment steps in every environment."""
    rows = -(-(len(scores.env_ids) + 1) // 3)  # the last place is the legend's
    shape = {"sharey": True, "figsize": (8.3, 0.3 + 2.3 * rows)}
    with styled_figure(path, rows, 3, **shape) as (_, axes):
        _draw(scores, axes.flat)


def _draw(scores: Scores, axes: Any) -> None:
    for axis, env_id in zip(axes, scores.env_ids, strict=False):
        for algorithm in scores.learners:
            found = learning_curves(scores, algorithm, env_id, "env_steps")
            if found is None:
                continue
            x, y = found
            colour = colour_of(algorithm)
            axis.plot(x, 100 * np.median(y, 0), color=colour, label=algorithm)
            low, high = 100 * y.min(0), 100 * y.max(0)
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=short(env_id), xlabel="environment steps", ylim=(-2, 102))
        if axis.dataLim.x1 > 0:  # else nobody has learned for a step
            axis.set_xscale("log")
    for axis in axes[::3]:
        axis.set_ylabel("success, %")
    handles = axes[0].get_legend_handles_labels()
    for axis in axes[len(scores.env_ids) :]:
        axis.set_axis_off()
    axes[len(scores.env_ids)].legend(*handles, loc="center left", title="median; lowest to highest")
