"""The restorer by itself: compared with the exact denoiser, as a detector, and its cost in time.

    python -m benchmarks.camera.restorer_quality

For each training seed:

    denoiser    a network trained on frames with the robot on a uniform grid of positions, compared with
                the exact E[x_0 | x_n] over all these frames: RMS of the difference divided by the RMS
                of x_0 around its mean
    detector    area under the ROC curve for corrupted against uncorrupted frames, in episodes in which
                the agent acts with its restorer: of the critic's score of the camera's frame, and of
                the innovation of the restored frame; and the fraction of uncorrupted frames that each
                threshold rejects
    clock       time to train and calibrate the restorer divided by the agent's training time, and time
                per frame divided by planning time, one environment, one thread
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch import Tensor

from agent import Agent, AgentConfig
from agent.calibration import Restoration
from agent.control import ControlState, decide
from agent.restoration import diffusion
from agent.restoration.critic import Critic
from agent.restoration.denoiser import to_frames, to_images
from agent.restoration.restorer import DiffusionRestorer
from agent.restoration.training import DenoiserTrainer
from benchmarks.camera.robustness import MIDDLE, ROOM, TRAINING_STEPS, learned_restoration, plain
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, env_spec
from robot_room.rendering import Scene, render
from robot_room.sensors import SEVERITIES

STDS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.5, 5.0)
GRID = 41  # positions along each axis
NUM_ENVS, STEPS = 50, 12
ROUNDS = 200


@dataclass
class RestorerQuality:
    """Run the jobs that have no result file yet, then print the tables."""

    seeds: int = 3
    """Number of training seeds, from 0."""
    out: Path = Path("benchmarks/results/restorer_quality")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds")


def every_frame() -> Tensor:
    """The room with the robot at each position of a grid."""
    places = np.linspace(-0.9, 0.9, GRID)
    robot = np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)
    return torch.from_numpy(render(Scene(robot, np.zeros_like(robot))))


@torch.no_grad()
def denoiser_errors(seed: int, frames: int = 200) -> dict[str, float]:
    """Distance of the network from the exact denoiser, by standard deviation of the noise."""
    every = every_frame()
    trainer = DenoiserTrainer((64, 64, 3), seed=seed)
    with torch.enable_grad():
        trainer.fit(every)
    denoiser = trainer.averaged
    images = to_images(every).flatten(1)
    signal = (images - images.mean(0)).square().mean().sqrt().item()
    generator = torch.Generator().manual_seed(seed)
    chosen = to_images(every[torch.randint(len(every), (frames,), generator=generator)])
    errors = {}
    for std in STDS:
        n = denoiser.schedule.nearest(std)
        eps = torch.randn(chosen.shape, generator=generator)
        xn = diffusion.diffuse(denoiser.schedule, chosen, n, eps)
        found = denoiser.denoise(xn, n).flatten(1)
        alpha_bar = denoiser.schedule.alpha_bar[n].item()
        apart = torch.cdist(xn.flatten(1).double(), math.sqrt(alpha_bar) * images.double()).square()
        exact = (-apart / (2 * (1 - alpha_bar))).softmax(1).float() @ images
        errors[f"{std:g}"] = (found - exact).square().mean().sqrt().item() / signal
    return errors


def critic_of(restoration: Restoration) -> Critic:
    """The critic of a diffusion model."""
    assert isinstance(restoration.restorer, DiffusionRestorer)
    return restoration.restorer.critic


class Watched(NamedTuple):
    """Recordings of N environments over T steps, (T, N, …)."""

    frames: Tensor
    scores: Tensor
    innovations: Tensor
    starts: Tensor


@torch.no_grad()
def watch(agent: Agent, restoration: Restoration, kwargs: dict[str, object]) -> Watched:
    """Let the agent act with its restorer and record frames, scores, innovations and starts."""
    spec = env_spec(ROOM, json.dumps(kwargs))
    env = gym.make_vec(spec, NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP)
    seen, _ = env.reset(seed=HELD_OUT_SEED)
    state, starting = None, np.ones(NUM_ENVS, np.bool_)
    frames, scores, innovations, starts = [], [], [], []
    restoration.attach(agent)
    for _ in range(STEPS):
        decision, state = agent.decide(seen, state, starting)
        frames.append(torch.from_numpy(seen.copy()))
        scores.append(critic_of(restoration).score(frames[-1]))
        innovations.append(decision.belief.innovation)
        starts.append(torch.from_numpy(starting))
        seen, _, terminated, truncated, _ = env.step(decision.action.numpy())
        starting = terminated | truncated
    env.close()
    return Watched(*(torch.stack(each) for each in (frames, scores, innovations, starts)))


def area(clean: Tensor, broken: Tensor) -> float:
    """Area under the ROC curve: how often a corrupted frame's number is larger; ties count half."""
    statistic = stats.mannwhitneyu(broken.flatten(), clean.flatten()).statistic
    return float(statistic / (clean.numel() * broken.numel()))


