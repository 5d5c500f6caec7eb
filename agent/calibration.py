"""Calibration of a restorer and its gate on an agent's uncorrupted frames."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta

from agent.agent import Agent
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
from agent.gate import ConformalGate
from agent.replay import Replay
from agent.restoration.conformal import check_calibration_size, conformal_threshold
from agent.restoration.critic import CRITIC_STDS, Critic, calibrate
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.restorer import DiffusionRestorer

Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


class SavedRestoration(msgspec.Struct):
    """config.json of a restorer and a gate, but for the format version."""

    shape: tuple[Whole, Whole, Whole]
    denoiser: Settings
    critic_mean: list[tuple[Finite, Finite]]
    critic_std: list[tuple[Positive, Positive]]
    critic_threshold: Finite
    innovation_threshold: Finite
    calibrated_on: str


@dataclass(frozen=True)
class Restoration:
    """A restorer and a gate, calibrated together on one agent."""

    restorer: DiffusionRestorer
    """Denoises, inpaints and scores frames."""
    gate: ConformalGate
    """Rejects frames that are implausible or contradict the world model's prediction."""
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
        denoiser = self.restorer.critic.denoiser
        critic = self.restorer.critic
        config = SavedRestoration(
            denoiser.shape,
            dataclasses.asdict(denoiser.config),
            critic.mean.tolist(),
            critic.std.tolist(),
            critic.threshold,
            self.gate.innovation_threshold,
            self.calibrated_on,
        )
        save_checkpoint(path, Checkpoint(config, dict(denoiser.state_dict()), {}, {}, {}))

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Load both, with all other settings at their defaults.

        Raises:
            ValueError: not a complete checkpoint of a restorer and a gate.
        """
        config, model, *_ = load_checkpoint(path, SavedRestoration)
        try:
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
            gate = ConformalGate(config.innovation_threshold)
            return cls(DiffusionRestorer(critic), gate, config.calibrated_on)
        except (ValueError, *MALFORMED) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: got no restorer and gate ({problem})") from error


@torch.no_grad()
def calibrate_restorer(
    agent: Agent,
    denoiser: Denoiser,
    episodes: int = 200,
    false_alarms: float = 0.01,
    seed: int = 0,
) -> Restoration:
    """Calibrate a restorer and a gate for `agent` on new episodes of its environment.

    The agent acts without them, and the episodes are not used for training. Half of them fit the
    critic; one frame from each of the other half is drawn for its score, and one for its innovation,
    to set the two thresholds. While every frame is used, each test rejects a clean frame of a new
    episode with probability `false_alarms` at most; once the gate rejects frames, which changes its
    predictions, the guarantee is empirical only (`benchmarks.camera.restorer_quality`).

    Args:
        agent: an agent trained with an uncorrupted camera.
        denoiser: trained on frames of the same environment.
        episodes: number of episodes to run.
        false_alarms: α of each test.
        seed: seed of the episodes' starts and of the draws.

    Raises:
        ValueError: frames of another shape, too few episodes for α, or a recurrent posterior, whose
            hidden state cannot be propagated without a frame.
    """
    check_calibration(agent, episodes, false_alarms)
    if denoiser.shape != agent.observation_space.shape:
        allowed = f"{agent.observation_space.shape}, as the agent's frames"
        raise ValueError(f"denoiser: got shape {denoiser.shape}, allowed: {allowed}")
    denoiser = denoiser.to(agent.device)
    generator = torch.Generator().manual_seed(seed)
    frames, innovations = _act(agent, episodes, seed)
    critic = calibrate(denoiser, frames, false_alarms, generator)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in innovations[1::2]]
    threshold = conformal_threshold(torch.stack(drawn), false_alarms)
    return Restoration(DiffusionRestorer(critic), ConformalGate(threshold), described(agent))


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
