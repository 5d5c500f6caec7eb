"""Train an agent, evaluate it, and write numbers and pictures to a run directory."""

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig, pixels
from agent.auto_checkpoint import AutoCheckpoint
from agent.datasets import load_episodes
from agent.eval_callback import EvalCallback
from agent.metrics import RunLogger
from agent.presets import EVERY_ROOM, MOMENTUM
from agent.replay import Episode
from agent.training import Callback
from robot_room.app.evaluation.protocol import env_spec, import_package
from robot_room.app.runs.locking import held
from robot_room.app.runs.report import report_run
from robot_room.app.watching.live import Spectator
from robot_room.panels import SIZE
from robot_room.viewer import Viewer

ENV_STEPS = 500


@dataclass
class Train:
    """Learn an environment from pixels. The defaults are the README's demonstration."""

    env_id: str = "RobotRoom-v0"
    """A registered environment with image observations, or any that draws images with --pixels."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, for example '{"distractors": 2}'."""
    pixels: bool = False
    """Learn from what the environment draws, at 64 × 64 pixels, and not from its observations."""
    frames: int = 1
    """With --pixels: the last frames that are observed together, which show velocities."""
    frame_repeat: int = 1
    """With --pixels: steps for which each action is repeated."""
    keys: tuple[str, ...] = ()
    """With --pixels: names of images in the observation, a dictionary, to learn from instead of what
    the environment draws. The last one is shown in pictures."""
    env_steps: int | None = None
    """Total environment steps, one for each action; None: 500, or the intended total of the run that is
    resumed."""
    seed: int = 0
    """Seed for all random streams."""
    out: Path | None = None
    """A new directory for the run; None: runs/ENV_ID-seedSEED-MMDD-HHMMSS."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, …"""
    episodes: int = 200
    """Episodes of the evaluation at the end."""
    dataset: str | None = None
    """A Minari dataset to learn from offline, instead of --env-steps in the environment."""
    live: bool = False
    """Show the agent in a window while it learns. Closing the window does not stop training."""
    eval_freq: int | None = None
    """Environment steps from one evaluation in 20 episodes to the next; None: only at the end."""
    stop_at_success: float | None = None
    """Success rate of an evaluation at which learning ends early; needs --eval-freq."""
    verbose: int = 0
    """1: print tables of what is logged."""
    wandb: str | None = None
    """A project of Weights & Biases to log to as well; needs the package wandb."""
    resume: Path | None = None
    """A run to continue with its own settings and data. If another package registers its environment,
    also give --env-id PACKAGE:NAME."""
    preset: Literal["every-room", "momentum", "plain"] | None = None
    """Settings that go together (`agent.presets`). every-room: rooms with walls or without; momentum:
    tasks in which things have momentum, such as a pendulum; plain: the state-space model without
    additions, with the settings of --agent. None: plain if there are such settings, else every-room."""
    agent: AgentConfig = field(default_factory=AgentConfig)

    def __post_init__(self) -> None:
        if self.env_steps is not None and self.env_steps < 1:
            raise ValueError(f"env_steps: got {self.env_steps}, allowed: at least 1")
        if self.preset not in (None, "plain") and self.agent != AgentConfig():
            allowed = "only plain with settings of --agent"
            raise ValueError(f"preset: got {self.preset} and settings of --agent, allowed: {allowed}")
        if not self.pixels and (self.frames, self.frame_repeat, self.keys) != (1, 1, ()):
            got = f"{self.frames}, {self.frame_repeat} and {self.keys} without --pixels"
            raise ValueError(f"frames, frame_repeat, keys: got {got}, allowed: 1, 1 and none")
        if self.stop_at_success is not None and self.eval_freq is None:
            got = f"{self.stop_at_success} without eval_freq"
            raise ValueError(f"stop_at_success: got {got}, allowed: only with one")
        if self.wandb is not None and find_spec("wandb") is None:
            allowed = "None, or install the package: pip install wandb"
            raise ValueError(f"wandb: got {self.wandb!r}, allowed: {allowed}")


def main(config: Train) -> None:
    """Run the command."""
    torch.set_num_threads(1)  # the model's operations are too small to share
    name = f"{config.env_id.split(':')[-1]}-seed{config.seed}-{time.strftime('%m%d-%H%M%S')}"
    run = config.resume or config.out or Path("runs", name)
    if config.resume is None and run.exists():
        raise ValueError(f"out: got {run}, which exists; allowed: a new directory, or --resume {run}")
    agent = _agent(config, run)
    episodes = _episodes(config, agent)
    with held(run):
        try:
            _learn(agent, episodes, config, run)
            report_run(agent, run, config.episodes)
        except KeyboardInterrupt:
            saved = "Interrupted. Training so far is saved; continue with"
            raise KeyboardInterrupt(f"{saved}: robot-room train --resume {run}") from None


def _agent(config: Train, run: Path) -> Agent:
    """A new agent, or that of the run that is resumed."""
    if config.resume is not None:
        import_package(config.env_id)
        return Agent.load(run / "agent", device=config.device)
    return new_agent(config)


def new_agent(config: Train) -> Agent:
    """The agent that the settings describe, before it learns."""
    spec = env_spec(config.env_id, config.env_kwargs)
    if config.pixels:
        spec = pixels(spec.id, 64, config.frame_repeat, config.frames, spec.kwargs, config.keys)
    if config.preset == "plain" or config.agent != AgentConfig():
        return Agent(spec, config.agent, config.seed, config.device)
    preset = MOMENTUM if config.preset == "momentum" else EVERY_ROOM
    return Agent(spec, seed=config.seed, device=config.device, **preset)


def _episodes(config: Train, agent: Agent) -> Iterable[Episode]:
    """The dataset's episodes, unless there is none or the agent has them already."""
    if config.dataset is None or agent.replay.num_steps > 0:
        return ()
    spaces = agent.observation_space, agent.action_space
    return load_episodes(config.dataset, agent.env_spec, *spaces)


def _learn(agent: Agent, episodes: Iterable[Episode], config: Train, run: Path) -> None:
    """Learn in the environment up to the intended total of steps, or offline from episodes."""
    if config.dataset is not None:
        agent.add(episodes)
    elif config.resume is None:
        agent.progress.target_timesteps = config.env_steps or ENV_STEPS
    elif config.env_steps is not None:
        agent.progress.target_timesteps = max(config.env_steps, agent.num_timesteps)
    viewer = Viewer(SIZE, 0, f"{config.env_id} learns") if config.live else None
    tables = 10 if config.verbose else None
    first: list[Callback] = []
    if config.eval_freq is not None:
        stop = config.stop_at_success
        first.append(EvalCallback(agent, eval_freq=config.eval_freq, stop_at_success=stop))
    with (
        RunLogger(run, agent.progress, agent.hyperparameters, tables, config.wandb) as log,
        AutoCheckpoint(agent, run / "agent", log.flush) as keep,
        closing(Spectator(agent, log, viewer, run / "stills")) as spectator,
    ):
        agent.resume([*first, log, keep, spectator], progress_bar=True)
