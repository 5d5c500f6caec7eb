"""What learning costs when it is watched and logged, and with more than one thread.

    python -m benchmarks.model.learning_cost

The same agent learns again and again in one process, in turn: silently; with a progress bar, tables,
CSV, JSON lines and TensorBoard, on a pseudo-terminal; and, if asked for, silently with two threads.
Ratios are to the silent one of the same round. CPU seconds are those of the whole process, all threads
together.
"""

import os
import platform
import pty
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import torch
from rich.console import Console

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.learner import TrainingConfig
from benchmarks.engine.jobs import at_least_one, command, write_record

KINDS = ("silent", "told", "two threads")


@dataclass
class LearningCost:
    """Measure, and print ratios."""

    env_steps: int = 48
    """Environment steps of each run, of which the first 16 are random."""
    rounds: int = 5
    """Rounds; the first, which warms up, is not counted."""
    two_threads: bool = False
    """Whether to measure two threads, too. Where other processes use the cores, they wait for each
    other, and this takes long."""
    out: Path = Path("benchmarks/results/learning_cost.json")
    """File of the raw times."""

    def __post_init__(self) -> None:
        at_least_one(self, "env_steps", "rounds")


@contextmanager
def terminal() -> Iterator[None]:
    """Standard output and error are a terminal within this context, which nobody looks at."""
    master, slave = pty.openpty()

    def drain() -> None:
        try:
            while os.read(master, 65536):
                pass
        except OSError:  # it is closed
            return

    kept = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(slave, number)
    reader = Thread(target=drain, daemon=True)
    reader.start()
    try:
        yield
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(slave)
        reader.join(1)
        os.close(master)


def learn(kind: str, env_steps: int) -> tuple[float, float]:
    """Seconds and CPU seconds of one run."""
    config = AgentConfig(training=TrainingConfig(random_steps=16))
    threads = 2 if kind == "two threads" else 1
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu", threads=threads)
    with TemporaryDirectory() as folder, terminal():
        options: dict[str, Any] = {}
        if kind == "told":
            options = {"progress_bar": True, "verbose": 1, "tensorboard_log": folder}
        began, cpu = time.perf_counter(), time.process_time()
        agent.learn(env_steps, **options)
        return time.perf_counter() - began, time.process_time() - cpu


def main(config: LearningCost) -> None:
    """Run the benchmark; the file has all rounds so far."""
    kinds = KINDS if config.two_threads else KINDS[:2]
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    before, columns = torch.get_num_threads(), _columns(times)
    for kind in kinds:  # warms up
        learn(kind, config.env_steps)
    for number in range(config.rounds):
        for kind in kinds if number % 2 else kinds[::-1]:
            times[kind].append(learn(kind, config.env_steps))
        record = {"env_steps": config.env_steps, "load": os.getloadavg(), "cores": os.cpu_count()}
        record["processor"] = platform.processor() or platform.machine()
        columns = _columns(times)
        record |= {kind: {"seconds": s, "cpu": c} for kind, (s, c) in columns.items()}
        write_record(config.out, record)
    assert torch.get_num_threads() == before
    for kind in kinds[1:]:
        for name, measured, base in zip(("time", "CPU"), columns[kind], columns["silent"], strict=True):
            ratios = np.array(measured) / np.array(base)
            told = f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
            Console().print(f"{kind}, {name} seconds over silent with one thread: {told}")


def _columns(times: dict[str, list[tuple[float, float]]]) -> dict[str, tuple[list[float], ...]]:
    """Seconds and CPU seconds of all rounds, by kind."""
    return {
        kind: tuple([round(each[number], 4) for each in rounds] for number in (0, 1))
        for kind, rounds in times.items()
    }


if __name__ == "__main__":
    command(LearningCost, main)
