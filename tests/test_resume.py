"""A run that is stopped and resumed, any number of times, ends with the bits of one that was not."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agent import Agent, AgentConfig
from agent.learner import TrainingConfig
from agent.metrics import OF_TIME, RunLogger
from agent.planning import CEM
from agent.replay import Episode
from agent.world_model import WorldModelConfig
from benchmarks.faults.processes import forked

pytestmark = pytest.mark.slow

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=16, num_keypoints=4),
    CEM(candidates=8, elites=2, iterations=1, horizon=3),
    TrainingConfig(num_envs=4, random_steps=16, updates_per_step=1.5, batch_size=4, replay_capacity=30),
)
STEPS = 48


def native(mode="NextStep"):
    return gym.make_vec(
        "RobotRoomSlip-v0", 4, "vector_entry_point", autoreset_mode=mode, max_episode_steps=6
    )


def limited():
    """Four rooms whose episodes end at different times, and are reset one by one."""
    rooms = [partial(gym.make, "RobotRoom-v0", max_episode_steps=limit) for limit in (3, 4, 5, 7)]
    return SyncVectorEnv(rooms, autoreset_mode=AutoresetMode.DISABLED)


ENVS = {
    "id": "RobotRoomNoisyCamera-v0",
    "limited": limited,
    "native": native,
    "same step": lambda: native("SameStep"),
    "one": lambda: gym.make("RobotRoomMaze-v0", distractors=2),
    "factors": "RobotRoomShifted-v0",
}
"""Of these, only the rooms of different limits cannot be made again from what is saved."""


def made(env):
    return env() if callable(env) else env


def trained(env, folder, stops=()):
    """Learn; at each of the calls of a callback that `stops` names, go on with a copy of the folder."""
    agent, calls, stops = Agent(made(env), SMALL, seed=3), 0, list(stops)
    agent.progress.target_timesteps = STEPS
    while True:
        with RunLogger(folder, agent.progress) as log:

            def stop(progress):
                nonlocal calls
                calls += 1
                if stops and calls >= stops[0]:
                    stops.pop(0)
                    log.flush()
                    agent.save(folder / "agent")  # noqa: B023
                    raise KeyboardInterrupt

            try:
                agent.resume([log, stop])
                agent.save(folder / "agent")
                return agent, folder, calls
            except KeyboardInterrupt:
                pass
        elsewhere = folder.with_name(f"copy-{calls}-of-{folder.name}")
        shutil.copytree(folder, elsewhere)
        folder = elsewhere
        agent = Agent.load(folder / "agent", limited() if env is limited else None)


def bits(agent, folder):
    """Everything that must be equal, by name."""
    state = agent.learner.state_dict()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in OF_TIME:
            del line[name]
    tensors = {**state.model, **state.optimizer}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return lines, {**arrays, **state.replay, **state.generators}


def assert_equal(one, other):
    (lines, arrays), (other_lines, other_arrays) = one, other
    assert lines == other_lines and arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


@pytest.mark.parametrize("name", ENVS)
def test_a_resumed_run_ends_with_the_bits_of_an_unbroken_one(name, tmp_path):
    env = ENVS[name]
    agent, folder, calls = trained(env, tmp_path / "whole")
    expected = bits(agent, folder)
    assert len(expected[0]) >= 5 and calls > 12
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    stops = [1, 3, 4, calls // 2, calls - 1, calls]
    agent, folder, _ = trained(env, tmp_path / "broken", stops)
    assert_equal(expected, bits(agent, folder))


def test_what_was_logged_beyond_the_checkpoint_is_cut(tmp_path):
    """Killed after the checkpoint, so that the logs are ahead of it, and a line is half written."""
    whole, folder, _ = trained("RobotRoom-v0", tmp_path / "whole")
    expected = bits(whole, folder)
    _, broken, _ = trained("RobotRoom-v0", tmp_path / "broken", [8])
    early = tmp_path / "broken" / "agent"  # at the eighth call; all logs go to the end
    shutil.rmtree(broken / "agent")
    shutil.copytree(early, broken / "agent")
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"rollout/ep_rew_mean": 3.0, "tr')
    agent = Agent.load(broken / "agent")
    assert agent.num_timesteps < STEPS
    with RunLogger(broken, agent.progress) as log:
        agent.resume(log)
    assert_equal(expected, bits(agent, broken))
    events = EventAccumulator(str(broken)).Reload()
    with (broken / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(expected[0])
    for tag in events.Tags()["scalars"]:
        values = {event.step: event.value for event in events.Scalars(tag)}
        assert len(values) == len(events.Scalars(tag))
        assert list(values) == sorted(values)
        if tag in OF_TIME:
            continue
        for line, row in zip(expected[0], rows, strict=True):
            told = values.get(line["time/total_timesteps"])
            assert (told is None) == (tag not in line) == (row[tag] == "")
            if told is not None:
                assert told == pytest.approx(line[tag]) == pytest.approx(float(row[tag]))


def test_a_new_process_continues_with_the_same_bits(tmp_path):
    _, folder, _ = trained("RobotRoom-v0", tmp_path / "whole")
    expected = bits(
        Agent.load(folder / "agent"), folder
    )  # without what is beyond the replay's capacity
    agent = Agent("RobotRoom-v0", SMALL, seed=3)

    def stop(progress):
        if progress.num_updates >= 30:
            agent.save(tmp_path / "run" / "agent")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(STEPS, stop)
    program = (
        "import sys, robot_room; from agent import Agent; a = Agent.load(sys.argv[1])\n"
        "a.learn(48 - a.num_timesteps).save(sys.argv[2])"
    )
    command = [sys.executable, "-c", program, tmp_path / "run" / "agent", tmp_path / "end"]
    subprocess.run(command, check=True, env=os.environ)
    again = Agent.load(tmp_path / "end").learner.state_dict()
    for name, value in {**again.model, **again.optimizer}.items():
        np.testing.assert_array_equal(value.numpy(), expected[1][name], err_msg=name)
    np.testing.assert_array_equal(again.replay["frames"], expected[1]["frames"])


def test_the_same_agent_continues_after_a_callback_has_stopped_it(tmp_path):
    expected = bits(*trained("RobotRoom-v0", tmp_path / "whole")[:2])
    agent, calls = Agent("RobotRoom-v0", SMALL, seed=3), 0

    def stop(progress):
        nonlocal calls
        calls += 1
        if calls in (2, 9, 10):
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            agent.learn(STEPS - agent.num_timesteps, stop)
        agent.env.reset(seed=99)  # what others do with the environment meanwhile does not matter
    agent.learn(STEPS - agent.num_timesteps, stop)
    for name, value in agent.learner.state_dict().model.items():
        np.testing.assert_array_equal(value.numpy(), expected[1][name], err_msg=name)


def test_learning_from_episodes_resumes_with_the_same_bits(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 9, 64, 64, 3)).astype(np.uint8)
    episodes = [Episode(list(x), list(np.full((8, 2), 0.1, np.float32)), [0.5] * 8) for x in frames]
    whole = Agent("RobotRoom-v0", SMALL).learn_from(episodes)
    agent = Agent("RobotRoom-v0", SMALL)
    agent.add(episodes)
    for _ in range(3):
        agent.save(tmp_path / "agent")
        agent = Agent.load(tmp_path / "agent")

        def stop(progress):
            if progress.num_updates % 20 == 10:
                agent.save(tmp_path / "agent")  # noqa: B023
                raise KeyboardInterrupt

        try:
            agent.resume(stop)
        except KeyboardInterrupt:
            agent = Agent.load(tmp_path / "agent")
    agent.resume()
    for name, value in whole.world_model.state_dict().items():
        assert torch.equal(value, agent.world_model.state_dict()[name]), name
    assert agent.progress.num_updates == whole.progress.num_updates == 36


@pytest.mark.parametrize("limit", [0, 3_000, 30_000, 200_000])
def test_a_disk_that_is_full_anywhere_in_a_save_is_an_error_of_the_operating_system(limit, tmp_path):
    """The limit is on the size of a file, and hits each of a checkpoint's files in turn."""
    agent = Agent("RobotRoom-v0", SMALL).learn(40)
    agent.save(tmp_path / "agent")

    def trial():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            agent.save(tmp_path / "agent")
        except OSError:
            return "full"
        return "saved"

    assert forked(trial, 60).said == "full"
    assert Agent.load(tmp_path / "agent").num_timesteps == 40
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


