"""Evaluate a trained agent on whole episodes from fixed starts."""

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
    """Success, return, and steps over the oracle's exact minimum."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, as `train` made it."""
    env_id: str | None = None
    """Another environment with the same spaces; None: the one it was trained in."""
    env_kwargs: str = "{}"
    """Other arguments as JSON, such as '{"corruption": "occluder", "severity": 3}'."""
    prior: bool = False
    """Restore frames and leave out what cannot be, see `train-prior`."""
    episodes: int = 1000
    """How many."""
    seed: int = HELD_OUT_SEED
    """Episode i starts from reset(seed=SEED + i)."""
    json: bool = False
    """One JSON object on standard output, and nothing else."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, …"""
    threads: int = 1
    """Of torch on the CPU."""


def main(config: Evaluate) -> None:
    """Run the command."""
    torch.set_num_threads(config.threads)
    how = config.env_kwargs, config.prior, config.device
    agent, env, _ = loaded(config.run, config.env_id, *how)
    with Console(stderr=True).status(f"{config.episodes} episodes"):
        summary = evaluate(agent, env, config.episodes, config.seed).summary()
    if config.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            print(f"{name:>18}  {value}")
