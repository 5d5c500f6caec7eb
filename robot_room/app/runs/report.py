"""The report of a training run: evaluation, diagnostics of the model, and pictures."""

import json
import resource
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console

from agent import Agent
from agent.diagnostics import diagnose, random_rollouts
from agent.pictures import imagination
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate
from robot_room.app.watching.live import record
from robot_room.app.watching.session import Session

PICTURE_SEED = 3_000_000  # starts shown in pictures
SHOWN_EPISODES, FILM_SIZE, STEPS_PER_SECOND = 3, (840, 600), 6


def report_run(agent: Agent, run: Path, episodes: int) -> None:
    """Evaluate an agent; write `summary.json`, `diagnostics.json` and pictures into `run`."""
    assert agent.env_spec is not None
    console = Console(stderr=True)
    with console.status(f"evaluating on {episodes} held-out starts"):
        summary = {
            **evaluate(agent, agent.env_spec, episodes, HELD_OUT_SEED).summary(),
            "training_seed": agent.seed,
            "env_steps": agent.num_timesteps,
            "updates": agent.progress.num_updates,
            "training_seconds": round(agent.progress.seconds, 2),
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
    (run / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    with console.status("computing diagnostics"):
        knowledge = diagnose(agent, random_rollouts(agent, PICTURE_SEED))
    (run / "diagnostics.json").write_text(json.dumps(knowledge, indent=2) + "\n")
    with console.status("drawing pictures"):
        draw_diagnostics(knowledge, run / "diagnostics.png")
        env = gym.make(agent.env_spec)
        imageio.imwrite(run / "imagination.png", imagination(agent, env, PICTURE_SEED))
        session = Session(agent, agent.env_spec, PICTURE_SEED)
        record(session, run / "rollout.gif", SHOWN_EPISODES, FILM_SIZE, STEPS_PER_SECOND)
        session.close()
        env.close()
    numbers = {name: round(n, 3) for name, n in knowledge.items() if isinstance(n, float)}
    for name, value in (summary | numbers).items():
        console.print(f"{name:>26}  {value}")
    console.print(
        f"in {run}: summary.json  diagnostics.json  diagnostics.png  imagination.png  rollout.gif  "
        "tensorboard  agent"
    )
    console.print(f"watch it: robot-room watch {run}")


def draw_diagnostics(knowledge: dict[str, Any], path: Path) -> None:
    """Curves per horizon and summary numbers; see `agent.diagnostics.diagnose`."""
    figure, (frames, rewards, calibration) = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    horizons = np.arange(1, len(knowledge["calibration_ratio"]) + 1)
    labels = {"": "imagined", "_copy": "first frame repeated", "_mean": "mean frame"}
    for axis, name in ((frames, "frame_rmse"), (rewards, "reward_rmse")):
        for ending, label in labels.items():
            if name + ending in knowledge:
                axis.plot(horizons, knowledge[name + ending], marker=".", label=label)
        axis.set(title=name.replace("_", " "), xlabel="steps imagined", ylim=(0, None))
        axis.legend()
    calibration.plot(horizons, knowledge["calibration_ratio"], marker=".")
    calibration.axhline(1, color="grey", linewidth=1)
    calibration.set(title="calibration ratio (1: calibrated)", xlabel="steps imagined", ylim=(0, None))
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
    figure.suptitle("     ".join(probes) + "\n" + "     ".join(shares), fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def peak_memory_gib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
