"""Calibration of a restorer and its gate on an agent's uncorrupted frames."""

import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn

from agent.agent import Agent
from agent.belief import told_by_frame
from agent.checkpoint import (
    MALFORMED,
    Checkpoint,
    Finite,
    Settings,
    Whole,
    load_checkpoint,
    require_shapes,
    save_checkpoint,
)
from agent.collection import Collector
from agent.control import ControlState, decide
from agent.gate import ConformalGate, SoftGate
from agent.hub import RESTORER, SHIPPED, located
from agent.replay import Replay
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.conformal import check_calibration_size, conformal_threshold
from agent.restoration.critic import CRITIC_STDS, Critic, calibrate
from agent.restoration.degradation import degraded
from agent.restoration.denoiser import Denoiser, DenoiserConfig, to_frames, to_images
from agent.restoration.harm import Harm, fit_harm, relative_error
from agent.restoration.restorer import BlindRestorer, DiffusionRestorer

Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


HARM_FRAMES = 4000
"""Degraded frames that the model of harm is fitted to."""


class SavedRestoration(msgspec.Struct):
    """config.json of a restorer and a gate, but for the format version: of one kind or the other."""

    shape: tuple[Whole, Whole, Whole]
    calibrated_on: str
    innovation_threshold: Finite | None = None
    """None: infinite."""
    autoencoder: Settings | None = None
    """None: the restorer is a diffusion model, with the fields below."""
    denoiser: Settings = {}
    critic_mean: list[tuple[Finite, Finite]] = []
    critic_std: list[tuple[Positive, Positive]] = []
    critic_threshold: Finite = 0.0


