"""What learning tells, where, and when: tables, TensorBoard, CSV, JSON lines, evaluations."""

import csv
import importlib.machinery
import json
import sys
import types
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from agent import Agent, AgentConfig
from agent.collection import FinishedEpisode
from agent.eval_callback import LONGEST, SEED, EvalCallback
from agent.learner import Progress, TrainingConfig
from agent.logs import Csv, table
from agent.metrics import OF_TIME, next_run
from agent.planning import CEM
from agent.world_model import WorldModelConfig

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=16),
    CEM(candidates=8, elites=2, iterations=1),
    TrainingConfig(num_envs=4, random_steps=8, updates_per_step=0.5, batch_size=4),
)
ENV = "RobotRoom-v0"


def made(**settings):
    """An agent in four rooms whose episodes end after three steps."""
    mode = {"autoreset_mode": AutoresetMode.DISABLED}
    env = gym.make_vec(ENV, 4, "sync", max_episode_steps=3, vector_kwargs=mode)
    return Agent(env, SMALL, **{"seed": 1, **settings})


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    agent = made()
    agent.learn(32, tensorboard_log=folder, progress_bar=True)
    return agent, folder / "Agent_1"


def test_everything_is_told_under_the_names_of_stable_baselines3(learned):
    agent, folder = learned
    told = records(folder)
    assert [each["time/total_timesteps"] for each in told] == list(range(4, 33, 4))
    last = told[-1]
    assert last["train/n_updates"] == 16 and last["train/loss"] == agent.progress.metrics["loss"]
    assert last["rollout/ep_rew_mean"] == pytest.approx(np.mean(agent.progress.returns))
    assert last["rollout/ep_len_mean"] == pytest.approx(np.mean(agent.progress.lengths))
    assert set(OF_TIME) < set(last) and last["time/fps"] > 0
    assert last["train/learning_rate"] == pytest.approx(agent.learner.optimizer.param_groups[0]["lr"])


def test_the_rollout_is_that_of_the_last_hundred_episodes(learned):
    agent, _ = learned
    ended = [episode for episode in agent.replay.episodes if len(episode.actions) == 3]
    assert len(ended) == 8 and set(agent.progress.lengths) == {3}
    assert sorted(agent.progress.returns) == pytest.approx(sorted(sum(e.rewards) for e in ended))
    progress = Progress(returns=list(range(200)))
    progress.count(4, [FinishedEpisode(3, 200.0, True)])
    assert progress.returns == list(range(101, 201)) and progress.outcomes == [True]


def test_there_is_one_file_of_events_with_settings_and_all_numbers(learned):
    agent, folder = learned
    assert len(list(folder.glob("*tfevents*"))) == 1
    events = EventAccumulator(str(folder)).Reload()
    for tag in records(folder)[-1]:
        assert events.Scalars(tag)[-1].step == 32
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([r["train/loss"] for r in records(folder) if "train/loss" in r])
    data = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(data).session_start_info.hparams
    assert settings["planner.candidates"].number_value == 8 and settings["seed"].number_value == 1
    assert settings["env_id"].string_value == agent.env_id


def test_the_csv_has_the_same_numbers(learned):
    _, folder = learned
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, records(folder), strict=True):
        assert {name: float(value) for name, value in row.items() if value} == pytest.approx(record)


def test_new_names_are_new_columns_of_a_csv(tmp_path):
    log = Csv(tmp_path / "a.csv", 0)
    log.write(1, {"a": 1})
    log.write(2, {"b": 2.5, "a": 0})
    log.close()
    log = Csv(tmp_path / "a.csv", 1)
    log.write(3, {"b": 3})
    log.close()
    assert (tmp_path / "a.csv").read_text().split() == ["a,b", "1,", ",3"]


