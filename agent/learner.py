"""The learner: all training state, and the gradient update."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le, Lt
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.checkpoint import flat_state, restore_state
from agent.collection import FinishedEpisode
from agent.config import Config, Count, NonNegative, Positive, Size, checked
from agent.denormals import flushed_denormals
from agent.protocols import Model
from agent.random_states import packed, unpacked
from agent.replay import Replay

REFITTED = 64
"""Windows of episodes to which a model's closed-form parts are fitted anew."""
MOST_SKIPPED = 10
"""Updates in a row that are not finite, at which learning stops."""
MOST_FRAMES = 2**17
"""Largest batch_size × sequence_length; as many frames of v0 take 6 GB."""


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Exploration and optimisation settings.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    num_envs: Annotated[int, Ge(1), Le(4096)] = 8
    """Environments stepped together, if the agent creates them from an id."""
    random_steps: Count = 100
    """Environment steps with random actions before the planner takes over; at least three are taken for
    each number of an action."""
    updates_per_step: Positive = 2.0
    """Gradient updates per environment step."""
    batch_size: Size = 16
    """B, windows per batch."""
    sequence_length: Annotated[int, Ge(2), Le(2**16)] = 4
    """T, frames per window."""
    learning_rate: Positive = 5e-3
    """Peak learning rate of Adam: 20 updates of warm-up, then decay to a tenth over the second half."""
    clip_norm: Positive = 10.0
    """Gradients are clipped to this norm."""
    longest_episode: Count = 10
    """Steps after which an environment is reset during collection, if it can be reset individually:
    short episodes give more varied starts. The environment's own limit also applies."""
    random_correlation: Annotated[float, Ge(0), Lt(1)] = 0.7
    """Probability that a random action is repeated, to produce longer displacements."""
    exploration_std: NonNegative = 0.3
    """Std of the noise on the planner's actions during collection."""
    replay_capacity: Count = 50_000
    """Environment steps stored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        most = MOST_FRAMES // self.sequence_length
        if self.batch_size > most:
            allowed = f"at most {most} windows of {self.sequence_length} frames"
            raise ValueError(f"batch_size: got {self.batch_size}, allowed: {allowed}")


@dataclass
class Progress:
    """Training progress, passed to callbacks after each vector step and its updates."""

    num_timesteps: int = 0
    """Environment steps taken."""
    target_timesteps: int = 0
    """Environment steps at which learning ends."""
    num_updates: int = 0
    """Gradient updates made."""
    target_updates: int | None = None
    """Updates at which offline learning ends; None while learning online."""
    seconds: float = 0.0
    """Seconds of collection and updates; callbacks are not counted."""
    planning_seconds: float = 0.0
    """Seconds of these spent on filtering and planning."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The loss of the last update and its terms, nats per step."""
    finished: list[FinishedEpisode] = field(default_factory=list)
    """Episodes that ended in the last step."""
    outcomes: list[bool] = field(default_factory=list)
    """Whether the last episodes succeeded, `OUTCOMES` at most, of those whose environment says so."""
    returns: list[float] = field(default_factory=list)
    """Undiscounted returns of the last episodes, `EPISODES` at most."""
    lengths: list[int] = field(default_factory=list)
    """Their steps."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The evaluation that a callback has just made; empty if none was."""
    skipped_updates: int = 0
    """Updates that were skipped, as a term of the loss or the gradient was not finite."""
    skipped_in_a_row: int = 0
    """How many of them were the last ones."""
    stepped: bool = True
    """Whether all updates that the last step calls for are made, so that a record of it is complete."""

    OUTCOMES: ClassVar = 20
    EPISODES: ClassVar = 100
    COUNTED: ClassVar = ("num_timesteps", "target_timesteps", "num_updates")
    SKIPPED: ClassVar = ("skipped_updates", "skipped_in_a_row")

    def count(self, steps: int, finished: list[FinishedEpisode]) -> None:
        """Count steps taken and the episodes that ended in them."""
        self.num_timesteps += steps
        self.finished = finished
        told = [episode.is_success for episode in finished if episode.is_success is not None]
        self.outcomes = [*self.outcomes, *told][-self.OUTCOMES :]
        self.returns = [*self.returns, *(e.episode_return for e in finished)][-self.EPISODES :]
        self.lengths = [*self.lengths, *(e.length for e in finished)][-self.EPISODES :]

    def state_dict(self) -> dict[str, Any]:
        """What is to be restored: all but what belongs to a moment."""
        last = ("metrics", "outcomes", "returns", "lengths")
        own = (*self.COUNTED, *self.SKIPPED, "seconds", "planning_seconds", *last)
        return {name: getattr(self, name) for name in own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`; one of an earlier version lacks what is told of the last episodes.

        Raises:
            KeyError: a counter is missing.
            ValueError: a value is not allowed.
        """
        for name in self.COUNTED:
            setattr(self, name, checked(name, state[name], Annotated[int, Ge(0), Le(2**62)]))
        for name in self.SKIPPED:
            setattr(self, name, checked(name, state.get(name, 0), Annotated[int, Ge(0), Le(2**62)]))
        for name in ("seconds", "planning_seconds"):
            setattr(self, name, checked(name, state[name], NonNegative))
        metrics = state.get("metrics", {})
        self.metrics = {name: checked(f"metrics: {name}", metrics[name], float) for name in metrics}
        outcomes = state.get("outcomes", [])[-self.OUTCOMES :]
        self.outcomes = [checked("outcomes", outcome, bool) for outcome in outcomes]
        returns, lengths = (state.get(name, [])[-self.EPISODES :] for name in ("returns", "lengths"))
        self.returns = [checked("returns", each, float) for each in returns]
        self.lengths = [checked("lengths", each, Annotated[int, Ge(0), Le(2**62)]) for each in lengths]


class Generators(NamedTuple):
    """An independent random stream for each use."""

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

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """The state of each stream, as an array."""
        return {
            "control": self.control.get_state().numpy(),
            "loss": self.loss.get_state().numpy(),
            "replay": packed(dict(self.replay.bit_generator.state)),
            "exploration": packed(dict(self.exploration.bit_generator.state)),
        }

    def load_state_dict(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Restore the state of each stream.

        Raises:
            KeyError, TypeError, RuntimeError, ValueError: not a state of these streams.
        """
        self.control.set_state(torch.tensor(state["control"], dtype=torch.uint8))
        self.loss.set_state(torch.tensor(state["loss"], dtype=torch.uint8))
        self.replay.bit_generator.state = unpacked(state["replay"])
        self.exploration.bit_generator.state = unpacked(state["exploration"])


class LearnerState(NamedTuple):
    """The state returned by `Learner.state_dict`."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    replay: dict[str, NDArray[np.generic]]
    progress: dict[str, Any]
    generators: dict[str, NDArray[np.generic]]
    weights_only: bool = False


class Learner:
    """All training state: model, optimiser, replay, counters and random streams.

    Args:
        world_model: the model, on its device, not yet initialised.
        config: optimisation settings.
        seed: seed of all streams.
    """

    def __init__(
        self, world_model: Model, config: TrainingConfig, seed: np.random.SeedSequence
    ) -> None:
        self.world_model, self.config = world_model, config
        self.optimizer = torch.optim.Adam(world_model.parameter_groups(), fused=True)
        self.replay = Replay(config.replay_capacity)
        self.progress = Progress()
        self.generators = Generators.from_seed(seed, self.device)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.world_model.parameters()).device

    def initialise(self) -> None:
        """Initialise the model from all episodes, before the first update."""
        self.world_model.initialise(self.replay.all(self._longest()).to(self.device))

    def refit(self) -> None:
        """Let the model fit anew what is computed in closed form, to `REFITTED` windows at most."""
        length = min(self._longest(), 2 * self.world_model.initial_length)
        rewards = torch.tensor(self.replay.rewards(), dtype=torch.float32, device=self.device)
        batch = self.replay.all(length, REFITTED).to(self.device)
        self.world_model.refit(batch, rewards, self.replay.returns_vary())

    def _longest(self) -> int:
        return max(len(episode.frames) for episode in self.replay.episodes)

    def update(self, left: float) -> None:
        """Make one gradient update on a new batch.

        The learning rate warms up over the first updates and decays towards the end.

        Args:
            left: fraction of training remaining, 1 to 0.

        Raises:
            FloatingPointError: a term of the loss was not finite (named in the message) in the last
                `MOST_SKIPPED` updates. A single one is skipped and counted.
        """
        config, progress = self.config, self.progress
        batch = self.replay.sample(
            config.batch_size,
            config.sequence_length,
            self.generators.replay,
            reach_ends=self.world_model.reach_ends,
        )
        self.optimizer.zero_grad(set_to_none=True)
        with flushed_denormals():
            loss, metrics = self.world_model.loss(batch.to(self.device), self.generators.loss)
            loss.backward()
        now = {name: m.item() for name, m in metrics.items()} | {"loss": loss.item()}
        now["grad_norm"] = float(
            nn.utils.clip_grad_norm_(self.world_model.parameters(), config.clip_norm)
        )
        progress.num_updates += 1
        if self._skipped(now):
            return
        warm_up = min(1.0, progress.num_updates / 20)
        decay = min(1.0, 0.1 + 1.8 * left)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * config.learning_rate * warm_up * decay
        self.optimizer.step()
        progress.metrics = now | {"learning_rate": config.learning_rate * warm_up * decay}
        if progress.skipped_updates > 0:
            progress.metrics["skipped_updates"] = progress.skipped_updates

    def _skipped(self, now: dict[str, float]) -> bool:
        """Whether a term of the loss, or the gradient, is not finite, so that the update is skipped.

        Raises:
            FloatingPointError: it is the last of `MOST_SKIPPED` in a row.
        """
        progress = self.progress
        # Terms come before the sums that they make non-finite.
        bad = next((name for name, value in now.items() if not np.isfinite(value)), None)
        if bad is None:
            progress.skipped_in_a_row = 0
            return False
        progress.skipped_updates += 1
        progress.skipped_in_a_row += 1
        if progress.skipped_in_a_row < MOST_SKIPPED:
            return True
        raise FloatingPointError(
            f"training stopped: {bad} is {now[bad]} at update {progress.num_updates} "
            f"({progress.num_timesteps} environment steps), as in the {MOST_SKIPPED - 1} before, which "
            f"were skipped; try a lower learning_rate (={self.config.learning_rate:g}) or check the "
            "environment's rewards"
        )

    def state_dict(self) -> LearnerState:
        """The complete state, to be saved."""
        return LearnerState(
            {name: value.contiguous() for name, value in self.world_model.state_dict().items()},
            flat_state(self.optimizer),
            self.replay.state(),
            self.progress.state_dict(),
            self.generators.state_dict(),
        )

    def load_state_dict(self, state: LearnerState) -> None:
        """Restore a saved state; of weights alone, all else is left as it was made.

        Raises:
            KeyError, TypeError, RuntimeError, ValueError: not a state of this model.
        """
        self.world_model.load_state_dict(state.model)
        self.progress.load_state_dict(state.progress)
        if state.weights_only:
            return
        restore_state(self.optimizer, state.optimizer)
        self.replay = Replay.from_state(state.replay, self.config.replay_capacity)
        self.generators.load_state_dict(state.generators)