@dataclass(frozen=True)
class Restoration:
    """A restorer and a gate, calibrated together on one agent."""

    restorer: BlindRestorer | DiffusionRestorer
    """Restores frames, and says how far to doubt them."""
    gate: SoftGate | ConformalGate
    """Doubts frames that contradict the world model's prediction."""
    calibrated_on: str = ""
    """The agent and its number of steps; the thresholds are not valid for another agent."""

    def attach(self, agent: Agent) -> Agent:
        """Set both on `agent`."""
        agent.restorer, agent.gate = self.restorer, self.gate
        return agent

    def save(self, path: str | Path) -> None:
        """Write a checkpoint directory; see `agent.checkpoint`.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        self._save(path)

    def save_pretrained(self, path: str | Path) -> None:
        """Write a checkpoint directory for others: the weights in half precision, about a megabyte.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        self._save(path, weights_only=True)

    def _save(self, path: str | Path, weights_only: bool = False) -> None:
        threshold = self.gate.innovation_threshold
        known = None if math.isinf(threshold) else threshold
        if isinstance(self.restorer, BlindRestorer):
            network = self.restorer.autoencoder
            kind: dict[str, Any] = {"autoencoder": dataclasses.asdict(network.config)}
            model = _prefixed("network", network) | _prefixed("harm", self.restorer.harm)
        else:
            critic = self.restorer.critic
            network = critic.denoiser
            kind = {
                "denoiser": dataclasses.asdict(network.config),
                "critic_mean": critic.mean.tolist(),
                "critic_std": critic.std.tolist(),
                "critic_threshold": critic.threshold,
            }
            model = dict(network.state_dict())
        config = SavedRestoration(network.shape, self.calibrated_on, known, **kind)
        save_checkpoint(path, Checkpoint(config, model, {}, {}, {}, weights_only=weights_only))

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str = "cpu") -> Self:
        """The restorer and gate that belong to a trained agent; see `Agent.from_pretrained`.

        Args:
            name: the id of an environment for which this package ships an agent, such as
                "RobotRoom-v0". Or the directory of an agent, or "USER/NAME" on the Hugging Face Hub.
            device: where its tensors are.

        Raises:
            ValueError: there is no such agent, or it has no restorer, or that cannot be loaded.
        """
        path = located(name) / RESTORER
        if not path.is_dir():
            with_one = sorted(each.parent.name for each in SHIPPED.glob(f"*/{RESTORER}"))
            raise ValueError(f"name: got {name!r}, which has no restorer; allowed: {with_one}")
        return cls.load(path, device)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Load both, with all other settings at their defaults.

        Raises:
            ValueError: not a complete checkpoint of a restorer and a gate.
        """
        config, model, *_ = load_checkpoint(path, SavedRestoration)
        try:
            threshold = config.innovation_threshold
            if config.autoencoder is not None:
                restorer = _blind_restorer(config.shape, config.autoencoder, model, device)
                gate = SoftGate(math.inf if threshold is None else threshold)
                return cls(restorer, gate, config.calibrated_on)
            if threshold is None:
                raise ValueError("innovation_threshold: got None, allowed: a finite number")
            sizes = DenoiserConfig(**config.denoiser)  # pyright: ignore[reportArgumentType]
            with torch.device("meta"):  # no memory is taken for sizes that the file does not hold
                require_shapes(model, Denoiser(config.shape, sizes))
            denoiser = Denoiser(config.shape, sizes)
            denoiser.load_state_dict(model)
            mean, std = (
                torch.tensor(each).to(device) for each in (config.critic_mean, config.critic_std)
            )
            if not len(mean) == len(std) == len(CRITIC_STDS):
                allowed = f"{len(CRITIC_STDS)} levels"
                raise ValueError(
                    f"critic_mean, critic_std: got {len(mean)}, {len(std)}, allowed: {allowed}"
                )
            critic = Critic(denoiser.to(device), mean, std, config.critic_threshold)
            return cls(DiffusionRestorer(critic), ConformalGate(threshold), config.calibrated_on)
        except (ValueError, *MALFORMED) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: got no restorer and gate ({problem})") from error


class _Blind(nn.Module):
    """An autoencoder and its model of harm, as they are saved."""

    def __init__(self, shape: tuple[int, int, int], config: AutoencoderConfig) -> None:
        super().__init__()
        self.network = Autoencoder(shape, config)
        self.harm = Harm(self.network.summary_size)


def _blind_restorer(
    shape: tuple[int, int, int], settings: Settings, model: dict[str, Tensor], device: str
) -> BlindRestorer:
    config = AutoencoderConfig(**settings)  # pyright: ignore[reportArgumentType]
    with torch.device("meta"):  # no memory is taken for sizes that the file does not hold
        require_shapes(model, _Blind(shape, config))
    both = _Blind(shape, config)
    both.load_state_dict(model)
    both = both.requires_grad_(False).to(device)
    return BlindRestorer(both.network, both.harm)


def _prefixed(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


@torch.no_grad()
def calibrate_restorer(
    agent: Agent,
    network: Autoencoder | Denoiser,
    episodes: int = 200,
    false_alarms: float = 0.01,
    seed: int = 0,
) -> Restoration:
    """Calibrate a restorer and a gate for `agent` on new episodes of its environment.

    The agent acts without them, and the episodes are not used for training. For an autoencoder,
    their frames, degraded, fit the model of harm. For a denoiser, half of them fit the critic; one
    frame from each of the other half is drawn for its score, and one for its innovation, to set the
    two thresholds. While every frame is used, each test rejects a clean frame of a new episode with
    probability `false_alarms` at most; once the gate rejects frames, which changes its predictions,
    the guarantee is empirical only (`benchmarks.camera.restorer_quality`).

    Args:
        agent: an agent trained with an uncorrupted camera.
        network: trained on frames of the same environment.
        episodes: number of episodes to run.
        false_alarms: α of each test, for a denoiser.
        seed: seed of the episodes' starts and of the draws.

    Raises:
        ValueError: frames of another shape, too few episodes for α, or a recurrent posterior, whose
            hidden state cannot be propagated without a frame.
    """
    check_calibration(agent, episodes, false_alarms)
    if network.shape != agent.observation_space.shape:
        allowed = f"{agent.observation_space.shape}, as the agent's frames"
        raise ValueError(f"network: got shape {network.shape}, allowed: {allowed}")
    network = network.to(agent.device)
    frames, innovations = _act(agent, episodes, seed)
    if isinstance(network, Autoencoder):
        harm = measured_harm(agent, network, torch.cat(frames), HARM_FRAMES, seed)
        return Restoration(BlindRestorer(network, harm), SoftGate(), described(agent))
    generator = torch.Generator().manual_seed(seed)
    critic = calibrate(network, frames, false_alarms, generator)
    threshold = _threshold(innovations, false_alarms, generator)
    return Restoration(DiffusionRestorer(critic), ConformalGate(threshold), described(agent))


@torch.no_grad()
def innovation_threshold(
    agent: Agent, episodes: int = 200, false_alarms: float = 0.01, seed: int = 0
) -> float:
    """The d² that one clean frame in 1/α of a new episode exceeds at most; see `calibrate_restorer`.

    Raises:
        ValueError: as `calibrate_restorer`.
    """
    check_calibration(agent, episodes, false_alarms)
    _, innovations = _act(agent, episodes, seed)
    return _threshold(innovations, false_alarms, torch.Generator().manual_seed(seed))


def _threshold(innovations: list[Tensor], false_alarms: float, generator: torch.Generator) -> float:
    """The conformal threshold on one innovation of every other episode."""
    some = innovations[1::2]
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in some]
    return conformal_threshold(torch.stack(drawn), false_alarms)


@torch.no_grad()
def measured_harm(
    agent: Agent, network: Autoencoder, frames: Tensor, count: int, seed: int = 0, batch: int = 100
) -> Harm:
    """Fit a model of harm to `count` degraded frames; see `agent.restoration.harm`.

    Args:
        agent: whose belief may be misled.
        network: the autoencoder.
        frames: clean frames that it was not trained on, (F, H, W, C) uint8.
        count: degraded frames.
        seed: seed of the degradations and of the fit.
        batch: frames in a pass.
    """
    model, generator = agent.world_model, torch.Generator().manual_seed(seed)
    summaries, errors = [], []
    for _ in range(0, count, batch):
        clean = frames[torch.randint(len(frames), (batch,), generator=generator)]
        seen = to_frames(degraded(to_images(clean), generator))
        images, summary = network.read(to_images(seen))
        told, true = (told_by_frame(model, each) for each in (to_frames(images), clean))
        summaries.append(summary)
        errors.append(relative_error(told, true))
    return fit_harm(torch.cat(summaries), torch.cat(errors), model.latent_dim, seed)


def check_calibration(agent: Agent, episodes: int, false_alarms: float) -> None:
    """Check what can be checked before a denoiser is trained.

    Raises:
        ValueError: a recurrent posterior, or too few episodes for α.
    """
    posterior = getattr(agent.config.world_model, "posterior", "filter")
    if posterior != "filter":
        allowed = "'filter', as a GRU cannot be propagated without a frame"
        raise ValueError(f"posterior: got {posterior!r}, allowed: {allowed}")
    check_calibration_size(episodes, false_alarms)


def described(agent: Agent) -> str:
    """The agent's environment, seed and number of steps, as text."""
    return f"{agent.env_id}, seed {agent.seed}, {agent.num_timesteps} steps"


