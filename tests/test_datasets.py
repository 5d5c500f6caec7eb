"""Recorded episodes: replayed from their seeds, and learned from."""

import contextlib
import json
import os
import tracemalloc
import warnings
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
from console import command
from gymnasium.utils.env_checker import data_equivalence
from test_scripts import SMALL

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
    code, out, err = command(
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
    assert command("collect", "a-v0", "--episodes", 2)[0] == 0
    code, out, err = command("collect", "a-v0", "--episodes", 2, "--append")
    assert code == 0 and "4 episodes" in out, err
    metadata = minari.load_dataset("a-v0").storage.get_episode_metadata(range(4))
    assert [about["seed"] for about in metadata] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"observation": "goal_image", "goal": "random"},
        {"observation": "state"},
        {"factors": "training", "factor_info": True, "goal_image": True, "masks": True},
    ],
)
def test_every_kind_of_observation_can_be_appended_to(kwargs, tmp_path):
    """Recorded in one go or in three, of which one was killed before it was published."""
    names = "whole-v0", "parts-v0"
    for name, parts in zip(names, (((0, 1, 2, 3, 4),), ((0, 1), (2,), (3, 4))), strict=True):
        for number, seeds in enumerate(parts):
            env = gym.make("RobotRoom-v0", **kwargs)
            recorder = Recorder(name, env, "noisy", append=number > 0)
            for seed in seeds:
                recorder.add(record(env, Scripted(env, "noisy"), seed))
            if number != 1:
                recorder.publish()
    assert (tmp_path / names[0] / "data_card.md").read_text().partition("\n")[2] == (
        (tmp_path / names[1] / "data_card.md").read_text().partition("\n")[2]
    )
    whole, parts = (minari.load_dataset(name) for name in names)
    assert whole.total_episodes == parts.total_episodes == 5
    assert whole.total_steps == parts.total_steps
    for one, other in zip(whole.iterate_episodes(), parts.iterate_episodes(), strict=True):
        for part in ("observations", "actions", "rewards", "infos"):
            assert data_equivalence(getattr(one, part), getattr(other, part), exact=True)


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
    behaviours = Scripted(env, "random"), Scripted(env, "expert")
    episodes = [record(env, behaviour, seed) for seed, behaviour in enumerate(behaviours)]
    assert episodes[1].terminations[-1]
    for episode in episodes:
        recorder.add(episode)
    for read, written in zip(
        load_episodes("a-v0", gym.spec("RobotRoom-v0"), *SPACES), episodes, strict=True
    ):
        np.testing.assert_array_equal(read.frames, written.observations)
        np.testing.assert_allclose(read.actions, written.actions, atol=1e-7)
        np.testing.assert_array_equal(read.rewards, written.rewards)
        assert read.terminated == written.terminations[-1]
    with pytest.raises(ValueError, match=r"dataset: got 'b-v0', allowed: one of \['a-v0'\]"):
        load_episodes("b-v0", gym.spec("RobotRoom-v0"), *SPACES)
    with pytest.raises(ValueError, match=r"dataset: got one of .*RobotRoom-v0.*allowed: .*Door-v0"):
        load_episodes("a-v0", gym.spec("RobotRoomDoor-v0"), *SPACES)
    with pytest.raises(ValueError, match="dataset: got 'a-v0' with spaces"):
        load_episodes(
            "a-v0", gym.spec("RobotRoom-v0"), gym.spaces.Box(0, 255, (32, 32, 3), np.uint8), SPACES[1]
        )


def test_a_dataset_of_other_arguments_is_not_taken_for_the_ids_own(tmp_path):
    room = ["--env-id", "RobotRoomMaze-v0", "--episodes", 1]
    code, _, err = command("collect", "b-v0", *room, "--env-kwargs", '{"layout_seed": 1}')
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
    assert command("collect", "a-v0", "--episodes", 2, "--policy", "expert")[0] == 0
    arguments = ["train", "--dataset", "a-v0", "--episodes", 1, *SMALL]
    code, _, err = command(*arguments, "--out", tmp_path / "run")
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env_steps"] == minari.load_dataset("a-v0").total_steps
    assert summary["updates"] == int(0.5 * summary["env_steps"])
    code, _, err = command("train", "--dataset", "nothing-v0", "--out", tmp_path / "other")
    assert code == 1 and "error: dataset: got 'nothing-v0'" in err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("recorded", "learned"),
    [
        ({"masks": True}, {}),
        ({"slip": 0.0}, {}),
        ({}, {"oracle_steps": True, "compiled": False}),
        ({"goal_image": True}, {}),
        ({"factors": "test", "factor_info": True}, {"factors": "test"}),
        (
            {"factors": {"robot_colour": (255, 250, 245)}},
            {"factors": {"robot_colour": [255, 250, 245]}},
        ),
        ({"factors": {"speed": 0.5}}, {"factors": {"speed": np.float64(0.5)}}),
    ],
)
def test_arguments_that_no_frame_shows_may_differ(recorded, learned):
    env = gym.make("RobotRoom-v0", **recorded)
    Recorder("a-v0", env, "random", append=False).add(record(env, Scripted(env, "expert"), 0))
    spec = gym.make("RobotRoom-v0", **learned).spec
    assert len(list(load_episodes("a-v0", spec, *SPACES))) == 1