def detection(agent: Agent, restoration: Restoration) -> dict[str, dict[str, float]]:
    """Areas by corruption, and the fraction of uncorrupted frames that are rejected."""
    frames, scores, innovations, starts = watch(agent, restoration, {})
    expected = innovations[~starts]  # there is no prediction for the first frame of an episode
    result = {
        "accused": {
            "score": (scores > critic_of(restoration).threshold).float().mean().item(),
            "innovation": (expected > restoration.gate.innovation_threshold).float().mean().item(),
        }
    }
    for kind in SEVERITIES:
        failing = watch(agent, restoration, {"corruption": kind, "severity": MIDDLE})
        broken = torch.ones_like(failing.starts)
        if kind == "blackout":
            broken = failing.frames.flatten(2).amax(2) == 0
        elif kind == "dropped_frames":
            broken[1:] = (failing.frames[1:] == failing.frames[:-1]).flatten(2).all(2)
        surprising = failing.innovations[broken & ~failing.starts]
        result[kind] = {"innovation": area(expected, surprising)}
        if kind != "dropped_frames":  # such a frame is uncorrupted, but late
            result[kind]["score"] = area(scores, failing.scores[broken])
    first = frames[0]
    empty = first.float().median(0).values.to(torch.uint8).expand_as(first)
    other = first.roll(1, 0)
    apart = ((first > 250).all(-1) & (other > 140).all(-1)).flatten(1).sum(1) == 0
    two = torch.maximum(first, other)[apart]
    for name, wrong in (("missing robot", empty[:1]), ("two robots", two)):
        result[name] = {"score": area(scores, critic_of(restoration).score(wrong))}
    return result


def milliseconds(function: Callable[[], object]) -> float:
    """Median time of a call in milliseconds."""
    times = []
    for _ in range(ROUNDS + 5):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times[5:]))


def frame_times(agent: Agent, restoration: Restoration) -> dict[str, float]:
    """Milliseconds: a decision without restorer, and restoring frames of three kinds."""
    env = gym.make(ROOM)
    clean = torch.from_numpy(env.reset(seed=HELD_OUT_SEED)[0])[None]
    eps = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noisy = to_frames(to_images(clean) + 0.6 * eps)
    hidden = clean.clone()
    hidden[:, :24, :24] = 0
    generator = torch.Generator().manual_seed(0)
    planner = agent.planner
    state = ControlState.initial(agent.world_model, planner, 1)
    starts = torch.ones(1, dtype=torch.bool)
    return {
        "decision": milliseconds(
            lambda: decide(agent.world_model, planner, clean, state, starts, generator)
        ),
        "clean": milliseconds(lambda: restoration.restorer.restore(clean)),
        "noise": milliseconds(lambda: restoration.restorer.restore(noisy)),
        "occluder": milliseconds(lambda: restoration.restorer.restore(hidden)),
    }


def run_job(seed: int) -> Record:
    """All measurements for one seed."""
    agent = Agent(ROOM, AgentConfig(), seed, "cpu").learn(TRAINING_STEPS)
    began = time.perf_counter()
    restoration = learned_restoration(agent, seed)
    seconds = time.perf_counter() - began
    return {
        "training_seed": seed,
        "denoiser": denoiser_errors(seed),
        "detection": detection(agent, restoration),
        "milliseconds": frame_times(plain(agent), restoration),
        "prior_seconds": seconds,
        "agent_seconds": agent.progress.seconds,
    }


def tables(records: list[Record]) -> list[Table]:
    """Tables for denoiser, detector and clock."""
    denoiser = Table("std of the noise", "distance from exact", title="The network, relative RMS")
    for std in records[0]["denoiser"]:
        denoiser.add_row(std, spread([r["denoiser"][std] for r in records], 3))
    detector = Table(
        "frames", "score", "innovation", title="Area under the ROC curve (accused: fraction)"
    )
    for name, found in records[0]["detection"].items():
        values = [
            spread([r["detection"][name][kind] for r in records], 3) if kind in found else ""
            for kind in ("score", "innovation")
        ]
        detector.add_row(name, *values)
    clock = Table("what", "ratio", title="Restorer, relative to the agent without it")
    clock.add_row(
        "training and calibration / training of the agent",
        spread([r["prior_seconds"] / r["agent_seconds"] for r in records], 2),
    )
    for kind in ("clean", "noise", "occluder"):
        ratios = [r["milliseconds"][kind] / r["milliseconds"]["decision"] for r in records]
        clock.add_row(f"time per frame, {kind} / planning time", spread(ratios, 2))
    return [denoiser, detector, clock]


def main(config: RestorerQuality) -> None:
    """Run the benchmark."""
    jobs = {config.out / f"seed{seed}.json": (seed,) for seed in range(config.seeds)}
    for table in tables(run_jobs(run_job, jobs, {"training_steps": TRAINING_STEPS})):
        Console(width=110).print(table)


if __name__ == "__main__":
    command(RestorerQuality, main)
