"""Soft against hard gating: how far belief is misled, along the same trajectories.

    python -m benchmarks.camera.gating

Robots move at random, so that no plan depends on belief. Their frames are shown as each camera of
`benchmarks.camera.failures` that restorers were developed on would show them, and each gate filters
them. A belief is misled where it differs from the one of a clean camera without a gate: by more than
0.35 in the root mean square over z's dimensions, each in units of its std over the trajectories.
Starts are tuning starts: gates were chosen by this.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent import Agent
from agent.belief import BeliefState, advance, observe
from agent.gate import AcceptAll, ConformalGate, Gate, SoftGate
from agent.restoration.restorer import Identity, Restored, Restorer
from benchmarks.camera.corruptions import DEVELOPED, corrupted
from benchmarks.camera.failures import CLEAN, FULL, THRESHOLDED, prepared
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from robot_room.app.evaluation.protocol import TUNING_SEED
from robot_room.sensors import SEVERITIES

ROOM = "RobotRoom-v0"
EPISODES, STEPS = 20, 20
MISLED = 0.35
CONDITIONS = [(CLEAN, 0), *((kind, each) for each in (1, 3, 5) for kind in (*SEVERITIES, *DEVELOPED))]


@dataclass
class Gating:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 1
    """Number of training seeds."""
    first_seed: int = 0
    """The first of them."""
    out: Path = Path("benchmarks/results/gating")
    """Folder of the raw scores."""
    trained: Path = Path("runs/failures")
    """Folder of trained agents and restorers."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds")


class Given(Identity):
    """A restorer whose result is known already."""

    def __init__(self, result: Restored) -> None:
        self.result = result

    def restore(self, frames: Tensor) -> Restored:
        """See `Restorer`."""
        return self.result


class Watched(NamedTuple):
    """Clean or corrupted frames, (T, N, H, W, C), along the same actions (T, N, A)."""

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]


def watched(kind: str, severity: int) -> Watched:
    """Random walks as a camera shows them."""
    generator = np.random.default_rng(0)
    velocity, actions = generator.uniform(-1, 1, (EPISODES, 2)), []
    for _ in range(STEPS):
        velocity = np.clip(0.8 * velocity + 0.6 * generator.normal(size=(EPISODES, 2)), -1, 1)
        actions.append(velocity.astype(np.float32))
    named = {"corruption": kind, "severity": severity} if kind in SEVERITIES else {}
    env = gym.make_vec(ROOM, EPISODES, "vector_entry_point", terminate_on_goal=False, **named)
    frame, _ = env.reset(seed=TUNING_SEED)
    frames = [frame.copy()]
    for action in actions[:-1]:
        frames.append(env.step(action)[0].copy())
    env.close()
    shown = np.stack(frames)
    if kind in DEVELOPED:
        clean = shown.copy()
        for n in range(EPISODES):
            key = zlib.crc32(clean[0, n].tobytes())
            for t in range(STEPS):
                shown[t, n] = corrupted(kind, severity, list(clean[: t + 1, n]), key)
    return Watched(shown, np.stack(actions))


@torch.no_grad()
def restored(restorer: Restorer, frames: NDArray[np.uint8]) -> list[Restored]:
    """The restorer's results at each step; they do not depend on belief."""
    return [restorer.restore(torch.from_numpy(each)) for each in frames]


@torch.no_grad()
def filtered(agent: Agent, results: list[Restored], actions: NDArray[np.float32], gate: Gate) -> Tensor:
    """The belief's means, (T, N, D)."""
    model, means = agent.world_model, []
    state = BeliefState.initial(model, len(actions[0]))
    for result, action in zip(results, actions, strict=True):
        belief = observe(model, Given(result), gate, result.frames, state)
        means.append(belief.density.mean)
        state = advance(model, belief, torch.from_numpy(action))
    return torch.stack(means)


def gates(threshold: float) -> dict[str, Gate]:
    """The gates that are compared, behind the same restorer."""
    return {
        "restored, no gate": AcceptAll(),
        "harm, soft": SoftGate(),
        "harm and innovation, soft": SoftGate(threshold),
        "harm and innovation, hard": ConformalGate(threshold),
    }


def run_job(kind: str, severity: int, seed: int, trained: Path) -> Record:
    """The share of misled beliefs, for every gate."""
    ready = prepared(ROOM, seed, (FULL, *sorted(THRESHOLDED)), trained)
    clean, seen = watched(CLEAN, 0), watched(kind, severity)
    plain = [restored(Identity(), each.frames) for each in (clean, seen)]
    right = filtered(ready.agent, plain[0], clean.actions, AcceptAll())
    scale = right.flatten(0, 1).std(0)

    def misled(results: list[Restored], gate: Gate) -> float:
        found = filtered(ready.agent, results, seen.actions, gate)
        apart = ((found - right) / scale).square().mean(-1).sqrt()
        return (apart > MISLED).float().mean().item()

    mended = restored(ready.full.restorer, seen.frames)
    shares = {"nothing": misled(plain[1], AcceptAll())}
    shares |= {name: misled(mended, gate) for name, gate in gates(ready.threshold).items()}
    doubted = torch.stack([each.doubt > 1 for each in mended]).float().mean().item()
    return {
        **{"kind": kind, "severity": severity, "training_seed": seed},
        **{"misled": shares, "doubted": doubted},
    }


def table(records: list[Record]) -> Table:
    """Shares of misled beliefs in per cent: means over seeds, and over kinds in the last rows."""
    names = list(records[0]["misled"])
    result = Table("camera", *names, "doubted frames", title="Misled beliefs, %")

    def row(name: str, some: list[Record]) -> None:
        means = [np.mean([each["misled"][arm] for each in some]) for arm in names]
        doubted = np.mean([each["doubted"] for each in some])
        result.add_row(name, *(f"{100 * mean:.1f}" for mean in (*means, doubted)))

    for kind, severity in CONDITIONS:
        row(
            f"{kind} {severity}",
            [each for each in records if (each["kind"], each["severity"]) == (kind, severity)],
        )
    for severity in (1, 3, 5):
        row(f"mean, severity {severity}", [each for each in records if each["severity"] == severity])
    return result


def main(config: Gating) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / f"seed{seed}" / f"{kind}-{severity}.json": (kind, severity, seed, config.trained)
        for seed in range(config.first_seed, config.first_seed + config.seeds)
        for kind, severity in CONDITIONS
    }
    settings = {"episodes": EPISODES, "steps": STEPS, "misled": MISLED}
    records = run_jobs(run_job, jobs, settings, jobs_per_process=len(CONDITIONS))
    Console(width=140).print(table(records))


if __name__ == "__main__":
    command(Gating, main)
