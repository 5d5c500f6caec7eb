"""What safety costs: the time that it adds to a save, and to learning."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig, checkpoint
from agent.auto_checkpoint import AutoCheckpoint
from agent.learner import TrainingConfig
from benchmarks.faults.tally import Tally

STEPS = 500  # of v0's demonstration


def saves(tally: Tally, count: int) -> None:
    """Save v0's agent as it is saved, and without locks, flushes and renames, in turns."""
    training = TrainingConfig(random_steps=STEPS, updates_per_step=0.01)  # its replay, soon
    agent = Agent("RobotRoom-v0", AgentConfig(training=training)).learn(STEPS)
    safe, plain = [], []
    original = checkpoint.replaced_directory
    with tempfile.TemporaryDirectory(dir=tally.path.parent) as folder:  # a disk, not memory
        for number in range(count):
            safe.append(_seconds(agent, Path(folder, "agent")))
            checkpoint.replaced_directory = _plain
            try:
                plain.append(_seconds(agent, Path(folder, f"plain-{number}")))
            finally:
                checkpoint.replaced_directory = original
    added = 1000 * (np.array(safe) - plain)
    for name, values in (("safe", 1000 * np.array(safe)), ("plain", 1000 * np.array(plain))):
        tally.figures[f"save_{name}_ms_median"] = round(float(np.median(values)), 2)
    for share in (10, 50, 90):
        tally.figures[f"save_added_ms_percentile_{share}"] = round(
            float(np.percentile(added, share)), 2
        )


def learning(tally: Tally, steps: int) -> None:
    """Learn v0 with checkpoints, and take the time that is spent on them."""
    spent = {"wall": 0.0, "cpu": 0.0}
    agent = Agent("RobotRoom-v0", AgentConfig())

    @contextmanager
    def measured() -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent["wall"] += time.perf_counter() - wall
        spent["cpu"] += time.process_time() - cpu

    with tempfile.TemporaryDirectory(dir=tally.path.parent) as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        keep = AutoCheckpoint(agent, Path(folder, "agent"))
        with measured():
            keep.__enter__()

        def callback(progress: object) -> None:
            with measured():
                keep(progress)

        agent.learn(steps, callback)
        with measured():
            keep.__exit__(None, None, None)
        total = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    tally.figures["learning_steps"] = steps
    for clock in ("wall", "cpu"):
        tally.figures[f"learning_{clock}_seconds"] = round(total[clock], 1)
        tally.figures[f"learning_{clock}_share_of_safety_percent"] = round(
            100 * spent[clock] / total[clock], 3
        )


def _seconds(agent: Agent, path: Path) -> float:
    began = time.perf_counter()
    agent.save(path)
    return time.perf_counter() - began


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    path.mkdir()
    yield path