@pytest.mark.parametrize("killed_at", range(1, 5))
def test_episodes_left_by_a_kill_are_joined_to_their_dataset(killed_at, monkeypatch, tmp_path):
    """Killed while the dataset is replaced: what was recorded is found by the next recorder."""
    env = gym.make("RobotRoom-v0")
    episodes = [record(env, Scripted(env, "expert"), seed) for seed in range(5)]
    recorder = Recorder("room/a-v0", env, "expert", append=False)
    for episode in episodes[:killed_at]:
        recorder.add(episode)

    class Killed(BaseException):
        pass

    def kill(*arguments, **named):
        raise Killed

    monkeypatch.setattr("robot_room.app.datasets.recording.shutil.copytree", kill)
    recorder._joined = 0 if killed_at == 1 else recorder._joined
    with contextlib.suppress(Killed):
        recorder.add(episodes[killed_at])
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="dataset: got room/a-v0, which exists"):
        Recorder("room/a-v0", env, "expert", append=False)
    again = Recorder("room/a-v0", env, "expert", append=True)
    assert again.episodes == killed_at + 1
    dataset = minari.load_dataset("room/a-v0")
    assert dataset.total_episodes == again.episodes and dataset.total_steps == again.steps
    for read, written in zip(dataset.iterate_episodes(), episodes, strict=False):
        np.testing.assert_array_equal(read.observations, written.observations)
    assert sorted(path.name for path in (tmp_path / "room").iterdir()) == [
        "a-v0",
        "namespace_metadata.json",
    ]


def changed(data, **fields):
    path = data / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without_space(data):
    path, spec = data / "metadata.json", '{"id": "X-v0", "entry_point": "os:system", "kwargs": {}}'
    metadata = json.loads(path.read_text()) | {"env_spec": spec}
    del metadata["action_space"]
    path.write_text(json.dumps(metadata))


def rewritten(data, name, value, **how):
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file[f"episode_0/{name}"]
        if isinstance(value, h5py.ExternalLink | h5py.SoftLink):
            file[f"episode_0/{name}"] = value
        else:
            file.create_dataset(f"episode_0/{name}", data=value, **how)


