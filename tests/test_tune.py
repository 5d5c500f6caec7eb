"""Tuning: what is searched, what is stored, and that machines can share it."""

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from agent import AgentConfig
from benchmarks.comparison import baselines, dreamer, tune
from benchmarks.comparison.baselines import SETTINGS
from benchmarks.comparison.budgets import OURS
from benchmarks.engine import elsewhere
from benchmarks.engine.peers import ROOT

pytestmark = pytest.mark.slow


def config(tmp_path, **changes):
    usual = {
        "algorithm": "ppo",
        "trials": 0,
        "storage": f"sqlite:///{tmp_path}/tune.db",
        "out": tmp_path / "out",
    }
    return tune.Tune(**usual | changes)


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_a_setting_that_was_tried_by_hand_is_a_point_of_the_space(algorithm):
    for setting in SETTINGS[algorithm].values():
        params = tune.params_by_hand(algorithm, setting)
        ranges = tune.space(algorithm)
        assert set(params) == set(ranges)
        for name, of in ranges.items():
            assert of._contains(of.to_internal_repr(params[name])), (name, params[name])
        again = tune.baseline_setting(algorithm, params)
        said = setting.arguments
        for name, value in said.items():
            assert again.arguments[name] == value, name
        assert again.longest_episode == setting.longest_episode
        assert again.exploration_std == setting.exploration_std


def test_the_space_of_ours_holds_the_configuration_of_today():
    usual = AgentConfig()
    values = {**vars_of(usual.training), "horizon": usual.planner.horizon}
    values["discount"] = usual.planner.discount
    params = {name: values[name] for name in tune.space(OURS)}
    assert tune.our_config(params) == usual
    for name, of in tune.space(OURS).items():
        assert of._contains(of.to_internal_repr(params[name])), name


def vars_of(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_a_new_study_begins_with_what_was_tried_by_hand(tmp_path, capsys):
    tune.main(config(tmp_path, figure=tmp_path / "figure.png"))
    said = capsys.readouterr().out
    assert "ppo-RobotRoom-v0: 9 trials" in said and "importance of gamma" in said
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    study = tune.open_study(config(tmp_path))
    files = [json.loads(p.read_text()) for p in (tune.BY_HAND / "RobotRoom-v0").glob("ppo-*.json")]
    means = [np.mean([p["success_rate"] for p in file["curve"]][1:]) for file in files]
    assert sorted(trial.value for trial in study.trials) == pytest.approx(sorted(means))
    # Of another length they are not comparable.
    assert tune.open_study(config(tmp_path, seconds=5, storage="sqlite:///:memory:")).trials == []


def test_machines_that_share_a_database_share_a_study_and_prune(tmp_path, monkeypatch):
    success = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.8])
    rates = {}

    def evaluate(policy, env_id):
        if policy not in rates:
            rates[policy] = next(success)
        return {"success_rate": rates[policy]}

    def train(algorithm, setting, env_id, seed):
        assert seed >= 100
        policy = object()
        steps = 0
        while True:
            until = tune.time.process_time() + 0.011
            while tune.time.process_time() < until:
                pass
            steps += 8
            yield baselines.Snapshot(policy, steps, 0.0)

    monkeypatch.setattr(tune, "evaluate_both", evaluate)
    monkeypatch.setattr(baselines, "train", train)
    quick = {"seconds": 0.04, "evaluations": 4}
    tune.main(config(tmp_path, trials=3, **quick))
    tune.main(config(tmp_path, trials=7, **quick))  # another machine: four are missing
    study = tune.open_study(config(tmp_path, **quick))
    states = [trial.state.name for trial in study.trials]
    assert states[:6] == ["COMPLETE"] * 5 + ["PRUNED"] and len(states) == 7
    assert len(study.trials[5].intermediate_values) < 4
    # What is in the file begins a study on a machine that has no more than that.
    elsewhere = config(tmp_path, storage=f"sqlite:///{tmp_path}/new.db", **quick)
    again = tune.open_study(elsewhere)
    assert [(t.state, t.params, t.intermediate_values) for t in again.trials] == [
        (t.state, t.params, t.intermediate_values) for t in study.trials
    ]
    with pytest.raises(ValueError, match="settings"):
        tune.open_study(config(tmp_path, seconds=7, evaluations=4))


