"""What the configuration for every room costs: an update and a decision, beside those of the default.

    python -m benchmarks.model.rooms_cost

Both learn in one process on one thread, and are then timed in turn. The values of states are computed
in the first decision of an episode, and anew after some steps; all other decisions only use them.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.presets import EVERY_ROOM
from benchmarks.engine.backends import machine
from robot_room.app.command_line import run

NAMES = ("plain", "every room")
QUANTITIES = ("update", "first decision", "decision")


@dataclass
class RoomsCost:
    """Time both, write the raw times, print the table."""

    env_id: str = "RobotRoomDoor-v0"
    """The environment."""
    env_steps: int = 200
    """Environment steps that both learn from before they are timed."""
    rounds: int = 15
    """Rounds, in which the two take turns; the median counts."""
    out: Path = Path("benchmarks/results/rooms_cost.json")
    """File for the raw times."""


def main(config: RoomsCost) -> None:
    """Run the benchmark."""
    torch.set_num_threads(1)
    presets: tuple[dict[str, Any], ...] = ({"config": AgentConfig()}, {**EVERY_ROOM})
    agents = {
        name: Agent(config.env_id, seed=0, device="cpu", **preset).learn(config.env_steps)
        for name, preset in zip(NAMES, presets, strict=True)
    }
    frames = _frames(config.env_id)
    times = {name: {quantity: list[float]() for quantity in QUANTITIES} for name in NAMES}
    for _ in track(range(config.rounds), "timing"):
        for name, agent in agents.items():
            times[name]["update"].append(_milliseconds(partial(agent.learner.update, left=0.5), 10))
            first, later = _decisions(agent, frames)
            times[name]["first decision"].append(first)
            times[name]["decision"].append(later)
    results = {"env_id": config.env_id, "env_steps": config.env_steps, "milliseconds": times}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(results | {"machine": machine()}, indent=2) + "\n")
    table = Table(title=f"milliseconds in {config.env_id}: median of {config.rounds} rounds")
    for heading in ("", *NAMES, "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for quantity in QUANTITIES:
        ours = [float(np.median(times[name][quantity])) for name in NAMES]
        table.add_row(quantity, *(f"{each:.1f}" for each in ours), f"{ours[1] / ours[0]:.2f}")
    Console(width=100).print(table)


def _frames(env_id: str) -> list[Any]:
    """The frames of an episode of random actions."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    frames = [env.reset(seed=0)[0]]
    while len(frames) < 12:  # fewer than the steps after which values are computed anew
        frames.append(env.step(env.action_space.sample())[0])
    return frames


def _decisions(agent: Agent, frames: list[Any]) -> tuple[float, float]:
    """Milliseconds of the first decision of an episode, and the median of all others."""
    state, times = None, list[float]()
    for number, frame in enumerate(frames):
        began = time.perf_counter()
        _, state = agent.predict(frame, state, np.array([number == 0]))
        times.append(1000 * (time.perf_counter() - began))
    return times[0], float(np.median(times[1:]))


def _milliseconds(function: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        function()
    return 1000 * (time.perf_counter() - began) / count


if __name__ == "__main__":
    run(RoomsCost, main)
