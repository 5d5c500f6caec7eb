"""Training throughput: the agent's updates compared with a naive implementation.

    python -m benchmarks.model.throughput

Both alternate in one process on one thread: drawing a batch, loss, gradients, clipping, Adam. The naive
one is `benchmarks.model.plain`, with torch's default Adam.
"""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.types import Batch
from benchmarks.model.plain import plain_loss
from robot_room.app.command_line import run


@dataclass
class Throughput:
    """Time both, write the raw times, print the ratio."""

    rounds: int = 15
    """Number of rounds, in which the two alternate."""
    updates: int = 20
    """Updates of each per round; the median counts."""
    out: Path = Path("benchmarks/results/throughput.json")
    """File for the raw times."""


def main(config: Throughput) -> None:
    """Run the benchmark."""
    torch.set_num_threads(1)
    agent = Agent("RobotRoom-v0", AgentConfig(), seed=0, device="cpu")
    agent.learn(120)
    model, training = agent.world_model, agent.config.training
    parameters, generator = list(model.parameters()), np.random.default_rng(0)
    losses: dict[str, tuple[Callable[[Batch], torch.Tensor], torch.optim.Optimizer]] = {
        "ours": (lambda batch: model.loss(batch)[0], torch.optim.Adam(parameters, 1e-4, fused=True)),
        "plain": (lambda batch: plain_loss(model, batch), torch.optim.Adam(parameters, 1e-4)),
    }

    def update(name: str) -> float:
        loss_of, optimizer = losses[name]
        began = time.perf_counter()
        loss = loss_of(agent.replay.sample(training.batch_size, training.sequence_length, generator))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        optimizer.step()
        return 1000 * (time.perf_counter() - began)

    milliseconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in track(range(config.rounds), "rounds", console=Console(stderr=True)):
        for name, times in milliseconds.items():
            update(name)  # warms up what the other has left cold
            times.append(round(float(np.median([update(name) for _ in range(config.updates)])), 3))
    frames = training.batch_size * training.sequence_length
    record = {
        "frames_per_update": frames,
        "milliseconds_per_update": milliseconds,
        "torch": version("torch"),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
    }
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(record, indent=1) + "\n")
    ours, plain = (np.array(milliseconds[name]) for name in ("ours", "plain"))
    for name, times in (("ours", ours), ("plain", plain)):
        rate = 1000 * frames / np.median(times)
        print(f"{name}: {np.median(times):.1f} ms an update, {rate:,.0f} frames/s")
    ratio = plain / ours
    spread = f"{ratio.min():.2f} to {ratio.max():.2f} over {len(ratio)} rounds"
    print(f"ratio: {np.median(ratio):.2f} ({spread})")


if __name__ == "__main__":
    run(Throughput, main)
