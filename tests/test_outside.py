"""Algorithms and rooms from outside take part in the comparison, or are refused before it begins."""

import dataclasses
import json
import os
import re
import sys
import time
from contextlib import closing

import gymnasium as gym
import numpy as np
import outside
import pytest

import robot_room  # noqa: F401
from benchmarks.comparison import (
    algorithms,
    command,
    dreamer,
    evaluation_curve,
    job,
    sheeprl_dreamer,
    sweep,
)
from benchmarks.comparison.budgets import Budget
from benchmarks.comparison.scores import Scores
from benchmarks.engine import elsewhere
from benchmarks.engine.peers import ROOT

pytestmark = pytest.mark.slow
V0 = "RobotRoom-v0"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    here = str(ROOT / "tests")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("package.algorithm:make", "algorithm"),
        ("package.algorithm:other", "algorithm.other"),
        ("mine=package.algorithm:make", "mine"),
    ],
)
def test_a_name_is_given_or_that_of_the_module(given, name):
    target = given.rpartition("=")[2]
    assert algorithms.parse(given) == (name, target)


@pytest.mark.parametrize("given", ["", "ppo2", "a:", ":b", "a:b:c", "a b:c", "../x=a:b", "=a:b"])
def test_what_is_no_module_and_function_is_named(given):
    with pytest.raises(ValueError, match="algorithm: got"):
        algorithms.parse(given)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere:make", "ModuleNotFoundError"),
        ("outside:nothing", "AttributeError"),
        ("outside:number", "of type int, allowed: a function"),
    ],
)
def test_what_cannot_be_imported_is_named(target, message):
    with pytest.raises(ValueError, match=f"algorithm: got '{target}'.*{message}"):
        algorithms.load(target)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wrong_shape", r"actions of shape \(3, 3\) for 3 frames, allowed: shape \(3, 2\)"),
        ("wrong_nan", r"the action \[nan nan\]"),
        ("wrong_bounds", r"the action \[2. 2.\]"),
        ("wrong_raises", "predict fails .ZeroDivisionError"),
        ("no_policy", "a policy without predict"),
        ("no_pair", r"<outside.Straight .*allowed: .policy, environment steps."),
        ("late", "100 environment steps at first"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_a_sweep(function, message, tmp_path):
    config = sweep.Sweep((f"outside:{function}",), (V0,), 1, 1, out=tmp_path)
    with pytest.raises(ValueError, match=f"algorithm: got {message}"):
        sweep.run(config)
    assert not list(tmp_path.glob("*/*"))


def test_training_that_makes_no_steps_is_no_endless_loop():
    with pytest.raises(ValueError, match="0 environment steps after 0"):
        list(algorithms.train(outside.stuck, gym.spec(V0), 0))


def test_names_must_tell_algorithms_apart():
    with pytest.raises(ValueError, match="got 'x' twice"):
        sweep.Sweep(("x=outside:make", "x=outside:learning"))
    with pytest.raises(ValueError, match="got ppo=outside:make"):
        sweep.Sweep(("ppo=outside:make",))


def test_seconds_are_those_between_two_items_or_its_own():
    def slow(env, seed):
        yield outside.Straight(), 0
        for steps in (1, 2):
            time.sleep(0.05)
            yield outside.Straight(), steps

    seconds = []
    for snapshot in algorithms.train(slow, gym.spec(V0), 0):
        seconds.append(snapshot.seconds)
        time.sleep(0.3)  # an evaluation, which does not count
    assert 0.05 <= seconds[1] < seconds[2] and 0.1 <= seconds[2] < 0.4
    own = algorithms.train(outside.in_seconds, gym.spec(V0), 0)
    assert [next(own).seconds for _ in range(3)] == [5, 5, 10]


def test_a_job_ends_with_its_time_or_its_training(monkeypatch):
    monkeypatch.setattr(evaluation_curve, "EPISODES", 2)
    budget = Budget(0.95, 100, 50)
    record = job.run_job("x", V0, 0, budget, False, "outside:in_seconds")
    assert record["curve"][-1]["seconds"] == 50 and record["curve"][-1]["env_steps"] == 100
    record = job.run_job("x", V0, 0, budget, False, "outside:learning")
    assert [point["env_steps"] for point in record["curve"]] == [120]
    record = job.run_job("x", V0, 0, budget, False, "outside:make")
    assert [point["env_steps"] for point in record["curve"]] == [0]
    with pytest.raises(ValueError, match="algorithm: got nothing"):
        job.run_job("x", V0, 0, budget, False, "outside:ends")


def test_a_room_is_evaluated_as_its_budget_says(monkeypatch):
    monkeypatch.setattr(evaluation_curve, "EPISODES", 2)
    seen, trained, evaluate = [], [], evaluation_curve.evaluate

    def evaluated(policy, env, *rest):
        seen.append(env)
        return evaluate(policy, env, *rest)

    monkeypatch.setattr(evaluation_curve, "evaluate", evaluated)
    monkeypatch.setattr(algorithms, "load", lambda target: lambda env, seed: trains(env))

    def trains(env):
        trained.append(env)
        yield outside.Straight(), 0

    maze = "RobotRoomMaze-v0"
    budget = Budget(0.8, 10, 1, {"layout_seed": 1})
    job.run_job("x", maze, 0, budget, False, "outside:make")
    assert trained[0].kwargs["layout_seed"] == 0 and seen[0].kwargs["layout_seed"] == 1
    assert job.settings("ppo", maze, budget)["evaluated_with"] == {"layout_seed": 1}
    assert "evaluated_with" not in job.settings("ppo", V0, Budget(0.9, 1, 1))


def test_results_depend_on_the_code_unless_it_names_its_settings(tmp_path, monkeypatch):
    assert algorithms.describe("outside:learning") == "none"
    assert algorithms.describe("outside:make").startswith("code ")
    for number in range(2):
        (tmp_path / f"version{number}.py").write_text(f"def make(env, seed):\n    yield {number}, 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert algorithms.describe("version0:make") != algorithms.describe("version1:make")


def test_the_command_runs_an_algorithm_and_a_room_from_outside(tmp_path, monkeypatch, capsys):
    for module in (evaluation_curve, job, sweep):
        monkeypatch.setattr(module, "EPISODES", 10)
    monkeypatch.setattr(sweep, "Processes", lambda workers: Here())
    room = "outside:Narrow-v0"
    out = tmp_path / "scores"
    config = command.Benchmark(algorithm=("straight=outside:make",), env_id=(room,), seeds=2, out=out)
    command.main(config)
    names = sorted(path.name for path in out.glob("outside.Narrow-v0/*.json"))
    assert names == [
        "oracle-seed0.json",
        "random-seed0.json",
        "straight-seed0.json",
        "straight-seed1.json",
    ]
    scores = Scores(out)
    assert scores.learners == ["straight"] and scores.env_ids == [room]
    rates = scores.at("straight", room, "env_steps", 0, "success_rate")
    assert rates == [1.0, 1.0]
    assert "straight" in (tmp_path / "scores.html").read_text()
    assert "| steps to success of | straight |" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    command.main(config)
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}


class Here:
    """Runs jobs in this process."""

    def run(self, jobs):
        for key, (function, arguments) in jobs.items():
            yield key, function(*arguments)


def test_a_room_that_cannot_be_scored_is_refused():
    gym.register("Counted-v0", "robot_room.env:RobotRoomEnv", kwargs={"action": "discrete"})
    with pytest.raises(ValueError, match="env_ids: got 'Counted-v0', whose optimal numbers"):
        sweep.check_room("Counted-v0")


def test_an_algorithm_elsewhere_answers_as_it_does_here(monkeypatch, capfd):
    monkeypatch.setattr(elsewhere, "peers_python", lambda name, requirements: sys.executable)
    make = elsewhere.Elsewhere("test", (), "outside:printing", "")
    with closing(algorithms.train(make, gym.spec(V0), 0)) as training:
        first = next(training)
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 255, (4, 64, 64, 3), np.uint8)
        start = np.ones(4, np.bool_)
        actions, state = first.policy.predict(frames, None, start, True)
        mine, _ = outside.Straight().predict(frames, None, start)
        np.testing.assert_array_equal(actions, mine)
        again, _ = first.policy.predict(frames, state, ~start, True)
        np.testing.assert_array_equal(again, mine)
        assert next(training).env_steps == 100
        with pytest.raises(RuntimeError, match="it broke"):
            next(training)
    captured = capfd.readouterr()
    assert captured.out == "" and "noise on standard output" in captured.err


