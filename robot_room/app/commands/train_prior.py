"""Train the observation prior, a diffusion model over clean frames, and draw what it has learned."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

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
from agent.pictures import denoised_frames, diffusion_samples
from agent.restoration.denoiser import DenoiserConfig
from agent.restoration.training import DenoiserTrainer, DenoiserTrainingConfig
from robot_room.app.evaluation.protocol import import_package

INTERRUPTED = "Interrupted. What was learned is saved; the same command goes on."


@dataclass
class TrainPrior:
    """Learn from the frames that an agent has collected; then calibrate on new episodes of its own.

    Ctrl-C saves. Where training has begun already, this goes on with it and its own settings, up to
    --training.updates.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, as `train` made it; the prior becomes its `prior`, for `--prior` elsewhere."""
    env_id: str | None = None
    """PACKAGE:NAME of its environment, where another package than this one registers it."""
    dataset: str | None = None
    """A Minari dataset of the same environment, to learn from in place of the agent's frames."""
    false_alarms: float = 0.01
    """Probability with which a clean frame may be called implausible, or surprising."""
    calibration_episodes: int = 200
    """Run in the agent's environment, to learn what is usual; they train nothing."""
    seed: int = 0
    """Of everything random."""
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    training: DenoiserTrainingConfig = field(default_factory=DenoiserTrainingConfig)


def main(config: TrainPrior) -> None:
    """Run the command."""
    torch.set_num_threads(1)
    import_package(config.env_id or "")
    agent, path = Agent.load(config.run / "agent"), config.run / "prior_training"
    check_calibration(agent, config.calibration_episodes, config.false_alarms)
    episodes = agent.replay.episodes
    if config.dataset is not None:
        spaces = agent.observation_space, agent.action_space
        episodes = load_episodes(config.dataset, agent.env_spec, *spaces)
    frames = torch.from_numpy(np.stack([frame for each in episodes for frame in each.frames]))
    if path.exists():
        trainer = DenoiserTrainer.load(path, config.training.updates)
    else:
        height, width, channels = agent.observation_space.shape
        trainer = DenoiserTrainer(
            (height, width, channels), config.denoiser, config.training, config.seed
        )
    with Progress() as bar:
        task = bar.add_task("the prior", total=trainer.training.updates)

        def show(updates: int, metrics: dict[str, float]) -> None:
            bar.update(task, completed=updates, description=f"loss {metrics['loss']:.3f}")

        with AutoCheckpoint(trainer, path) as keep:
            trainer.fit(frames, lambda *progress: (show(*progress), keep())[0])
    trainer.save(path)
    imageio.imwrite(config.run / "prior_samples.png", diffusion_samples(trainer.averaged))
    some = frames[:: max(len(frames) // 12, 1)][:12]
    imageio.imwrite(config.run / "prior_denoised.png", denoised_frames(trainer.averaged, some))
    with Console(stderr=True).status(f"calibrating on {config.calibration_episodes} episodes"):
        how = config.calibration_episodes, config.false_alarms, config.seed
        calibrate_restorer(agent, trainer.averaged, *how).save(config.run / "prior")
    print(f"in {config.run}: prior  prior_training  prior_samples.png  prior_denoised.png")
    print(f"use it: robot-room watch {config.run} --prior")