def unwritten(data):
    """A terabyte of frames, of which none is in the file."""
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        shape = (10**8, 64, 64, 3)
        file.create_dataset("episode_0/observations", shape, np.uint8, chunks=(1, 64, 64, 3))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_space, "metadata.json: .*missing required field `action_space`"),
        (lambda d: changed(d, env_spec="[" * 100_000), "env_spec: got .*allowed: a spec as JSON"),
        (lambda d: changed(d, total_episodes=10**9), "episode_1: episode_1: got nothing or a link"),
        (lambda d: changed(d, total_episodes=-1), "total_episodes: got -1, allowed: int >= 0"),
        (
            lambda d: changed(d, data_format="arrow"),
            "data_format: got 'arrow'|Invalid enum value 'arrow'",
        ),
        (
            lambda d: (d / "metadata.json").write_text("[" * 100_000),
            "metadata.json: missing or damaged",
        ),
        (lambda d: (d / "main_data.hdf5").write_bytes(b"x" * 5000), "hdf5: missing or damaged"),
        (
            lambda d: rewritten(d, "rewards", h5py.ExternalLink("/etc/x", "/")),
            "rewards: got nothing or a link",
        ),
        (lambda d: rewritten(d, "rewards", h5py.SoftLink("/")), "rewards: got nothing or a link"),
        (lambda d: rewritten(d, "rewards", np.zeros(3)), "3 rewards, allowed"),
        (lambda d: rewritten(d, "rewards", ["a"] * 9), "rewards: got object"),
        (lambda d: rewritten(d, "rewards", np.full(9, np.nan)), "rewards: got nan|rewards, allowed"),
        (lambda d: rewritten(d, "actions", np.zeros((10**6, 2)), compression="gzip"), "compressed"),
        (unwritten, "observations: got .*bytes compressed or missing"),
    ],
)
def test_a_strangers_dataset_is_refused_before_code_is_run_or_memory_taken(
    harm, message, tmp_path, monkeypatch
):
    env = gym.make("RobotRoom-v0")
    Recorder("a-v0", env, "random", append=False).add(record(env, Scripted(env, "expert"), 0))
    harm(tmp_path / "a-v0" / "data")
    monkeypatch.setattr("os.system", lambda *a, **k: pytest.fail("a file's command was called"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as refused:
            list(load_episodes("a-v0", env.spec, *SPACES))
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
    assert str(tmp_path / "a-v0" / "data") in str(refused.value)
    with pytest.raises(ValueError, match=r"a-v0"):
        Recorder("a-v0", env, "random", append=True)


def test_lossy_datasets_of_others_are_read_and_their_pictures_looked_at_first():
    env = gym.make("RobotRoom-v0")
    episode = record(env, Scripted(env, "expert"), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = minari.create_dataset_from_buffers("jpeg-v0", [episode], env=env)
    (read,) = load_episodes("jpeg-v0", env.spec, *SPACES)
    expected = next(iter(dataset.iterate_episodes())).observations
    np.testing.assert_array_equal(np.stack(read.frames), expected)
    before = {path: path.read_bytes() for path in _files()}
    with pytest.raises(ValueError, match=r"dataset: got jpeg-v0 with frames as JPEG, allowed: one"):
        Recorder("jpeg-v0", env, "expert", append=True)
    assert before == {path: path.read_bytes() for path in _files()}


def _files():
    return [path for path in Path(os.environ["MINARI_DATASETS_PATH"]).rglob("*") if path.is_file()]


def test_arguments_of_an_environment_may_be_numpys():
    factors = {"speed": np.float64(0.5), "robot_colour": np.array([230, 230, 230])}
    env = gym.make("RobotRoom-v0", factors=factors)
    for append in (False, True):
        recorder = Recorder("a-v0", env, "random", append=append)
        recorder.add(record(env, Scripted(env, "random"), recorder.episodes))
        recorder.publish()
    read = minari.load_dataset("a-v0")
    assert read.total_episodes == 2 and read.env_spec is not None
    assert read.env_spec.kwargs["factors"] == {"speed": 0.5, "robot_colour": [230, 230, 230]}
    assert len(list(load_episodes("a-v0", env.spec, *SPACES))) == 2


def test_a_dataset_has_at_least_the_steps_asked_for_and_a_card_with_its_quality(tmp_path):
    success = {}
    for policy in ("random", "noisy", "expert"):
        name = f"room/{policy}-v0"
        code, _, err = command("collect", name, "--policy", policy, "--steps", 150)
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


def test_the_card_tells_every_policy_that_has_acted(tmp_path):
    for policy in ("random", "expert"):
        assert command("collect", "a-v0", "--policy", policy, "--episodes", 2, "--append")[0] == 0
    card = (tmp_path / "a-v0" / "data_card.md").read_text()
    assert "| policy | random: " in card and "; expert: " in card and "| episodes | 4 |" in card


def test_frames_take_the_place_of_their_pixels_and_keep_what_minari_wrote(tmp_path):
    assert command("collect", "a-v0", "--policy", "expert", "--episodes", 3)[0] == 0
    with h5py.File(tmp_path / "a-v0" / "data" / "main_data.hdf5") as file:
        assert sorted(file) == ["episode_0", "episode_1", "episode_2"]
        for number in range(3):
            episode = file[f"episode_{number}"]
            assert set(episode.attrs) >= {"id", "seed", "total_steps"}
            assert episode.attrs["id"] == number
            frames = episode["observations"]
            assert frames.id.get_storage_size() == frames.size
            steps = episode.attrs["total_steps"]
            assert frames.shape == (steps + 1, 64, 64, 3)
            assert episode["infos/distance"].shape == (steps + 1,)


def test_what_a_stranger_says_about_success_is_read_with_care(tmp_path):
    env = gym.make("RobotRoom-v0")
    Recorder("a-v0", env, "random", append=False).add(record(env, Scripted(env, "random"), 0))
    for value, how in (
        (h5py.ExternalLink("/etc/x", "/"), {}),
        (np.zeros(10**6, bool), {"compression": 1}),
    ):
        rewritten(tmp_path / "a-v0" / "data", "infos/is_success", value, **how)
        with pytest.raises(ValueError, match="is_success: got "):
            Recorder("a-v0", env, "random", append=True)


def test_steps_that_are_none_are_refused():
    code, _, err = command("collect", "room/none-v0", "--steps", 0)
    assert code != 0 and "steps: got 0, allowed: at least 1" in err
