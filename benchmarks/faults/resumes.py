"""Whole commands, killed or interrupted anywhere and gone on with, against those that never stopped.

A trial is one kind of run. Its command is killed (SIGKILL) or interrupted (Ctrl-C) one to three times,
at random times, and goes on in a new process, on a copy of its folder, until it is through. What it
leaves must be equal, to the last bit, to what the same command leaves when nothing stops it, but for
times and paths.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import minari
import numpy as np
from safetensors.torch import load_file

from agent import Agent
from agent.metrics import OF_TIME
from agent.restoration.autoencoder import AutoencoderConfig
from agent.restoration.denoiser import DenoiserConfig
from agent.restoration.training import AutoencoderTrainingConfig, DenoiserTrainingConfig
from agent.world_model import WorldModelConfig
from benchmarks.comparison import evaluation_curve, job
from benchmarks.comparison.budgets import Budget
from benchmarks.engine.jobs import read_record, run_jobs
from benchmarks.faults.processes import Ended, forked, interrupted
from benchmarks.faults.samples import SMALL, has_checkpoint, small_agent
from benchmarks.faults.tally import Tally
from robot_room.app.commands import collect, train, train_restorer
from robot_room.app.datasets.recording import Recorder
from robot_room.app.runs import report

STEPS = 48
EPISODES = 6
DATASET = "room/whole-v0"
LONGEST = 900.0  # s
OF_MACHINE = ("decision_ms", "seconds", "peak_memory")
"""Numbers whose names have one of these in them may differ."""


class Kind(NamedTuple):
    """A command that can be gone on with."""

    go: Callable[[Path], None]
    """Begins it in a folder, or goes on with what is there."""
    left: Callable[[Path], dict[str, Any]]
    """What it leaves, by name."""
    before: Callable[[Path], None] | None = None
    """Makes what it needs in the folder."""


# ---- what is run -----------------------------------------------------------------------------------


def _train(folder: Path, **settings: Any) -> None:
    """Train anew, or resume what has been begun."""
    run = folder / "run"
    if has_checkpoint(run / "agent"):
        given = {name: settings[name] for name in ("dataset", "eval_freq") if name in settings}
        train.main(train.Train(resume=run, episodes=4, **given))
        return
    shutil.rmtree(run, ignore_errors=True)  # it was killed before its first checkpoint
    train.main(train.Train(env_steps=STEPS, out=run, episodes=4, seed=3, **settings))


def _agent(folder: Path) -> None:
    _train(folder, agent=SMALL)


def _dataset(folder: Path) -> None:
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    collect.main(collect.Collect(DATASET, policy="mixed", episodes=EPISODES))


def _offline(folder: Path) -> None:
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    _train(folder, agent=SMALL, dataset=DATASET)


def _autoencoder(folder: Path) -> None:
    settings = AutoencoderConfig(width=8), AutoencoderTrainingConfig(updates=60, batch_size=4)
    config = train_restorer.TrainRestorer(folder / "run", calibration_episodes=40, false_alarms=0.05)
    train_restorer.main(replace(config, autoencoder=settings[0], autoencoder_training=settings[1]))


def _diffusion(folder: Path) -> None:
    settings = DenoiserConfig(width=8, steps=20), DenoiserTrainingConfig(updates=60, batch_size=4)
    config = train_restorer.TrainRestorer(folder / "run", calibration_episodes=40, false_alarms=0.05)
    config = replace(config, kind="diffusion", denoiser=settings[0], training=settings[1])
    train_restorer.main(config)


def _collect(folder: Path) -> None:
    """Record episodes, or those that are missing."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    path = folder / DATASET
    begun = path.exists() or list(path.parent.glob(f".{path.name}*"))
    config = collect.Collect(DATASET, policy="noisy", episodes=EPISODES)
    if begun:
        there = Recorder(DATASET, gym.make("RobotRoom-v0"), "noisy", append=True).episodes
        if there == EPISODES:
            return
        config = replace(config, append=True, episodes=EPISODES - there)
    collect.main(config)


def _sweep(folder: Path) -> None:
    """A job of a sweep, which has no record and is run from its beginning, or has one."""
    evaluation_curve.EPISODES = job.EPISODES = 10
    jobs = {folder / "job.json": ("world-model", "RobotRoom-v0", 3, Budget(0.99, 48, 1.0), True, None)}
    run_jobs(job.run_job, jobs, {"protocol": 0})


# ---- what is left ----------------------------------------------------------------------------------


def _run(folder: Path) -> dict[str, Any]:
    """Parameters, optimiser, replay, generators, metrics and results of a run, and its restorer."""
    run = folder / "run"
    state = Agent.load(run / "agent").learner.state_dict()
    left: dict[str, Any] = {**state.model, **state.optimizer, **state.replay, **state.generators}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    left["metrics"] = [{k: v for k, v in line.items() if k not in OF_TIME} for line in lines]
    for name in ("summary.json", "diagnostics.json"):
        left[name] = _untimed(json.loads((run / name).read_text()))
    for path in sorted((run / "restorer").rglob("*.safetensors")):
        left |= {f"restorer {name}": array for name, array in load_file(path).items()}
    for path in sorted((run / "restorer").rglob("config.json")):
        left[f"restorer {path.name}"] = json.loads(path.read_text())
    return left


