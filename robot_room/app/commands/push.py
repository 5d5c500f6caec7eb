"""Share the agent of a run on the Hugging Face Hub, with its results, film and restorer."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import tyro

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.calibration import described
from agent.hub import RESTORER
from robot_room.app.runs.loading import agent_folder, calibrated_restoration, existing_folder

METRICS = ("success_rate", "path_ratio", "spl", "mean_return", "mean_steps")
"""Figures of a run's summary.json that go into the card."""


@dataclass
class Push:
    """Upload weights, model card, film and restorer. Log in before, with `hf auth login`."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, made by `train`."""
    repo_id: Annotated[str, tyro.conf.Positional]
    """USER/NAME; created if it does not exist."""
    private: bool = False
    """Make a new repository private."""


def main(config: Push) -> None:
    """Run the command."""
    agent = Agent.load(agent_folder(config.run))
    summary, film = config.run / "summary.json", config.run / "rollout.gif"
    metrics = {}
    if summary.is_file():
        told = json.loads(summary.read_text())
        metrics = {name: told[name] for name in METRICS if told.get(name) is not None}
    shown = film if film.is_file() else None
    with TemporaryDirectory() as folder:
        restorer = None
        if existing_folder(config.run, RESTORER) is not None:
            restorer = Path(folder, RESTORER)
            calibrated_restoration(config.run, described(agent)).save_pretrained(restorer)
        print(agent.push_to_hub(config.repo_id, metrics, shown, restorer, config.private))