def _act(agent: Agent, episodes: int, seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Frames of complete episodes, and the innovations of all but their first frames."""
    collector = Collector(agent.env, Replay(2**31), seed)
    state = ControlState.initial(agent.world_model, agent.planner, agent.env.num_envs)
    generator = torch.Generator(agent.device).manual_seed(seed)
    frames: list[list[torch.Tensor]] = [[] for _ in collector.frames]
    innovations: list[list[torch.Tensor]] = [[] for _ in collector.frames]
    whole: list[tuple[torch.Tensor, torch.Tensor]] = []
    while len(whole) < episodes:
        starts = collector.episode_start.copy()
        seen = torch.from_numpy(np.array(collector.frames)).to(agent.device)
        decision, state = decide(
            agent.world_model,
            agent.planner,
            seen,
            state,
            torch.from_numpy(starts).to(agent.device),
            generator,
        )
        for i in range(len(seen)):
            if starts[i]:
                if len(innovations[i]) > 0:
                    whole.append((torch.stack(frames[i]), torch.stack(innovations[i])))
                frames[i], innovations[i] = [], []
            else:
                innovations[i].append(decision.belief.innovation[i])
            frames[i].append(seen[i])
        collector.step(decision.action.cpu().numpy())
    return [each for each, _ in whole[:episodes]], [each for _, each in whole[:episodes]]