def _episodes(folder: Path) -> dict[str, Any]:
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    episodes = minari.load_dataset(DATASET).iterate_episodes()
    return {
        f"{name} {number}": np.asarray(getattr(episode, name))
        for number, episode in enumerate(episodes)
        for name in ("observations", "actions", "rewards", "terminations", "truncations")
    }


def _record(folder: Path) -> dict[str, Any]:
    record = read_record(folder / "job.json")
    return {"curve": _untimed(record["curve"]), "clip": record["clip"]}


def _untimed(value: Any) -> Any:
    """Without the numbers that are of time."""
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if not any(t in k for t in OF_MACHINE)}
    return [_untimed(each) for each in value] if isinstance(value, list) else value


RECURRENT = replace(SMALL, world_model=WorldModelConfig("recurrent", hidden_dim=16, num_keypoints=4))
KINDS = {
    "train": Kind(_agent, _run),
    "train, evaluated on the way": Kind(partial(_train, agent=SMALL, eval_freq=16), _run),
    "train, noisy camera, recurrent posterior": Kind(
        partial(_train, agent=RECURRENT, env_id="RobotRoomNoisyCamera-v0"), _run
    ),
    "train, mazes with distractors": Kind(
        partial(_train, agent=SMALL, env_id="RobotRoomMaze-v0", env_kwargs='{"distractors": 2}'), _run
    ),
    "train, varied rooms": Kind(partial(_train, agent=SMALL, env_id="RobotRoomVaried-v0"), _run),
    "train, from a dataset": Kind(_offline, _run, _dataset),
    "train-restorer, autoencoder": Kind(_autoencoder, _run, _agent),
    "train-restorer, diffusion": Kind(_diffusion, _run, _agent),
    "collect": Kind(_collect, _episodes),
    "job of a sweep": Kind(_sweep, _record),
    "train, every room": Kind(partial(_train, preset="every-room", env_id="RobotRoomDoor-v0"), _run),
}


# ---- trials ----------------------------------------------------------------------------------------


def commands(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Stop each kind of run `count` times."""
    report.record = lambda *_: None  # the film takes longer than all the rest
    small_agent()  # what torch loads late is loaded before any fork
    for name, kind in KINDS.items():
        outcome = f"resumed: {name}"
        if tally.tried(outcome) >= count:
            continue
        with tempfile.TemporaryDirectory() as whole:
            begun, unbroken = Path(whole, "begun"), Path(whole, "unbroken")
            begun.mkdir()
            if kind.before is not None:
                _require_done(forked(partial(_said, kind.before, begun), LONGEST))
            shutil.copytree(begun, unbroken)
            start = time.monotonic()
            _require_done(forked(partial(_said, kind.go, unbroken), LONGEST))
            seconds = time.monotonic() - start
            expected = kind.left(unbroken)
            while tally.tried(outcome) < count:
                with tempfile.TemporaryDirectory() as broken:
                    bad = _stopped(kind, begun, Path(broken), seconds, expected, generator)
                tally.add(outcome, bad and f"{name}: {bad}")


def _stopped(
    kind: Kind,
    begun: Path,
    folder: Path,
    seconds: float,
    expected: dict[str, Any],
    generator: np.random.Generator,
) -> str:
    """Stop a run one to three times; what is wrong with what it leaves, or nothing."""
    at = shutil.copytree(begun, folder / "0")
    for number in range(1, generator.integers(2, 5)):
        after = generator.uniform(0.0, seconds)
        if generator.random() < 0.5:
            forked(partial(_said, kind.go, at), after)
        else:
            forked(partial(interrupted, partial(_said, kind.go, at), after), LONGEST)
        at = shutil.copytree(at, folder / str(number))
    ended = forked(partial(_said, kind.go, at), LONGEST)
    if ended.code != 0:
        return ended.said[-500:]
    return _difference(expected, kind.left(at))


def _said(go: Callable[[Path], None], folder: Path) -> str:
    _quiet()
    go(folder)
    return "done"


def _quiet() -> None:
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)


def _require_done(ended: Ended) -> None:
    if ended.code != 0:
        raise RuntimeError(f"a run that nothing stopped failed: {ended.said}")


def _difference(expected: dict[str, Any], got: dict[str, Any]) -> str:
    """The first thing that differs; empty if nothing does."""
    if expected.keys() != got.keys():
        return f"only one has {sorted(expected.keys() ^ got.keys())[:5]}"
    for name, value in expected.items():
        if isinstance(value, dict | list | str):
            same = value == got[name] or json.dumps(value) == json.dumps(got[name])  # NaN, too
        else:
            same = np.array_equal(np.asarray(value), np.asarray(got[name]), equal_nan=True)
        if not same:
            return f"{name} differs"
    return ""
