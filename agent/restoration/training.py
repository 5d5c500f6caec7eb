"""Training of the diffusion model and of the autoencoder: Adam on random frames, with averaged weights.

The model that is used is the exponential moving average of the parameters (not of buffers); the raw
parameters are also saved, for resuming.
"""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Self, TypeVar

import msgspec
import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from agent.checkpoint import (
    MALFORMED,
    Checkpoint,
    Settings,
    Whole,
    flat_state,
    load_checkpoint,
    require_shapes,
    restore_state,
    save_checkpoint,
)
from agent.config import Config, Count, Positive, checked
from agent.denormals import flushed_denormals
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.seeded import Seeded
from agent.threads import torch_threads


@dataclass(frozen=True)
class DenoiserTrainingConfig(Config):
    """Optimisation settings.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    updates: Count = 1000
    """Total gradient updates."""
    batch_size: Annotated[int, Ge(2), Le(2**16)] = 32
    """Frames per update."""
    learning_rate: Positive = 3e-3
    """Peak learning rate of Adam: 30 updates of warm-up, then decay to 1/20 over the second half."""
    decay: Annotated[float, Ge(0), Lt(1)] = 0.99
    """Decay of the weight average; at most (1 + k)/(10 + k) after k updates."""
    clip_norm: Positive = 1.0
    """Gradients are clipped to this norm."""


@dataclass(frozen=True)
class AutoencoderTrainingConfig(DenoiserTrainingConfig):
    """Optimisation settings of an autoencoder.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    updates: Count = 800
    """Total gradient updates."""


Seed = Annotated[int, Ge(0), Lt(2**31)]
"""A seed; with the number of an update it gives that update's random stream."""

Callback = Callable[[int, dict[str, float]], None]
"""Called after each update with the number of updates and the metrics. Raise to stop early."""

Network = TypeVar("Network", Denoiser, Autoencoder)
Sizes = TypeVar("Sizes", DenoiserConfig, AutoencoderConfig)


class SavedTrainer(msgspec.Struct):
    """config.json of a trainer, but for the format version."""

    shape: tuple[Whole, Whole, Whole]
    seed: Whole
    updates: Whole
    denoiser: Settings
    denoiser_training: Settings


class Trainer(Generic[Network, Sizes]):
    """Trains a network that restores frames; `DenoiserTrainer` and `AutoencoderTrainer` are to be used.

    Args:
        shape: (H, W, C) of a frame.
        config: sizes of the network.
        training: optimisation settings.
        seed: seed of parameters, batches and noise.
        threads: as for `agent.Agent`.

    Attributes:
        averaged: the network with averaged weights, the one to use.
        updates: number of updates made.
    """

    made: Callable[..., Network]
    sizes: type[Sizes]
    settings: ClassVar[type[DenoiserTrainingConfig]]
    name: ClassVar[str]

    def __init__(
        self,
        shape: tuple[int, int, int],
        config: Sizes | None = None,
        training: DenoiserTrainingConfig | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.training = training or self.settings()
        self.seed, self.updates = checked("seed", seed, Seed), 0
        self.threads = checked("threads", threads, Count)
        with Seeded(self.seed):
            self.network = self.made(shape, config)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.network.parameters(), fused=True)

    def fit(self, frames: Tensor, callback: Callback | None = None) -> None:
        """Make the remaining updates.

        Args:
            frames: clean frames, (F, H, W, C) uint8.
            callback: see `Callback`.

        Raises:
            ValueError: frames of another shape or dtype, or no frames.
            FloatingPointError: the loss is not finite.
        """
        if frames.dtype != torch.uint8 or frames.shape[1:] != self.network.shape or not len(frames):
            got = f"{frames.dtype} {tuple(frames.shape)}"
            raise ValueError(f"frames: got {got}, allowed: torch.uint8 (F, *{self.network.shape})")
        if self.updates == 0:
            self.network.initialise(frames)
            self.averaged.initialise(frames)
        while self.updates < self.training.updates:
            # Each update has its own random stream, so a resumed run equals an uninterrupted one.
            generator = torch.Generator().manual_seed(self.seed * 2**32 + self.updates)
            with torch_threads(self.threads):
                metrics = self._update(frames, generator)
            if callback is not None:
                callback(self.updates, metrics)

    def _update(self, frames: Tensor, generator: torch.Generator) -> dict[str, float]:
        config = self.training
        chosen = torch.randint(len(frames), (config.batch_size,), generator=generator)
        self._optimizer.zero_grad(set_to_none=True)
        with flushed_denormals():
            loss, metrics = self.network.loss(frames[chosen], generator)
            loss.backward()
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"training stopped: loss is {loss.item()} at update {self.updates + 1}; "
                f"try a lower learning_rate (={config.learning_rate:g})"
            )
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        left = 1 - self.updates / config.updates
        rate = config.learning_rate * min(1, (self.updates + 1) / 30) * min(1, 0.05 + 1.9 * left)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        decay = min(config.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - decay)
        self.updates += 1
        return {name: metric.item() for name, metric in metrics.items()} | {"loss": loss.item()}

    def save(self, path: str | Path) -> None:
        """Write a checkpoint directory; see `agent.checkpoint`.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        config = SavedTrainer(
            self.network.shape,
            self.seed,
            self.updates,
            dataclasses.asdict(self.network.config),
            dataclasses.asdict(self.training),
        )
        raw = {f"raw.{k}": v.detach() for k, v in self.network.named_parameters()}
        adam = {f"adam.{key}": value for key, value in flat_state(self._optimizer).items()}
        model = dict(self.averaged.state_dict())
        save_checkpoint(path, Checkpoint(config, model, raw | adam, {}, {}))

    @classmethod
    def load(cls, path: str | Path, updates: int | None = None) -> Self:
        """Load a saved trainer; `fit` continues from there.

        Args:
            path: a checkpoint written by `save`.
            updates: new total number of updates; None: as saved.

        Raises:
            ValueError: not a complete checkpoint of such a network.
        """
        config, model, optimizer, *_ = load_checkpoint(path, SavedTrainer)
        try:
            training = cls.settings(**config.denoiser_training)  # pyright: ignore[reportArgumentType]
            if updates is not None:
                training = dataclasses.replace(training, updates=updates)
            sizes = cls.sizes(**config.denoiser)  # pyright: ignore[reportArgumentType]
            with torch.device("meta"):  # no memory is taken for sizes that the file does not hold
                require_shapes(model, cls.made(config.shape, sizes))
            trainer = cls(config.shape, sizes, training, config.seed)
            trainer.averaged.load_state_dict(model)
            trainer.network.load_state_dict(model)  # the buffers; then the parameters
            raw = dict(trainer.network.named_parameters())
            adam = {}
            for key, value in optimizer.items():
                kind, _, name = key.partition(".")
                if kind == "raw":
                    raw[name].data.copy_(value)
                else:
                    adam[name] = value
            restore_state(trainer._optimizer, adam)
        except (ValueError, *MALFORMED) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: got no checkpoint of {cls.name} ({problem})") from error
        trainer.updates = config.updates
        return trainer


class DenoiserTrainer(Trainer[Denoiser, DenoiserConfig]):
    """Trains a denoiser, the network of a diffusion model."""

    made, sizes = Denoiser, DenoiserConfig
    settings, name = DenoiserTrainingConfig, "a denoiser"


class AutoencoderTrainer(Trainer[Autoencoder, AutoencoderConfig]):
    """Trains a denoising autoencoder."""

    made, sizes = Autoencoder, AutoencoderConfig
    settings, name = AutoencoderTrainingConfig, "an autoencoder"
