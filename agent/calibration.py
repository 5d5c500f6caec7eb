"""Calibration of an observation prior: what is usual for this agent where the camera is sound."""

import math

import numpy as np
import torch

from agent.agent import Agent
from agent.collection import Collector
from agent.control import ControlState, decide
from agent.denoiser import Denoiser
from agent.observation_prior import (
    CRITICAL_STDS,
    Critic,
    ObservationPrior,
    calibrate,
    check_promise,
    conformal_threshold,
)
from agent.replay import Replay


@torch.no_grad()
def calibrate_prior(
    agent: Agent,
    denoiser: Denoiser,
    episodes: int = 200,
    false_alarms: float = 0.01,
    seed: int = 0,
) -> ObservationPrior:
    """An observation prior for `agent`, calibrated on new episodes in its own environment.

    The agent acts as it does without one. These episodes train nothing: half of them tell the critic
    what is usual; from each of the other half one frame is drawn for its score, and one for its
    innovation, and they set the two thresholds. So long as every frame is believed, each test accuses
    a frame drawn from a new episode with probability `false_alarms` at most; a gate that leaves
    frames out changes what it predicts from, and what is promised then is measured, not proved
    (`benchmarks.camera.prior_quality`).

    Args:
        agent: has learned, in an environment whose camera is sound.
        denoiser: trained on frames of the same environment.
        episodes: how many are run.
        false_alarms: α of either test.
        seed: of the episodes' starts and the draws.

    Raises:
        ValueError: frames of another shape, too few episodes for α, or a recurrent posterior, whose
            memory cannot coast.
    """
    check_calibration(agent, episodes, false_alarms)
    if denoiser.shape != agent.observation_space.shape:
        allowed = f"{agent.observation_space.shape}, as the agent's frames"
        raise ValueError(f"denoiser: got shape {denoiser.shape}, allowed: {allowed}")
    denoiser = denoiser.to(agent.device)
    usual = torch.zeros(len(CRITICAL_STDS), 2, device=agent.device)
    unsure = Critic(denoiser, usual, usual + 1, math.inf)
    everything = ObservationPrior(unsure, math.inf, purifies=False, gates=False)
    generator = torch.Generator().manual_seed(seed)
    frames, innovations = _act(agent, everything, episodes, seed)
    critic = calibrate(denoiser, frames, false_alarms, generator)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in innovations[1::2]]
    threshold = conformal_threshold(torch.stack(drawn), false_alarms)
    return ObservationPrior(critic, threshold, calibrated_on=described(agent))


def check_calibration(agent: Agent, episodes: int, false_alarms: float) -> None:
    """What can be refused before a denoiser has been trained.

    Raises:
        ValueError: a recurrent posterior, or too few episodes for α.
    """
    posterior = agent.config.world_model.posterior
    if posterior != "filter":
        allowed = "'filter', as a GRU's memory cannot coast"
        raise ValueError(f"posterior: got {posterior!r}, allowed: {allowed}")
    check_promise(episodes, false_alarms)


def described(agent: Agent) -> str:
    """Which agent this is, and how much it has learned."""
    return f"{agent.env_id}, seed {agent.seed}, {agent.num_timesteps} steps"


def _act(
    agent: Agent, prior: ObservationPrior, episodes: int, seed: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Frames, and innovations of all but the first, of so many whole episodes."""
    collector = Collector(agent.env, Replay(2**31), seed)
    state = ControlState.initial(agent.world_model, agent.config.planner, agent.env.num_envs)
    generator = torch.Generator(agent.device).manual_seed(seed)
    frames: list[list[torch.Tensor]] = [[] for _ in collector.frames]
    innovations: list[list[torch.Tensor]] = [[] for _ in collector.frames]
    whole: list[tuple[torch.Tensor, torch.Tensor]] = []
    while len(whole) < episodes:
        starts = collector.episode_start.copy()
        seen = torch.from_numpy(np.array(collector.frames)).to(agent.device)
        decision, state = decide(
            agent.world_model,
            agent.config.planner,
            seen,
            state,
            torch.from_numpy(starts).to(agent.device),
            generator,
            prior=prior,
        )
        assert decision.belief.innovation is not None
        for room in range(len(seen)):
            if starts[room]:
                if len(innovations[room]) > 0:
                    whole.append((torch.stack(frames[room]), torch.stack(innovations[room])))
                frames[room], innovations[room] = [], []
            else:
                innovations[room].append(decision.belief.innovation[room])
            frames[room].append(seen[room])
        collector.step(decision.action.cpu().numpy())
    return [each for each, _ in whole[:episodes]], [each for _, each in whole[:episodes]]
