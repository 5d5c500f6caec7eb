"""Saving to a disk that fills up at every point of a save."""

import resource
import signal
import tempfile
import warnings
from pathlib import Path

import numpy as np

from agent import Agent, auto_checkpoint
from agent.auto_checkpoint import AutoCheckpoint
from benchmarks.faults.processes import forked
from benchmarks.faults.samples import SMALL, small_agent
from benchmarks.faults.tally import Tally


def files(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Learn while no file may grow beyond a limit, from none at all to a whole checkpoint's largest.

    The limit is the operating system's (RLIMIT_FSIZE), and hits as a full disk does: a write fails
    halfway. Learning must end, and the checkpoint that is left must load.
    """
    auto_checkpoint.INTERVAL = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent")
        small_agent().save(path)
        largest = max(file.stat().st_size for file in path.iterdir())
        for _ in range(tally.trials, count):
            limit = int(generator.integers(0, 4 * largest))

            def trial(limit: int = limit) -> str:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                agent = Agent.load(path)
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    keep = AutoCheckpoint(agent, path)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                    agent.learn(SMALL.training.num_envs * 2, keep)
                assert agent.num_timesteps > 0
                return "warned" if told else "saved"

            ended = forked(trial, 60)
            outcome = ended.said if ended.code == 0 else "failed"
            try:
                Agent.load(path)
                bad = "" if ended.code == 0 else ended.said
            except ValueError as error:
                bad = str(error)
            tally.add(f"disk full: {outcome}", bad)
