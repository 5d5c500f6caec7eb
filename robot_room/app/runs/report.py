"""The report of a training run: evaluation, diagnostics of the model, and pictures."""

import json
import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console

from agent import Agent
from agent.atomic import replace_file
from agent.diagnostics import diagnose, random_rollouts
from agent.pictures import imagination
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate, limited
from robot_room.app.figures import styled_figure
from robot_room.app.watching.live import record
from robot_room.app.watching.session import Session

PICTURE_SEED = 3_000_000  # starts shown in pictures
SHOWN_EPISODES, FILM_SIZE, STEPS_PER_SECOND = 3, (840, 600), 6


def report_run(agent: Agent, run: Path, episodes: int) -> None:
    """Evaluate an agent; write `summary.json`, `diagnostics.json` and pictures into `run`.

    Diagnostics or pictures that cannot be made of this environment are left out, and a line says so.
    """
    assert agent.env_spec is not None
    spec = limited(agent.env_spec)
    console = Console(stderr=True)
    with console.status(f"evaluating on {episodes} held-out starts"):
        summary = {
            **evaluate(agent, spec, episodes, HELD_OUT_SEED).summary(),
            "training_seed": agent.seed,
            "env_steps": agent.num_timesteps,
            "updates": agent.progress.num_updates,
            "training_seconds": round(agent.progress.seconds, 2),
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
    replace_file(run / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    knowledge: dict[str, Any] = {}
    try:
        with console.status("computing diagnostics"):
            knowledge = diagnose(agent, random_rollouts(agent, PICTURE_SEED))
        replace_file(run / "diagnostics.json", (json.dumps(knowledge, indent=2) + "\n").encode())
        draw_diagnostics(knowledge, run / "diagnostics.png")
    except ValueError as error:
        console.print(f"no diagnostics: {error}")
    try:
        with console.status("drawing pictures"), closing(gym.make(spec)) as env:
            imageio.imwrite(run / "imagination.png", imagination(agent, env, PICTURE_SEED))
            with closing(Session(agent, spec, PICTURE_SEED)) as session:
                shown = min(SHOWN_EPISODES, episodes)
                record(session, run / "rollout.gif", shown, FILM_SIZE, STEPS_PER_SECOND)
    except ValueError as error:
        console.print(f"no pictures: {error}")
    numbers = {name: round(n, 3) for name, n in knowledge.items() if isinstance(n, float)}
    for name, value in (summary | numbers).items():
        console.print(f"{name:>26}  {value}")
    made = ("summary.json", "diagnostics.json", "diagnostics.png", "imagination.png", "rollout.gif")
    names = [name for name in (*made, "metrics.csv", "agent") if (run / name).exists()]
    console.print(f"in {run}: {'  '.join(names)}")
    console.print(f"watch it: robot-room watch {run}")


def draw_diagnostics(knowledge: dict[str, Any], path: Path) -> None:
    """Curves per horizon and summary numbers; see `agent.diagnostics.diagnose`."""
    with styled_figure(path, 1, 3, figsize=(8.3, 3.4)) as (figure, axes):
        _draw_diagnostics(knowledge, figure, axes)


def _draw_diagnostics(knowledge: dict[str, Any], figure: Figure, axes: Any) -> None:
    frames, rewards, calibration = axes
    horizons = np.arange(1, len(knowledge["calibration_ratio"]) + 1)
    labels = {"": "imagined", "_copy": "first frame repeated", "_mean": "mean frame"}
    errors = (
        (frames, "frame_rmse", "Error of frames", "RMSE, share of a pixel's range"),
        (rewards, "reward_rmse", "Error of rewards", "RMSE, units of reward"),
    )
    for axis, name, title, unit in errors:
        for ending, label in labels.items():
            if name + ending in knowledge:
                axis.plot(horizons, knowledge[name + ending], marker=".", label=label)
        axis.set(title=title, ylabel=unit, xlabel="steps imagined", ylim=(0, None))
        axis.legend(loc="upper left", bbox_to_anchor=(0, -0.22))
    calibration.plot(horizons, knowledge["calibration_ratio"], marker=".")
    calibration.axhline(1, color="grey", linewidth=1)
    calibration.set(title="Calibration (1 is right)", ylabel="error / predicted std")
    calibration.set(xlabel="steps imagined", ylim=(0, None))
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    probes = [
        f"{name[6:-3].replace('_', ' ')} from z: {value:.1f} cm "
        f"(best constant: {knowledge[name.replace('probe', 'chance')]:.1f})"
        for name, value in knowledge.items()
        if name.startswith("probe_")
    ]
    shares = (
        f"foreground explained: {knowledge['foreground_explained']:.1%}",
        f"coverage of the transition's central 90 %: {knowledge['coverage_90']:.1%}",
    )
    figure.suptitle("     ".join(probes) + "\n" + "     ".join(shares), size=9, x=0.01, ha="left")


def peak_memory_gib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
