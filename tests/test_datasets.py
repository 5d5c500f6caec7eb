"""Recorded episodes: replayed from their seeds, and learned from."""

import json

import gymnasium as gym
import minari
import numpy as np
import pytest
from test_scripts import SMALL, run

from agent import Agent, AgentConfig
from agent.datasets import load_episodes
from agent.learner import TrainingConfig
from agent.planning import CEM
from agent.world_model import WorldModelConfig
from robot_room import layouts, oracle
from robot_room.app.datasets.recording import Recorder, record
from robot_room.app.evaluation.policies import Scripted

pytestmark = pytest.mark.slow

SPACES = (
    gym.spaces.Box(0, 255, (64, 64, 3), np.uint8),
    gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
)


@pytest.fixture(autouse=True)
def datasets_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.mark.parametrize("policy", ["random", "expert", "mixed"])
@pytest.mark.parametrize("env_id", ["RobotRoom-v0", "RobotRoomDoor-v0", "RobotRoomNoisyCamera-v0"])
def test_a_recorded_dataset_replays_bit_for_bit(env_id, policy):
    code, out, err = run(
        "collect", "room/test-v0", "--env-id", env_id, "--policy", policy, "--episodes", 3
    )
    assert code == 0 and "3 episodes" in out, err
    dataset = minari.load_dataset("room/test-v0")
    env = dataset.recover_environment()
    assert env.spec is not None and env.spec.id == env_id
    metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for number, (episode, about) in enumerate(zip(dataset.iterate_episodes(), metadata, strict=True)):
        assert about["seed"] == number
        observation, info = env.reset(seed=number)
        np.testing.assert_array_equal(observation, episode.observations[0])
        for t, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, info = env.step(action)
            np.testing.assert_array_equal(observation, episode.observations[t + 1])
            assert reward == episode.rewards[t]
            assert (terminated, truncated) == (episode.terminations[t], episode.truncations[t])
            np.testing.assert_array_equal(
                info["robot_position"], episode.infos["robot_position"][t + 1]
            )
        assert terminated or truncated


def test_the_expert_of_a_dataset_takes_the_oracles_steps():
    env = gym.make("RobotRoomMaze-v0", oracle_steps=True)
    for seed in range(3):
        episode = record(env, Scripted(env, "expert"), seed)
        assert episode.infos is not None
        assert len(episode.rewards) == episode.infos["oracle_steps"][0]
        layout = layouts.layout(env.unwrapped.params, int(episode.infos["layout"][0]))
        start, goal = episode.infos["robot_position"][:1], episode.infos["goal_position"][:1]
        assert len(episode.rewards) == oracle.min_steps(start, goal, layout)[0]


def test_a_mixture_has_episodes_of_every_share():
    env = gym.make("RobotRoom-v0")
    mixed = Scripted(env, "mixed")
    lengths = [len(record(env, mixed, seed).rewards) for seed in range(30)]
    assert min(lengths) < 15 and max(lengths) == 100 and len(set(lengths)) > 10


def test_appending_goes_on_where_the_dataset_ends():
    assert run("collect", "a-v0", "--episodes", 2)[0] == 0
    code, out, err = run("collect", "a-v0", "--episodes", 2, "--append")
    assert code == 0 and "4 episodes" in out, err
    metadata = minari.load_dataset("a-v0").storage.get_episode_metadata(range(4))
    assert [about["seed"] for about in metadata] == [0, 1, 2, 3]


def test_bad_requests_change_nothing():
    env, other = gym.make("RobotRoom-v0"), gym.make("RobotRoom-v0", reward="sparse")
    recorder = Recorder("a-v0", env, "random", append=False)
    recorder.add(record(env, Scripted(env, "random"), 0))
    for dataset, one, append, message in (
        ("a-v0", env, False, "dataset: got a-v0, which exists"),
        ("a-v0", other, True, "env_id: got RobotRoom-v0 {'reward': 'sparse'}"),
        ("a", env, False, "dataset: got 'a', allowed"),
        ("a b-v0", env, False, "Malformed"),
    ):
        with pytest.raises(ValueError, match=message):
            Recorder(dataset, one, "random", append)
    assert minari.load_dataset("a-v0").total_episodes == 1
    with pytest.raises(ValueError, match="policy: got 'clever'"):
        Scripted(env, "clever")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="policy: got 'expert', allowed: random"):
        Scripted(gym.make("CartPole-v1"), "expert")


