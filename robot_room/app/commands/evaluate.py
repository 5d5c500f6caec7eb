"""Evaluate a trained agent on complete episodes from fixed starts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

import robot_room  # noqa: F401 - registers its environments
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate
from robot_room.app.runs.loading import loaded


@dataclass
class Evaluate:
    """Report success, return and path ratio (steps taken divided by the optimal number)."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, made by `train`, or an agent that is shipped with the package."""
    env_id: str | None = None
    """Another environment with the same spaces; None: the one it was trained in."""
    env_kwargs: str = "{}"
    """Arguments to change as JSON, for example '{"corruption": "occluder", "severity": 3}'."""
    restorer: Annotated[bool, tyro.conf.arg(aliases=["--prior"])] = False
    """Restore frames, and believe them as far as they are not doubted; see `train-restorer`."""
    episodes: int = 1000
    """Number of episodes."""
    seed: int = HELD_OUT_SEED
    """Episode i starts from reset(seed=SEED + i)."""
    json: bool = False
    """Print one JSON object on standard output and nothing else."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, …"""
    threads: int = 1
    """Number of CPU threads for torch."""


def main(config: Evaluate) -> None:
    """Run the command."""
    torch.set_num_threads(config.threads)
    how = config.env_kwargs, config.restorer, config.device, config.threads
    agent, env, _ = loaded(config.run, config.env_id, *how)
    with Console(stderr=True).status(f"{config.episodes} episodes"):
        summary = evaluate(agent, env, config.episodes, config.seed).summary()
    if config.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            print(f"{name:>18}  {value}")
