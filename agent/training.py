"""Learning: collect, fit, collect … The only file that owns an optimiser."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from agent.collection import Collector, FinishedEpisode
from agent.control import ControlState, decide
from agent.denormals import flushed_denormals
from agent.planning import PlannerConfig
from agent.replay import Replay
from agent.world_model import WorldModel


@dataclass(frozen=True)
class TrainingConfig:
    """How much to explore and how much to fit.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    num_envs: int = 8
    """Environments that act in step, where the agent makes them itself from an id."""
    random_steps: int = 100
    """Environment steps with random actions, before the planner takes over."""
    updates_per_step: float = 2.0
    """Gradient updates for each environment step."""
    batch_size: int = 16
    """B, windows in a batch."""
    sequence_length: int = 4
    """T, frames in a window."""
    learning_rate: float = 5e-3
    """Of Adam, after a warm-up of 20 updates; it falls to a tenth over the second half of learning."""
    clip_norm: float = 10.0
    """Largest norm of a gradient."""
    longest_episode: int = 10
    """Steps after which an environment is reset while collecting, where that can be done one by one:
    many starts teach more than long episodes. The environment's own limit holds too."""
    random_correlation: float = 0.7
    """Probability that a random action is kept for another step, so that it leads somewhere."""
    exploration_std: float = 0.3
    """Std of the noise on the planner's actions while it collects."""
    replay_capacity: int = 50_000
    """Environment steps kept."""

    def __post_init__(self) -> None:
        for field_name in ("num_envs", "random_steps", "batch_size", "replay_capacity"):
            value = getattr(self, field_name)
            if value < 1:
                raise ValueError(f"{field_name}: got {value}, allowed: at least 1")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length: got {self.sequence_length}, allowed: at least 2")
        for field_name in ("updates_per_step", "learning_rate", "clip_norm"):
            value = getattr(self, field_name)
            if not value > 0:
                raise ValueError(f"{field_name}: got {value}, allowed: more than 0")
        if not 0 <= self.random_correlation < 1:
            allowed = "0 up to below 1"
            raise ValueError(f"random_correlation: got {self.random_correlation}, allowed: {allowed}")
        if not self.exploration_std >= 0:
            raise ValueError(f"exploration_std: got {self.exploration_std}, allowed: 0 or more")


@dataclass
class Progress:
    """How far learning has come; what a callback sees after each round of steps and updates."""

    num_timesteps: int = 0
    """Environment steps taken."""
    target_timesteps: int = 0
    """Environment steps at which learning ends."""
    num_updates: int = 0
    """Gradient updates made."""
    target_updates: int | None = None
    """Updates at which offline learning ends; None while learning online."""
    seconds: float = 0.0
    """Spent in collecting and updating; callbacks and what comes after are not counted."""
    planning_seconds: float = 0.0
    """Of these, those in which the agent decided what to do: belief and plan."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last update: the loss and its terms, nats per step."""
    finished: list[FinishedEpisode] = field(default_factory=list)
    """Episodes that ended in the last step."""


Callback = Callable[[Progress], None]
"""Called after each round and every tenth update. To stop early, raise; what was learned stays."""


INITIAL_WINDOWS = 256
"""Windows that the model is initialised on where it learns offline."""


class Generators(NamedTuple):
    """One stream of randomness for each use, so that none disturbs another."""

    control: torch.Generator
    loss: torch.Generator
    replay: np.random.Generator
    exploration: np.random.Generator

    @classmethod
    def from_seed(cls, seed: np.random.SeedSequence, device: torch.device) -> "Generators":
        """Independent streams from one seed."""
        seeds = seed.spawn(4)
        torch_seeds = [int(s.generate_state(1, np.uint64)[0] >> np.uint64(1)) for s in seeds[:2]]
        control, loss = (torch.Generator(device).manual_seed(s) for s in torch_seeds)
        return cls(control, loss, np.random.default_rng(seeds[2]), np.random.default_rng(seeds[3]))


