"""SIGKILL at random points and at every system call: of saving, learning, recording and sweeps."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import torch

from agent import Agent, auto_checkpoint
from agent.auto_checkpoint import AutoCheckpoint
from benchmarks.engine.jobs import read_record, write_record
from benchmarks.faults.processes import Ended, forked, interrupted, killed_at_call
from benchmarks.faults.samples import has_checkpoint, small_agent
from benchmarks.faults.tally import Tally
from robot_room.app.commands.collect import Collect
from robot_room.app.commands.collect import main as collect
from robot_room.app.datasets.recording import Recorder, record
from robot_room.app.evaluation.policies import Scripted

STEPS = 48
EPISODES = 6


def saves(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Save over and over; the checkpoint that is left must be the last acknowledged one or a later."""
    agent, least = small_agent().learn(24), 24
    with tempfile.TemporaryDirectory() as folder:
        path, noted = Path(folder, "agent"), Path(folder, "noted")
        agent.save(path)

        def trial() -> str:
            while True:
                agent.progress.num_timesteps += 1
                agent.save(path)
                noted.write_text(str(agent.num_timesteps))

        while tally.tried("save killed") < count:
            agent.progress.num_timesteps = least  # each trial goes on from the last one's
            forked(trial, generator.uniform(0.0, 0.06), kill=True)
            least = max(int(noted.read_text() or 0) if noted.exists() else 0, least)
            tally.add("save killed", _lost(lambda least=least: _require_newer(path, least)))


def calls_of_a_save(tally: Tally) -> None:
    """Kill before each system call of one save, from the first to the last."""
    agent = small_agent().learn(24)
    number, alive = tally.counts["system call of a save"], True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent")
        agent.save(path)
        while alive:
            alive = killed_at_call(lambda: agent.save(path), number)
            if alive:
                tally.add("system call of a save", _lost(lambda: _require_newer(path, 0)))
            number += 1


def learning(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Kill learning up to three times, complete it, and compare with learning that was never killed."""
    auto_checkpoint.INTERVAL = 0.05
    whole = small_agent()
    whole.progress.target_timesteps = STEPS
    whole.resume()
    expected = whole.learner.state_dict()

    while tally.tried("learning killed") < count:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "agent")

            def trial(path: Path = path) -> str:
                agent = Agent.load(path) if has_checkpoint(path) else small_agent()
                agent.progress.target_timesteps = STEPS
                with AutoCheckpoint(agent, path) as keep:
                    agent.resume(keep)
                return "done"

            for _ in range(generator.integers(1, 4)):
                forked(trial, generator.uniform(0.05, 1.2), kill=True)
            ended = forked(trial, 900)

            def check(ended: Ended = ended, path: Path = path) -> None:
                assert ended.code == 0, ended
                state = Agent.load(path).learner.state_dict()
                for name, value in expected.model.items():
                    assert torch.equal(value, state.model[name]), f"{name} differs"
                for name, value in expected.replay.items():
                    np.testing.assert_array_equal(value, state.replay[name])

            tally.add("learning killed", _lost(check))


def recording(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Kill or interrupt `collect`; the dataset must load, be whole, and take the rest."""
    env = gym.make("RobotRoom-v0")
    expected = [record(env, Scripted(env, "expert"), seed) for seed in range(EPISODES)]
    while tally.tried("collect killed") < count:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["MINARI_DATASETS_PATH"] = folder

            def trial() -> str:
                collect(Collect("room/a-v0", policy="expert", episodes=EPISODES))
                return "done"

            if generator.random() < 0.5:
                forked(trial, generator.uniform(0.0, 0.4), kill=True)
            else:
                forked(lambda: interrupted(trial, generator.uniform(0.0, 0.4)), 30)

            def check(folder: str = folder) -> None:
                if Path(folder, "room/a-v0").exists():
                    _require_whole(minari.load_dataset("room/a-v0"), expected)
                recorder = Recorder("room/a-v0", env, "expert", append=True)
                for seed in range(recorder.episodes, EPISODES):
                    recorder.add(record(env, Scripted(env, "expert"), seed))
                recorder.publish()
                dataset = minari.load_dataset("room/a-v0")
                assert dataset.total_episodes == EPISODES
                _require_whole(dataset, expected)

            tally.add("collect killed", _lost(check))


def sweeps(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Kill the writing of a sweep's record: it must be the old one or the new one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.json")
        write_record(path, {"settings": {}, "curve": [0] * 1000})

        def trial() -> str:
            number = 0
            while True:
                number += 1
                write_record(path, {"settings": {}, "curve": [number] * 1000})

        while tally.tried("record killed") < count:
            forked(trial, generator.uniform(0.0, 0.02), kill=True)
            tally.add("record killed", _lost(lambda: _require_one_number(path)))


def _require_one_number(path: Path) -> None:
    assert len(set(read_record(path)["curve"])) == 1


def _require_newer(path: Path, least: int) -> None:
    found = Agent.load(path).num_timesteps
    assert found >= least, f"{found} steps, but {least} had been saved"


def _require_whole(dataset: minari.MinariDataset, expected: list) -> None:
    for episode, wanted in zip(dataset.iterate_episodes(), expected, strict=False):
        np.testing.assert_array_equal(episode.observations, wanted.observations)
        np.testing.assert_array_equal(episode.actions, wanted.actions)
        np.testing.assert_array_equal(episode.rewards, wanted.rewards)


def _lost(check: Callable[[], None]) -> str:
    """What a check found; empty if all is there."""
    try:
        check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return ""