class Forgetful(gym.Wrapper):
    """A wrapper whose state nobody knows."""


def test_an_environment_that_cannot_be_restored_says_so_and_begins_new_episodes(tmp_path):
    agent = Agent(Forgetful(gym.make("RobotRoom-v0")), SMALL)

    def stop(progress):
        if progress.num_timesteps >= 20:
            agent.save(tmp_path / "agent")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(30, stop)
    again = Agent.load(tmp_path / "agent", Forgetful(gym.make("RobotRoom-v0")))
    with pytest.warns(UserWarning, match=r"cannot go on where it stopped .*new episodes begin"):
        again.resume()
    assert again.num_timesteps == 30 and again.replay.num_steps <= 30
    with pytest.raises(ValueError, match="env: got None, allowed: an environment like the one"):
        Agent.load(tmp_path / "agent")


def test_a_state_of_other_environments_is_refused(tmp_path):
    agent = Agent("RobotRoom-v0", SMALL)

    def stop(progress):
        agent.save(tmp_path / "agent")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(30, stop)
    config = json.loads((tmp_path / "agent" / "config.json").read_text())
    robot = config["online_run"]["collector"]["environment"]["envs"][0]
    robot["wrappers"][0]["_elapsed_steps"] = -1
    (tmp_path / "agent" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="_elapsed_steps: got -1, allowed: a number of steps"):
        Agent.load(tmp_path / "agent")
    robot["wrappers"][0]["_elapsed_steps"] = 1
    robot["wrappers"].append({})
    (tmp_path / "agent" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="wrappers: got one more than the environment's"):
        Agent.load(tmp_path / "agent")
