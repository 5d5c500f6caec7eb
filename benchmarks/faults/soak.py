"""A long run of training, acting and vector stepping, whose memory and open files must not grow."""

import gc
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import gymnasium as gym
import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from benchmarks.faults.processes import own_memory, used_memory
from benchmarks.faults.samples import SMALL
from benchmarks.faults.tally import Tally
from robot_room.app.watching.session import Session

SETTLED = 1 / 6  # of the time, after which growth counts


def run(tally: Tally, seconds: float) -> None:
    """Work for so many seconds; memory and handles are noted every hundredth of it."""
    tally.figures = {"seconds": seconds, "samples": []}
    began = time.monotonic()
    rounds = [_training(), _watching(), _stepping()]
    noted = -1
    while (now := time.monotonic() - began) < seconds:
        for each in rounds:
            each()
        tally.add("rounds")
        if int(100 * now / seconds) > noted:
            noted = int(100 * now / seconds)
            handles = len(os.listdir("/proc/self/fd"))
            gc.collect()
            memory = own_memory() / 2**20, used_memory() / 2**20
            tally.figures["samples"].append([round(now), memory[0], handles, memory[1]])
            tally.write()
    _summarise(tally)


def _summarise(tally: Tally) -> None:
    """Growth from the settled part's first third to its last, in medians."""
    samples = np.array(tally.figures["samples"])
    settled = samples[samples[:, 0] >= SETTLED * tally.figures["seconds"]]
    first, *_, last = np.array_split(settled, 3)
    columns = {"memory_growth_mib": 1, "handles_growth": 2, "used_memory_growth_mib": 3}
    for name, column in columns.items():
        growth = float(np.median(last[:, column]) - np.median(first[:, column]))
        tally.figures[name] = round(growth, 2)


def _training() -> Callable[[], None]:
    """Learn on, in an agent whose replay is soon full, save it and load it."""
    agent = Agent("RobotRoom-v0", replace(SMALL, training=replace(SMALL.training, replay_capacity=200)))
    folder = tempfile.mkdtemp()

    def work() -> None:
        agent.learn(16).save(f"{folder}/agent")
        Agent.load(f"{folder}/agent")

    return work


def _watching() -> Callable[[], None]:
    agent = Agent("RobotRoom-v0", SMALL).learn(16)
    assert agent.env_spec is not None
    session = Session(agent, agent.env_spec, 0)

    def work() -> None:
        for _ in range(5):
            session.step()

    return work


def _stepping() -> Callable[[], None]:
    envs = gym.make_vec("RobotRoomNoisyCamera-v0", 16, "vector_entry_point")
    envs.reset(seed=0)
    actions = envs.action_space.sample()

    def work() -> None:
        for _ in range(20):
            envs.step(actions)

    return work
