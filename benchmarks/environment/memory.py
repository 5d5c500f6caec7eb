"""Memory-leak test: ten million steps in one process, through every id in turn.

python -m benchmarks.environment.memory

The first round fills the caches (mazes, tables of noise). After it the peak resident memory must not
grow by more than MARGIN.
"""

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

import robot_room

NUM_ENVS = 64
MARGIN = 4.0  # MiB; what the allocator and the interpreter may move about


@dataclass
class EnvMemory:
    """Step 64 environments of every id, and one through gym.make, repeatedly."""

    steps: int = 10_000_000
    """Total number of steps."""
    rounds: int = 10
    """Number of rounds; each creates new environments."""
    compiled: bool = True
    """Whether to use the compiled loops."""
    out: Path = Path("benchmarks/results/env_memory.json")
    """File for the raw numbers."""


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(name: str, steps: int, compiled: bool, seed: int) -> int:
    """Step 64 environments, and one for a fiftieth as many steps; returns the number of steps."""
    generator = np.random.default_rng(seed)
    envs: Any = gym.make_vec(name, NUM_ENVS, "vector_entry_point", compiled=compiled)
    envs.reset(seed=seed)
    actions = generator.uniform(-1, 1, (32, NUM_ENVS, 2)).astype(np.float32)
    for step in range(steps // NUM_ENVS):
        envs.step(actions[step % 32])
    envs.close()
    env = gym.make(name, compiled=compiled)
    env.reset(seed=seed)
    for step in range(steps // 50):
        _, _, terminated, truncated, _ = env.step(actions[step % 32, 0])
        if terminated or truncated:
            env.reset()
    env.close()
    return steps // NUM_ENVS * NUM_ENVS + steps // 50


def main(config: EnvMemory) -> int:
    """Run the benchmark; 1 if memory has grown."""
    share = int(config.steps / config.rounds / len(robot_room.VARIANTS) / 1.02) + NUM_ENVS
    taken, peaks = 0, [peak_mib()]
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("steps", total=config.steps)
        for number in range(config.rounds):
            for name in robot_room.VARIANTS:
                taken += run(name, share, config.compiled, number)
                bar.update(task, completed=taken)
            peaks.append(peak_mib())
    growth = peaks[-1] - peaks[1]
    record = {"steps": taken, "peak_mib_after_each_round": [round(peak, 2) for peak in peaks]}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{taken:,} steps, peak {peaks[-1]:.1f} MiB, growth after the first round {growth:.1f} MiB")
    return 1 if growth > MARGIN else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(EnvMemory)))