def train(
    world_model: WorldModel,
    optimizer: torch.optim.Optimizer,
    collector: Collector,
    planner: PlannerConfig,
    config: TrainingConfig,
    progress: Progress,
    generators: Generators,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Learn until `progress.num_timesteps` reaches `progress.target_timesteps`.

    Random episodes come first and initialise the model. Then each round acts in every environment once,
    with the planner, and makes the updates that these steps have earned.

    Raises:
        FloatingPointError: a term of the loss is not finite; the message names term and update.
    """
    device = world_model.mean_frame.device
    replay = collector.replay
    progress.target_updates = None
    num_envs = len(collector.frames)
    began = time.perf_counter()

    def report() -> None:
        nonlocal began
        progress.seconds += time.perf_counter() - began
        for callback in callbacks:
            callback(progress)
        progress.finished = []
        began = time.perf_counter()

    actions = np.zeros((num_envs, world_model.action_size), np.float32)
    state = ControlState.initial(world_model, planner, num_envs)
    random_steps = min(config.random_steps, progress.target_timesteps)  # so that a fit always follows
    while progress.num_timesteps < progress.target_timesteps:
        if progress.num_timesteps < random_steps:
            changed = generators.exploration.random(num_envs) >= config.random_correlation
            drawn = generators.exploration.uniform(-1, 1, actions.shape).astype(np.float32)
            actions = np.where((changed | collector.episode_start)[:, None], drawn, actions)
        else:
            frames = torch.from_numpy(collector.frames).to(device)
            starts = torch.from_numpy(collector.episode_start).to(device)
            asked = time.perf_counter()
            decision, state = decide(
                world_model, planner, frames, state, starts, generators.control, config.exploration_std
            )
            actions = decision.action.cpu().numpy()
            progress.planning_seconds += time.perf_counter() - asked
        taken, progress.finished = collector.step(actions)
        progress.num_timesteps += taken

        if progress.num_timesteps >= random_steps:
            if progress.num_updates == 0:
                world_model.initialise(replay.all(config.sequence_length).to(device))
            while progress.num_updates < config.updates_per_step * progress.num_timesteps:
                left = 1 - progress.num_timesteps / progress.target_timesteps
                update(world_model, optimizer, replay, config, progress, generators, left)
                if progress.num_updates % 10 == 0:
                    report()
        report()


def fit(
    world_model: WorldModel,
    optimizer: torch.optim.Optimizer,
    replay: Replay,
    config: TrainingConfig,
    progress: Progress,
    generators: Generators,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Learn from a replay alone, until there are `updates_per_step` updates for each of its steps.

    Raises:
        ValueError: the replay has no steps.
        FloatingPointError: a term of the loss is not finite; the message names term and update.
    """
    if progress.num_updates == 0:
        # A sample, as all of a large dataset would not fit into memory as floats.
        first = replay.sample(INITIAL_WINDOWS, config.sequence_length, generators.replay)
        world_model.initialise(first.to(world_model.mean_frame.device))
    progress.target_updates = target = int(config.updates_per_step * progress.num_timesteps)
    while progress.num_updates < target:
        began = time.perf_counter()
        left = 1 - progress.num_updates / target
        update(world_model, optimizer, replay, config, progress, generators, left)
        progress.seconds += time.perf_counter() - began
        if progress.num_updates % 10 == 0 or progress.num_updates == target:
            for callback in callbacks:
                callback(progress)


def update(
    world_model: WorldModel,
    optimizer: torch.optim.Optimizer,
    replay: Replay,
    config: TrainingConfig,
    progress: Progress,
    generators: Generators,
    left: float,
) -> None:
    """One gradient update on a fresh batch.

    The learning rate rises over the first updates and falls towards the end: `left` is the share of
    learning that lies ahead, 1 to 0.
    """
    batch = replay.sample(config.batch_size, config.sequence_length, generators.replay)
    optimizer.zero_grad(set_to_none=True)
    with flushed_denormals():
        loss, metrics = world_model.loss(batch.to(world_model.mean_frame.device), generators.loss)
        loss.backward()
    progress.metrics = {name: m.item() for name, m in metrics.items()} | {"loss": loss.item()}
    norm = nn.utils.clip_grad_norm_(world_model.parameters(), config.clip_norm)
    progress.metrics["grad_norm"] = float(norm)
    for name, value in progress.metrics.items():  # terms come before the sums that they spoil
        if not np.isfinite(value):
            raise FloatingPointError(
                f"training stopped: {name} is {value} at update {progress.num_updates + 1} "
                f"({progress.num_timesteps} environment steps); try a lower learning_rate "
                f"(={config.learning_rate:g}) or check the environment's rewards"
            )
    warm_up = min(1.0, (progress.num_updates + 1) / 20)
    decay = min(1.0, 0.1 + 1.8 * left)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * warm_up * decay
    optimizer.step()
    progress.num_updates += 1
