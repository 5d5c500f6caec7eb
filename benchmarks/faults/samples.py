"""Small and good things to do harm to."""

from pathlib import Path

import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.calibration import calibrate_restorer
from agent.learner import Progress, TrainingConfig
from agent.planning import CEM
from agent.replay import Episode
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.training import (
    AutoencoderTrainer,
    AutoencoderTrainingConfig,
    DenoiserTrainer,
    DenoiserTrainingConfig,
)
from agent.world_model import WorldModelConfig

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=16, num_keypoints=4),
    CEM(candidates=8, elites=2, iterations=1, horizon=3),
    TrainingConfig(num_envs=4, random_steps=16, updates_per_step=1.0, batch_size=4),
)


class StopError(Exception):
    """Raised by a callback to stop learning."""


def has_checkpoint(path: Path) -> bool:
    """Whether a process that may have been killed has left something that `Agent.load` can load."""
    return path.exists() or path.with_name(f".{path.name}.next").exists()


def small_agent(seed: int = 0) -> Agent:
    """An untrained agent."""
    return Agent("RobotRoom-v0", SMALL, seed=seed)


def stopped_agent(path: Path) -> Agent:
    """An agent whose learning was stopped and saved on the way, with all that a checkpoint can hold."""
    agent = small_agent()

    def stop(progress: Progress) -> None:
        if progress.num_updates >= 20:
            agent.save(path)
            raise StopError

    try:
        agent.learn(60, stop)
    except StopError:
        pass
    return agent


def restorations(blind: Path, diffusion: Path) -> None:
    """A restorer and its gate of each kind, saved."""
    agent = small_agent().learn(24)
    networks = {
        blind: Autoencoder((64, 64, 3), AutoencoderConfig(width=8)),
        diffusion: Denoiser((64, 64, 3), DenoiserConfig(width=8, steps=20)),
    }
    for path, network in networks.items():
        calibrate_restorer(agent, network, 18, 0.1).save(path)


def trainer() -> DenoiserTrainer:
    """A denoiser in training."""
    return DenoiserTrainer(
        (64, 64, 3),
        DenoiserConfig(width=8, steps=20),
        DenoiserTrainingConfig(updates=3, batch_size=2),
    )


def autoencoder_trainer() -> AutoencoderTrainer:
    """An autoencoder in training."""
    sizes, training = AutoencoderConfig(width=8), AutoencoderTrainingConfig(updates=3, batch_size=2)
    return AutoencoderTrainer((64, 64, 3), sizes, training)


def episodes(count: int) -> list[Episode]:
    """Episodes of four steps."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (count, 5, 64, 64, 3)).astype(np.uint8)
    return [Episode(list(x), list(np.zeros((4, 2), np.float32)), [0.5] * 4) for x in frames]