def wait_for_ever(trial, config):
    tune.suggested(trial, tune.space(config.algorithm))
    time.sleep(3600)


def machine(config):
    tune.HEARTBEAT, tune.run_trial = 1, wait_for_ever
    tune.main(config)


def test_a_trial_whose_machine_is_lost_is_tried_again(tmp_path, monkeypatch):
    shared = config(tmp_path, seconds=5, trials=2)
    monkeypatch.setattr(tune, "HEARTBEAT", 1)
    study = tune.open_study(shared)
    process = multiprocessing.get_context("spawn").Process(target=machine, args=(shared,))
    process.start()
    while not (study.trials and set(study.trials[0].params) == set(tune.space("ppo"))):
        assert process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(3.5)  # more than two heartbeats, which the database counts in whole seconds

    def run(trial, config):
        tune.suggested(trial, tune.space(config.algorithm))
        return 0.5

    monkeypatch.setattr(tune, "run_trial", run)
    tune.main(shared)
    lost, *later = study.trials
    assert lost.state.name == "FAIL" and [trial.state.name for trial in later] == ["COMPLETE"] * 2
    assert lost.params in [trial.params for trial in later]


def test_a_trial_of_ours_trains_with_what_was_suggested(tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "evaluate_both", lambda policy, env_id: {"success_rate": 0.5})
    ours = config(tmp_path, algorithm=OURS, env_steps=104, evaluations=1, trials=1)
    tune.main(ours)
    (trial,) = tune.open_study(ours).trials
    assert set(trial.params) == set(tune.space(OURS)) and trial.value == 0.5
    stored = json.loads((ours.out / "world-model-RobotRoom-v0.json").read_text())
    assert stored["trials"][0]["env_steps"] == 104


def test_an_algorithm_from_outside_is_tuned_beginning_with_its_own_values(tmp_path, monkeypatch):
    here = str(ROOT / "tests")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.setattr(elsewhere, "peers_python", lambda name, requirements: sys.executable)
    monkeypatch.setattr(tune, "evaluate_both", lambda policy, env_id: {"success_rate": 0.5})
    ranges = {"tries": CategoricalDistribution([2, 3])}
    make = elsewhere.Elsewhere("test", (), "outside:in_trials", "", {"tries": 3}, ranges)
    monkeypatch.setattr(dreamer, "make", make)
    given = "other=benchmarks.comparison.dreamer:make"
    study = config(tmp_path, algorithm=given, seconds=0.1, evaluations=2, trials=2)
    tune.main(study)
    stored = json.loads((study.out / "other-RobotRoom-v0.json").read_text())
    first, second = stored["trials"]
    assert first["params"] == {"tries": 3} and first["rates"] == [0.5, 0.5]
    for trial in (first, second):
        assert trial["env_steps"] % (100 * trial["params"]["tries"]) == 0
        assert trial["seconds"] >= 0.1
    tune.main(config(tmp_path, algorithm=given, seconds=0.1, evaluations=2, trials=2))
    assert len(tune.open_study(study).trials) == 2
    for space in ({}, {"tries": [2, 3]}, None):
        monkeypatch.setattr(dreamer, "make", dataclasses.replace(make, space=space))
        with pytest.raises(ValueError, match=r"algorithm: got 'other=.*, allowed: world-model, "):
            config(tmp_path, algorithm=given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "dqn"}, "algorithm: got 'dqn', allowed"),
        ({"seconds": 0}, "seconds: got 0"),
        ({"evaluations": 0}, "evaluations: got 0"),
        ({"trials": -1}, "trials: got -1"),
        ({"seed": 3}, "seed: got 3, allowed: 100 or more"),
        ({"env_id": "Nowhere-v1"}, "env: got 'Nowhere-v1'"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes)


@pytest.mark.parametrize("url", ["nothing", "nothing://x", "sqlite:////dev/null/x.db", "redis://x"])
def test_a_database_that_is_not_there_is_named(tmp_path, url):
    with pytest.raises(ValueError, match=f"storage: got '{url}'"):
        tune.open_study(config(tmp_path, storage=url))


def test_the_stored_studies_are_readable():
    for path in tune.BY_HAND.parent.glob("tuning*/*.json"):
        assert json.loads(path.read_text())["trials"]