def test_an_agent_goes_on_in_its_run_and_another_begins_the_next(learned, tmp_path):
    agent = made()
    seen = []

    def look(progress):  # what is written is on the disk at once
        lines = records(tmp_path / "Agent_1")
        seen.append(len(lines) == progress.num_timesteps // 4)

    agent.learn(16, look, tensorboard_log=tmp_path)
    agent.learn(16, tensorboard_log=tmp_path)
    assert all(seen) and len(records(tmp_path / "Agent_1")) == 8
    assert len(list((tmp_path / "Agent_1").glob("*tfevents*"))) == 1
    made().learn(8, tensorboard_log=tmp_path)
    assert len(records(tmp_path / "Agent_2")) == 2
    (tmp_path / "Agent_x").mkdir()
    assert next_run(tmp_path, "Agent", False).name == "Agent_3"
    assert next_run(tmp_path, "mine", True).name == "mine_1"


def test_a_table_is_printed_as_often_as_asked(capsys):
    made().learn(32, verbose=1, log_interval=4)
    out = capsys.readouterr().out
    assert out.count("total_timesteps") == 2 and "| time/" in out and "|    loss" in out
    made().learn(16)
    assert capsys.readouterr().out == ""


def test_a_table_has_a_group_for_each_kind():
    lines = table({"b/y": 2, "a/x": 0.12345}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[1:-1]] == ["a/", "x", "b/", "y"]
    assert "0.123" in lines[2] and len({len(line) for line in lines}) == 1


def test_learning_does_not_depend_on_who_is_told(learned, tmp_path, capsys):
    agent, _ = learned
    told = made()
    evaluation = EvalCallback(told, eval_freq=8, n_eval_episodes=2)
    told.learn(32, evaluation, verbose=1, tensorboard_log=str(tmp_path))
    for name, value in agent.world_model.state_dict().items():
        assert torch.equal(value, told.world_model.state_dict()[name]), name


def test_an_evaluation_is_that_of_the_agent_alone(tmp_path):
    agent = made()
    evaluation = EvalCallback(agent, eval_freq=16, n_eval_episodes=3)
    agent.learn(32, evaluation, tensorboard_log=tmp_path)
    told = [r for r in records(tmp_path / "Agent_1") if "eval/mean_reward" in r]
    assert [r["time/total_timesteps"] for r in told] == [16, 32]
    returns, lengths, successes = [], [], []
    for i in range(3):
        room, state, total = gym.make(ENV, max_episode_steps=3), None, 0.0
        frame, _ = room.reset(seed=SEED + i)
        for length in range(1, LONGEST):
            action, state = agent.predict(frame, state)
            frame, reward, terminated, truncated, info = room.step(action)
            total += float(reward)
            if terminated or truncated:
                lengths.append(length)
                break
        returns.append(total)
        successes.append(info["is_success"])
    assert told[-1]["eval/mean_reward"] == pytest.approx(np.mean(returns), rel=1e-4)
    assert told[-1]["eval/mean_ep_length"] == np.mean(lengths)
    assert told[-1]["eval/success_rate"] == np.mean(successes)


def test_learning_stops_at_a_success_rate_and_can_go_on(learned, tmp_path):
    whole, _ = learned
    agent = made()
    best = tmp_path / "best"
    stop = EvalCallback(
        agent, eval_freq=8, n_eval_episodes=1, stop_at_success=0.0, best_model_save_path=best
    )
    agent.learn(32, stop)
    assert agent.num_timesteps == 8
    assert Agent.load(best).num_timesteps == 8
    agent.resume()
    assert agent.num_timesteps == 32
    for name, value in whole.world_model.state_dict().items():
        assert torch.equal(value, agent.world_model.state_dict()[name]), name


def test_a_callback_stops_learning_by_returning_false():
    agent = made()
    agent.learn(32, lambda progress: progress.num_timesteps < 12)
    assert agent.num_timesteps == 12
    agent.learn_from((), lambda progress: False)
    assert agent.progress.num_updates < 16


def test_weights_and_biases_gets_the_same(learned, tmp_path, monkeypatch):
    _, folder = learned
    calls = []

    class Run:
        id = "a1b2"

        def log(self, values, step):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    module = types.ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    module.init = lambda **told: calls.append(told) or Run()
    monkeypatch.setitem(sys.modules, "wandb", module)
    agent = made().learn(32, wandb="rooms", tensorboard_log=tmp_path)
    assert calls[0]["project"] == "rooms" and calls[0]["config"]["planner.candidates"] == 8
    assert calls[-1] == "finished" and "id" not in calls[0]
    assert [step for step, _ in calls[1:-1]] == list(range(4, 33, 4))
    last = {k: v for k, v in calls[-2][1].items() if k not in OF_TIME}
    assert last == {k: v for k, v in records(folder)[-1].items() if k not in OF_TIME}
    agent.learn(4, wandb="rooms", tensorboard_log=tmp_path)
    again = next(call for call in calls[1:] if isinstance(call, dict))
    assert (again["id"], again["resume"], again["name"]) == ("a1b2", "allow", "Agent_1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verbose": "much"}, "verbose: got 'much', allowed: a whole number"),
        ({"tensorboard_log": 5}, "path: got 5, allowed: a path"),
        ({"log_interval": 0}, "log_interval: got 0"),
        ({"tb_log_name": 5}, "tb_log_name: got 5, allowed: a string"),
        ({"tb_log_name": "../x"}, "tb_log_name: got '../x', allowed: the name of a folder"),
    ],
)
def test_senseless_options_are_refused_before_anything_is_learned(options, message):
    agent = Agent(ENV, SMALL)
    with pytest.raises(ValueError, match=message):
        agent.learn(8, **options)
    assert agent.num_timesteps == 0
    with pytest.raises(TypeError, match=r"learn: got unexpected arguments \['tensorboard'\]"):
        agent.learn(8, tensorboard="logs")
    with pytest.raises(ValueError, match=r"stop_at_success: got 1\.5, allowed"):
        EvalCallback(agent, stop_at_success=1.5)


def test_a_project_without_the_package_is_refused(monkeypatch):
    monkeypatch.setattr("agent.log_options.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"wandb: got 'rooms', allowed: None, or .*pip install wandb"):
        Agent(ENV, SMALL).learn(8, wandb="rooms")


def test_offline_the_steps_are_updates(learned, tmp_path):
    agent, _ = learned
    fresh = Agent(ENV, replace(SMALL, training=replace(SMALL.training, updates_per_step=1.0)))
    fresh.learn_from([e for e in agent.replay.episodes if e.actions], tensorboard_log=tmp_path)
    events = EventAccumulator(str(tmp_path / "Agent_1")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [10, 20, 30, 32]
