"""Train the restorer: an autoencoder of degraded frames, or a diffusion model of clean ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import imageio.v3 as imageio
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.auto_checkpoint import AutoCheckpoint
from agent.calibration import calibrate_restorer, check_calibration
from agent.datasets import load_episodes
from agent.pictures import diffusion_samples, restored_frames
from agent.restoration.autoencoder import AutoencoderConfig
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.training import (
    AutoencoderTrainer,
    AutoencoderTrainingConfig,
    DenoiserTrainer,
    DenoiserTrainingConfig,
)
from robot_room.app.evaluation.protocol import import_package
from robot_room.app.runs.loading import existing_folder
from robot_room.app.runs.locking import held

Kind = Literal["autoencoder", "diffusion"]
TRAINING: dict[Kind, str] = {"autoencoder": "autoencoder_training", "diffusion": "restorer_training"}
"""Folders of what is in training, in a run."""
INTERRUPTED = "Interrupted. Training so far is saved; run the same command to continue."


@dataclass
class TrainRestorer:
    """Train on the frames that an agent has collected, then calibrate on new episodes of that agent.

    An autoencoder restores a frame in one pass and is the better one for control; a diffusion model
    also draws samples and says how plausible a frame is. Ctrl-C saves. If the run already has a
    restorer in training, its training continues with its own settings, up to --training.updates.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, made by `train`. The restorer is saved in RUN/restorer; other commands use it
    with `--restorer`."""
    kind: Kind = "autoencoder"
    """What is trained, and used by `--restorer`."""
    env_id: str | None = None
    """PACKAGE:NAME of the agent's environment, if another package registers it."""
    dataset: str | None = None
    """A Minari dataset of the same environment to train on, instead of the agent's frames."""
    false_alarms: float = 0.01
    """Probability that a clean frame is called implausible, and that it is called surprising."""
    calibration_episodes: int = 200
    """Number of new episodes for calibrating the thresholds; they are not used for training."""
    seed: int = 0
    """Seed for all random streams."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    autoencoder_training: AutoencoderTrainingConfig = field(default_factory=AutoencoderTrainingConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    training: DenoiserTrainingConfig = field(default_factory=DenoiserTrainingConfig)
    """Training of the diffusion model."""


def main(config: TrainRestorer) -> None:
    """Run the command."""
    torch.set_num_threads(1)
    import_package(config.env_id or "")
    agent = Agent.load(config.run / "agent")
    with held(config.run):
        _train(agent, config)


def _train(agent: Agent, config: TrainRestorer) -> None:
    path = config.run / TRAINING[config.kind]
    check_calibration(agent, config.calibration_episodes, config.false_alarms)
    episodes = agent.replay.episodes
    if config.dataset is not None:
        spaces = agent.observation_space, agent.action_space
        episodes = load_episodes(config.dataset, agent.env_spec, *spaces)
    frames = torch.from_numpy(np.stack([frame for each in episodes for frame in each.frames]))
    trainer = _trainer(agent, config, existing_folder(config.run, path.name))
    with Progress() as bar:
        task = bar.add_task("the restorer", total=trainer.training.updates)

        def show(updates: int, metrics: dict[str, float]) -> None:
            bar.update(task, completed=updates, description=f"loss {metrics['loss']:.3f}")

        with AutoCheckpoint(trainer, path) as keep:
            trainer.fit(frames, lambda *progress: (show(*progress), keep())[0])
    some = frames[:: max(len(frames) // 12, 1)][:12]
    pictures = {"restorer_restored.png": restored_frames(trainer.averaged, some)}
    if isinstance(trainer.averaged, Denoiser):
        pictures["restorer_samples.png"] = diffusion_samples(trainer.averaged)
    for name, picture in pictures.items():
        imageio.imwrite(config.run / name, picture)
    with Console(stderr=True).status(f"calibrating on {config.calibration_episodes} episodes"):
        how = config.calibration_episodes, config.false_alarms, config.seed
        calibrate_restorer(agent, trainer.averaged, *how).save(config.run / "restorer")
    print(f"in {config.run}:", "restorer", path.name, *pictures, sep="  ")
    print(f"use it: robot-room watch {config.run} --restorer")


def _trainer(
    agent: Agent, config: TrainRestorer, begun: Path | None
) -> AutoencoderTrainer | DenoiserTrainer:
    """The trainer that was begun, or a new one."""
    height, width, channels = agent.observation_space.shape
    if config.kind == "autoencoder":
        training = config.autoencoder_training
        if begun is not None:
            return AutoencoderTrainer.load(begun, training.updates)
        return AutoencoderTrainer((height, width, channels), config.autoencoder, training, config.seed)
    if begun is not None:
        return DenoiserTrainer.load(begun, config.training.updates)
    return DenoiserTrainer((height, width, channels), config.denoiser, config.training, config.seed)