def test_a_process_elsewhere_ends_with_its_training(monkeypatch):
    monkeypatch.setattr(elsewhere, "peers_python", lambda name, requirements: sys.executable)
    make = elsewhere.Elsewhere("test", (), "outside:learning", "")
    training = algorithms.train(make, gym.spec(V0), 0)
    process = next(training).policy._process
    training.close()
    assert process.poll() is not None
    dead = elsewhere.Elsewhere("test", (), "nowhere:make", "")
    with pytest.raises(RuntimeError, match="No module named 'nowhere'"):
        next(algorithms.train(dead, gym.spec(V0), 0))
    training = algorithms.train(make, gym.spec(V0), 0)
    policy = next(training).policy
    os.kill(policy._process.pid, 9)
    with pytest.raises(RuntimeError, match="ended with exit code -9"):
        policy.predict(np.zeros((1, 64, 64, 3), np.uint8))


def test_dreamer_has_the_versions_that_this_project_pins():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    own = [pin for pin in dreamer.REQUIREMENTS if not pin.startswith("sheeprl")]
    assert len(own) == 3 and set(own) <= set(pins)
    json.dumps(dreamer.make.settings)


def test_dreamers_setting_is_a_point_of_what_is_tuned():
    fields = {field.name for field in dataclasses.fields(sheeprl_dreamer.Setting)}
    make = dreamer.make
    assert set(make.arguments) == set(make.space) <= fields
    for name, of in make.space.items():
        assert of._contains(of.to_internal_repr(make.arguments[name])), name
        assert f"{name}={make.arguments[name]}" in make.settings