def test_episodes_come_back_as_the_replay_takes_them():
    env = gym.make("RobotRoom-v0")
    recorder = Recorder("a-v0", env, "random", append=False)
    episodes = [record(env, Scripted(env, "random"), seed) for seed in range(2)]
    for episode in episodes:
        recorder.add(episode)
    for read, written in zip(
        load_episodes("a-v0", gym.spec("RobotRoom-v0"), *SPACES), episodes, strict=True
    ):
        np.testing.assert_array_equal(read.frames, written.observations)
        np.testing.assert_allclose(read.actions, written.actions, atol=1e-7)
        np.testing.assert_array_equal(read.rewards, written.rewards)
    with pytest.raises(ValueError, match=r"dataset: got 'b-v0', allowed: one of \['a-v0'\]"):
        load_episodes("b-v0", gym.spec("RobotRoom-v0"), *SPACES)
    with pytest.raises(ValueError, match=r"dataset: got one of .*RobotRoom-v0.*allowed: .*Door-v0"):
        load_episodes("a-v0", gym.spec("RobotRoomDoor-v0"), *SPACES)
    with pytest.raises(ValueError, match="dataset: got 'a-v0' with spaces"):
        load_episodes(
            "a-v0", gym.spec("RobotRoom-v0"), gym.spaces.Box(0, 255, (32, 32, 3), np.uint8), SPACES[1]
        )


def test_a_dataset_of_other_arguments_is_not_taken_for_the_ids_own(tmp_path):
    command = ["collect", "b-v0", "--env-id", "RobotRoomMaze-v0", "--episodes", 1]
    code, _, err = run(*command, "--env-kwargs", '{"layout_seed": 1}')
    assert code == 0, err
    with pytest.raises(ValueError, match=r"'layout_seed': 1.*allowed: .*'layout_seed': 0"):
        load_episodes("b-v0", gym.spec("RobotRoomMaze-v0"), *SPACES)
    same = gym.make("RobotRoomMaze-v0", layout_seed=1).spec
    assert len(list(load_episodes("b-v0", same, *SPACES))) == 1


def test_learning_offline_needs_no_step_and_learns_the_model():
    env = gym.make("RobotRoom-v0")
    recorder = Recorder("a-v0", env, "mixed", append=False)
    for seed in range(4):
        recorder.add(record(env, Scripted(env, "mixed"), seed))
    config = AgentConfig(
        WorldModelConfig(hidden_dim=32),
        CEM(candidates=20, elites=4, iterations=2),
        TrainingConfig(num_envs=1, updates_per_step=1.0, batch_size=8),
    )

    def learned():
        losses = []
        agent = Agent(env, config, seed=0)
        episodes = load_episodes("a-v0", gym.spec("RobotRoom-v0"), *SPACES)
        agent.learn_from(episodes, lambda progress: losses.append(progress.metrics["loss"]))
        return agent, losses

    agent, losses = learned()
    steps = recorder.steps
    assert (agent.num_timesteps, agent.progress.num_updates) == (steps, steps)
    assert agent.replay.num_steps == steps
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 100  # nats per step
    assert learned()[1] == losses
    agent.learn_from(())  # nothing is owed any more
    assert agent.progress.num_updates == steps
    with pytest.raises(ValueError, match="replay: got no steps"):
        Agent(env, config).learn_from(())


def test_training_from_a_dataset_by_command(tmp_path):
    assert run("collect", "a-v0", "--episodes", 2, "--policy", "expert")[0] == 0
    arguments = ["train", "--dataset", "a-v0", "--episodes", 2, *SMALL]
    code, _, err = run(*arguments, "--out", tmp_path / "run")
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env_steps"] == minari.load_dataset("a-v0").total_steps
    assert summary["updates"] == int(0.5 * summary["env_steps"])
    code, _, err = run("train", "--dataset", "nothing-v0", "--out", tmp_path / "other")
    assert code == 1 and "error: dataset: got 'nothing-v0'" in err
    assert not (tmp_path / "other").exists()


def test_a_dataset_has_at_least_the_steps_asked_for_and_a_card_with_its_quality(tmp_path):
    success = {}
    for policy in ("random", "noisy", "expert"):
        name = f"room/{policy}-v0"
        code, _, err = run("collect", name, "--policy", policy, "--steps", 150)
        assert code == 0, err
        dataset = minari.load_dataset(name)
        last = len(dataset[-1].actions)
        assert 150 <= dataset.total_steps < 150 + last
        card = (tmp_path / name / "data_card.md").read_text()
        assert f"| steps | {dataset.total_steps} |" in card and f"| policy | {policy}: " in card
        reached = [bool(episode.infos["is_success"].any()) for episode in dataset]
        assert f"| episodes that reach the goal | {100 * np.mean(reached):.1f} % |" in card
        success[policy] = np.mean([len(episode.actions) for episode in dataset])
    assert success["expert"] < success["noisy"] < success["random"]


def test_steps_that_are_none_are_refused():
    code, _, err = run("collect", "room/none-v0", "--steps", 0)
    assert code != 0 and "steps: got 0, allowed: at least 1" in err