def examples():
    """The Python blocks of the documentation, by the heading above them."""
    text = (ROOT / "docs" / "own_algorithm.md").read_text()
    for part in re.split(r"^#+ ", text, flags=re.M):
        blocks = re.findall(r"```python\n(.*?)```", part, re.S)
        if blocks:
            yield part.splitlines()[0], blocks


def test_the_examples_of_the_documentation_are_short_and_run(tmp_path, monkeypatch):
    found = dict(examples())
    assert list(found) == [
        "A stable-baselines3 model",
        "A policy of your own",
        "Another world-model library",
    ]
    lines = [
        len([line for line in code.splitlines() if line.strip()]) for b in found.values() for code in b
    ]
    assert max(lines) <= 20
    monkeypatch.setattr(elsewhere, "peers_python", lambda name, requirements: sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    package = tmp_path / "my_package"
    package.mkdir()
    (tmp_path / "some_library.py").write_text(LIBRARY)
    (package / "there.py").write_text(found["Another world-model library"][1])
    for blocks in found.values():
        module = {}
        exec(blocks[0], module)
        with closing(algorithms.train(module["make"], gym.spec(V0), 0)) as training:
            policy = next(training).policy
            result = sweep.evaluate(policy, V0, 3, 5000)
            assert len(result.steps) == 3
            later = next(training, None)
            assert (later is None) == ("Repeat" in blocks[0]) or later.env_steps in (100, 1024)


LIBRARY = """
import numpy as np

class WorldModel:
    def __init__(self, env, seed):
        self.space = env.action_space

    def act(self, observation, state, reset, explore):
        assert state is None or (state == 7).all()
        return np.stack([self.space.sample() for _ in observation]), np.full(len(observation), 7)

    def train(self, steps):
        pass
"""
