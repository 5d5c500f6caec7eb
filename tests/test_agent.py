import copy
import dataclasses
import gc
import json
import os
import shutil
import sys
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from agent import Agent, AgentConfig
from agent.checkpoint import FORMAT_VERSION, RENAMED_IN_5
from agent.learner import TrainingConfig
from agent.planning import CEM, ICEM, MPPI, RandomShooting
from agent.random_states import unpacked
from agent.world_model import WorldModelConfig
from robot_room.app.evaluation.protocol import TUNING_SEED, evaluate

pytestmark = pytest.mark.slow

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=32),
    CEM(candidates=20, elites=4, iterations=2),
    TrainingConfig(num_envs=4, random_steps=40, updates_per_step=0.5, batch_size=8),
)


def learned(seed=0, steps=80):
    return Agent("RobotRoom-v0", SMALL, seed=seed).learn(steps)


@pytest.fixture(scope="module")
def agent():
    return learned()


@pytest.fixture(scope="module")
def frames():
    env = gym.make_vec("RobotRoom-v0", 5, "sync")
    return env.reset(seed=0)[0]


def test_a_seed_determines_learning(agent, frames):
    again, other = learned(), learned(seed=1)
    for name, value in agent.world_model.state_dict().items():
        torch.testing.assert_close(value, again.world_model.state_dict()[name], rtol=0, atol=0)
    np.testing.assert_array_equal(agent.predict(frames)[0], again.predict(frames)[0])
    assert (agent.predict(frames)[0] != other.predict(frames)[0]).any()


def test_learning_counts_steps_and_updates(agent):
    assert agent.num_timesteps == 80
    assert agent.progress.num_updates == 40
    assert agent.replay.num_steps == 80


def test_callbacks_see_the_progress():
    seen = []
    agent = Agent("RobotRoom-v0", SMALL).learn(
        60, lambda p: seen.append((p.num_timesteps, p.num_updates))
    )
    assert seen[-1] == (60, 30) and seen == sorted(seen)
    assert {"loss", "elbo", "log_p_frames", "log_p_rewards", "kl", "open_loop_kl"} <= set(
        agent.progress.metrics
    )


def test_predict_takes_one_frame_or_a_batch(agent, frames):
    action, state = agent.predict(frames[0])
    assert action.shape == (2,) and action.dtype == np.float32
    actions, states = agent.predict(frames)
    assert actions.shape == (5, 2) and agent.action_space.contains(actions[0])
    np.testing.assert_allclose(actions[0], action, atol=1e-5)
    again, _ = agent.predict(frames[0], state, np.array([True]))
    np.testing.assert_array_equal(again, action)  # an episode's start forgets the state
    agent.predict(frames, states)


def test_deterministic_prediction_is_a_function_of_its_arguments(agent, frames):
    first, _ = agent.predict(frames)
    agent.predict(frames, deterministic=False)
    second, _ = agent.predict(frames)
    np.testing.assert_array_equal(first, second)
    noisy, _ = agent.predict(frames, deterministic=False)
    assert (noisy != first).any()


@pytest.mark.parametrize(
    "observation",
    [np.zeros((64, 64, 3)), np.zeros((32, 64, 3), np.uint8), np.zeros((2, 2, 64, 64, 3), np.uint8), 3],
)
def test_an_observation_of_another_kind_is_refused(agent, observation):
    with pytest.raises(ValueError, match=r"observation: got .*allowed: uint8"):
        agent.predict(observation)


def test_a_state_of_another_batch_is_refused(agent, frames):
    _, state = agent.predict(frames)
    with pytest.raises(ValueError, match="state, episode_start: got state of 5"):
        agent.predict(frames[:2], state)


@pytest.mark.parametrize("vectorised", [False, True])
def test_stable_baselines_evaluate_policy_runs_unchanged(agent, vectorised):
    env = make_vec_env("RobotRoom-v0", 3, seed=0) if vectorised else gym.make("RobotRoom-v0")
    if not vectorised:
        from stable_baselines3.common.monitor import Monitor

        env = Monitor(env)
    mean, std = evaluate_policy(agent, env, n_eval_episodes=3)
    assert -130 < mean < 0 and std >= 0


def test_an_environment_may_be_given_instead_of_an_id():
    single = Agent(gym.make("RobotRoom-v0"), SMALL).learn(50)
    assert single.num_timesteps == 50 and single.env_id == "robot_room:RobotRoom-v0"
    vector = gym.make_vec("RobotRoom-v0", 3, "sync")
    assert Agent(vector, SMALL).learn(50).num_timesteps in range(50, 53)


def test_the_recurrent_posterior_learns_and_acts_too(frames):
    config = AgentConfig(
        WorldModelConfig(posterior="recurrent", hidden_dim=32), SMALL.planner, SMALL.training
    )
    agent = Agent("RobotRoom-v0", config).learn(60)
    _, state = agent.predict(frames)
    agent.predict(frames, state)


@pytest.mark.parametrize("native", [False, True])
def test_an_agent_remembers_the_arguments_of_its_environment(tmp_path, native):
    kwargs = {"slip": 0.1, "max_episode_steps": 17}
    if native:
        mode = {"autoreset_mode": "Disabled", "copy": False}
        env = gym.make_vec("RobotRoomDoor-v0", 2, "vector_entry_point", **kwargs, **mode)
    else:
        env = gym.make("RobotRoomDoor-v0", **kwargs)
    agent = Agent(env, SMALL).learn(10)
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    assert again.env_id == "robot_room:RobotRoomDoor-v0"
    assert again.env_spec is not None and again.env_spec.max_episode_steps == 17
    assert again.env_spec.kwargs == {"walls": "door", "slip": 0.1}
    assert again.env.envs[0].unwrapped.params.slip == 0.1
    result = evaluate(again, again.env_spec, 3, TUNING_SEED).summary()
    assert result["env_kwargs"] == {"walls": "door", "slip": 0.1}
    assert result["mean_steps"] <= 17


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_environments_that_cannot_be_served_are_refused(env_id):
    with pytest.raises(ValueError, match=r"observation space: got .*allowed: images"):
        Agent(env_id)


def test_action_spaces_that_cannot_be_served_are_refused():
    class Buttons(gym.ActionWrapper):
        action_space = gym.spaces.MultiDiscrete([4, 2])

    with pytest.raises(ValueError, match=r"action space: got MultiDiscrete.*allowed: a bounded Box"):
        Agent(Buttons(gym.make("RobotRoom-v0")))


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="device: got 'abacus'"):
        Agent("RobotRoom-v0", device="abacus")


def test_learning_nothing_is_refused(agent):
    with pytest.raises(ValueError, match="total_timesteps: got 0"):
        agent.learn(0)


@pytest.mark.parametrize(
    "planner",
    [
        CEM(candidates=20, elites=4, particles=3),
        ICEM(candidates=20, elites=4, kept=0.5),
        MPPI(candidates=20),
        RandomShooting(candidates=20),
    ],
    ids=lambda planner: type(planner).__name__,
)
def test_every_planner_controls_and_is_remembered(planner, frames, tmp_path):
    agent = Agent("RobotRoom-v0", dataclasses.replace(SMALL, planner=planner)).learn(48)
    action, state = agent.predict(frames)
    assert action.shape == (5, 2) and (abs(action) <= 1).all()
    following, _ = agent.predict(frames, state)
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    assert again.config == agent.config
    np.testing.assert_array_equal(again.predict(frames, state)[0], following)


# ---- checkpoints -----------------------------------------------------------------------------------


@pytest.fixture
def saved(agent, tmp_path):
    agent.save(tmp_path / "agent")
    return tmp_path / "agent"


def test_loading_again_and_again_keeps_nothing(saved):
    """Neither objects, of which a mapped tensor would leave two behind, nor open files."""

    def load(times):
        for _ in range(times):
            Agent.load(saved)
        gc.collect()
        return sys.getallocatedblocks(), len(os.listdir("/dev/fd"))

    blocks, files = load(20)
    more, still = load(20)
    tensors = len(load_file(saved / "model.safetensors"))
    assert more - blocks < 20 * tensors and still == files


def test_a_loaded_agent_acts_identically(agent, saved, frames):
    loaded = Agent.load(saved)
    a, a_state = agent.predict(frames)
    b, b_state = loaded.predict(frames)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(agent.predict(frames, a_state)[0], loaded.predict(frames, b_state)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_point": "os:system", "kwargs": {"command": "touch X"}}, "got entry_point 'os:system'"),
        ({"vector_entry_point": "os:system"}, "got vector_entry_point 'os:system'"),
        (
            {"additional_wrappers": [{"name": "w", "entry_point": "os:system", "kwargs": {}}]},
            "got additional_wrappers",
        ),
        (
            {"id": "antigravity:RobotRoom-v0"},
            "got id 'antigravity:RobotRoom-v0', allowed: one that is reg",
        ),
        (
            {"id": "GymV26Environment-v0", "kwargs": {"env_id": "os:x"}},
            "allowed: one with an entry point",
        ),
        ({"kwargs": {"num_envs": 10**9}}, r"got arguments \['num_envs'\]"),
        ({"kwargs": {"wrappers": ["os.system"]}}, r"got arguments \['wrappers'\]"),
        ({"kwargs": []}, "allowed: a spec as JSON"),
        ({"max_episode_steps": -1}, "allowed: a spec as JSON"),
        (5, "got 5 .*allowed: a spec as JSON"),
        ("[" * 100_000, "RecursionError.*allowed: a spec as JSON"),
    ],
)
def test_loading_neither_imports_nor_calls_what_a_file_names(saved, monkeypatch, changes, message):
    config = json.loads((saved / "config.json").read_text())
    if isinstance(changes, dict):
        changes = json.dumps(json.loads(config["env_spec"]) | changes)
    (saved / "config.json").write_text(json.dumps(config | {"env_spec": changes}))
    monkeypatch.setattr("os.system", lambda *a, **k: pytest.fail("a file's command was called"))
    loaded_before = set(sys.modules)
    with pytest.raises(ValueError, match=message) as refused:
        Agent.load(saved)
    assert str(saved / "config.json") in str(refused.value) and "antigravity" not in sys.modules
    assert not {name.split(".")[0] for name in set(sys.modules) - loaded_before} - {"gymnasium"}
    Agent.load(saved, "RobotRoom-v0")  # the user's own choice needs nothing of the file's


def test_a_loaded_agent_learns_on_identically(saved):
    a, b = Agent.load(saved).learn(20), Agent.load(saved).learn(20)
    assert a.num_timesteps == 100 and a.replay.num_steps == 100
    for name, value in a.world_model.state_dict().items():
        torch.testing.assert_close(value, b.world_model.state_dict()[name], rtol=0, atol=0)


def as_older_format(saved, version):
    """Rewrite a checkpoint as formats 4 and 5 were: generators in config.json, no open episodes."""
    config = json.loads((saved / "config.json").read_text())
    del config["metrics"], config["outcomes"], config["online_run"]
    state = safetensors.numpy.load_file(saved / "state.safetensors")
    for name in ("replay", "exploration"):
        state[f"generators.{name}"] = unpacked(state[f"generators.{name}"])
    config["generators"] = {
        name.removeprefix("generators."): value if isinstance(value, dict) else value.tolist()
        for name, value in state.items()
    }
    if version == 4:
        for section in ("world_model", "training"):
            before = {new: old for old, new in RENAMED_IN_5[section].items()}
            assert set(before) <= set(config["agent"][section])
            settings = config["agent"][section].items()
            config["agent"][section] = {before.get(key, key): value for key, value in settings}
        config["agent"]["planner_type"] += "Config"
    (saved / "config.json").write_text(json.dumps(config | {"format_version": version}))
    (saved / "state.safetensors").unlink()
    with np.load(saved / "replay.npz") as arrays:
        kept = {name: arrays[name] for name in arrays if name != "open"}
    np.savez(saved / "replay.npz", **kept)


@pytest.mark.parametrize("version", [4, 5])
def test_an_older_checkpoint_loads_and_learns_on_identically(agent, saved, version):
    now = Agent.load(saved).learn(8)
    as_older_format(saved, version)
    loaded = Agent.load(saved)
    assert loaded.config == agent.config
    loaded.learn(8)
    for name, value in now.world_model.state_dict().items():
        assert torch.equal(value, loaded.world_model.state_dict()[name]), name


@pytest.mark.parametrize("callback", [None, (), [], lambda progress: None])
def test_learning_needs_no_callback(callback, capsys):
    agent = Agent("RobotRoom-v0", SMALL).learn(8, callback=callback)
    assert agent.num_timesteps == 8 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("callback", [5, "log", [5], [None]])
def test_what_is_no_callback_is_refused_before_anything_is_learned(callback):
    agent = Agent("RobotRoom-v0", SMALL)
    with pytest.raises(ValueError, match=r"callback: got .*, allowed: None, a callable, or several"):
        agent.learn(8, callback)
    assert agent.num_timesteps == 0 and agent.progress.target_timesteps == 0


def test_a_progress_bar_shows_how_far_learning_has_come(capsys):
    Agent("RobotRoom-v0", SMALL).learn(48, progress_bar=True)
    out, err = capsys.readouterr()
    assert out == "" and "48/48" in err


def test_saving_over_a_checkpoint_replaces_it(agent, saved):
    agent.save(saved)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["agent"]
    Agent.load(saved)


def test_saving_over_something_else_is_refused(agent, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(ValueError, match="not a checkpoint"):
        agent.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"


def test_a_failed_save_leaves_the_old_checkpoint(agent, saved, monkeypatch):
    monkeypatch.setattr(
        "agent.checkpoint.np.savez", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        agent.save(saved)
    monkeypatch.undo()
    assert sorted(p.name for p in saved.parent.iterdir()) == ["agent"]
    Agent.load(saved)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.safetensors", "state.safetensors", "replay.npz", "config.json"],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_refused_and_left_alone(saved, name, damage):
    file = saved / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(ValueError, match=f"{name}: missing, damaged or cut short"):
        Agent.load(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_another_format_version_is_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ValueError, match=f"got format version 99, allowed: 4, 5, {FORMAT_VERSION}"):
        Agent.load(saved)


def test_files_of_two_agents_are_refused(saved, tmp_path):
    wide = AgentConfig(WorldModelConfig(hidden_dim=48), SMALL.planner, SMALL.training)
    Agent("RobotRoom-v0", wide).learn(40).save(tmp_path / "wide")
    shutil.copy(tmp_path / "wide" / "model.safetensors", saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors: .*got \(48, .*as the settings"):
        Agent.load(saved)


def test_another_environments_spaces_are_refused(saved):
    small = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    env = gym.wrappers.TransformObservation(gym.make("RobotRoom-v0"), lambda x: x[::2, ::2], small)
    with pytest.raises(ValueError, match=r"observation_space: got .*allowed: .*64, 64, 3"):
        Agent.load(saved, env)


def test_no_checkpoint_is_said_plainly(tmp_path):
    with pytest.raises(ValueError, match="not a directory"):
        Agent.load(tmp_path / "nothing")


# ---- learning --------------------------------------------------------------------------------------


def test_losses_that_are_never_finite_stop_and_name_the_term_and_the_update(saved):
    class Broken(gym.RewardWrapper):  # finite, but not their squares
        def reward(self, reward):
            return 3e38 if reward > -0.8 else -3e38

    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    agent = Agent(Broken(gym.make("RobotRoom-v0")), SMALL)
    with pytest.raises(FloatingPointError, match=r"log_p_rewards is -?(nan|inf) at update 10 "):
        agent.learn(60)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    shutil.rmtree(saved)


def test_a_gradient_that_is_not_finite_never_reaches_the_parameters(saved):
    agent = Agent.load(saved)
    parameter = agent.world_model.reward_net[0].weight
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    before = parameter.detach().clone()
    with pytest.raises(FloatingPointError, match=r"grad_norm is (nan|inf) at update 50 "):
        agent.learn(20)
    torch.testing.assert_close(parameter, before, rtol=0, atol=0)


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path):
    """What follows is as if that batch had not been drawn: all streams go on."""
    agents = []
    for broken in (True, False):
        agent = Agent("RobotRoom-v0", SMALL, seed=0, device="cpu").learn(56)
        weight, before = agent.world_model.reward_net[0].weight, agent.progress.num_updates
        if broken:
            hook = weight.register_hook(lambda gradient: gradient * float("inf"))
            agent.learner.update(0.5)
            hook.remove()
        else:  # the same draws, without the step
            step, agent.learner.optimizer.step = agent.learner.optimizer.step, lambda: None
            agent.learner.update(0.5)
            agent.learner.optimizer.step = step
        for _ in range(3):
            agent.learner.update(0.5)
        assert agent.progress.num_updates == before + 4
        agents.append(agent)
    first, second = agents
    assert first.progress.skipped_updates == first.progress.metrics["skipped_updates"] == 1
    assert first.progress.skipped_in_a_row == second.progress.skipped_updates == 0
    for name, value in first.world_model.state_dict().items():
        torch.testing.assert_close(value, second.world_model.state_dict()[name], rtol=0, atol=0)
    first.save(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent").progress.skipped_updates == 1


@pytest.mark.slow
def test_the_agent_learns_to_reach_the_goal_as_no_blind_policy_does():
    """The README's demonstration, on fewer starts. Random and constant policies stay far below."""

    class Blind:
        def __init__(self, act):
            self.act = act

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.stack([self.act() for _ in observation]).astype(np.float32), None

    generator = np.random.default_rng(0)
    blind = [Blind(lambda: generator.uniform(-1, 1, 2))]
    blind += [Blind(lambda a=a: np.array(a)) for a in ((0.0, 0.0), (1.0, 1.0), (-1.0, 0.3))]
    best_blind = max(evaluate(p, "RobotRoom-v0", 50, TUNING_SEED).is_success.mean() for p in blind)
    agent = Agent("RobotRoom-v0", seed=0).learn(300)
    result = evaluate(agent, "RobotRoom-v0", 50, TUNING_SEED).summary()
    assert best_blind < 0.5
    assert result["success_rate"] > 0.95
    assert result["path_ratio"] < 1.25


def changed_config(saved, **changes):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def changed_settings(saved, section, **changes):
    agent = json.loads((saved / "config.json").read_text())["agent"]
    changed_config(saved, agent=agent | {section: agent[section] | changes})


def changed_replay(saved, **changes):
    with np.load(saved / "replay.npz") as arrays:
        kept = dict(arrays)
    np.savez(saved / "replay.npz", **(kept | changes))


def compressed(saved):
    np.savez_compressed(saved / "replay.npz", lengths=np.zeros(400_000_000, np.uint8))


def overlapping(saved):
    """One array under many names, by the directory at the end of the archive."""
    np.savez(saved / "replay.npz", lengths=np.zeros(1000))
    with zipfile.ZipFile(saved / "replay.npz", "a") as archive:
        first = archive.infolist()[0]
        for number in range(100):
            again = copy.copy(first)
            again.filename = f"{number}.npy"
            archive.filelist.append(again)
        archive._didModify = True


def changed_state(saved, **generators):
    path = saved / "state.safetensors"
    changes = {f"generators.{name}": value for name, value in generators.items()}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path) | changes, path)


def renamed_array(saved):
    np.save(saved / "replay.npy", np.zeros(3))
    (saved / "replay.npy").rename(saved / "replay.npz")


def huge_header(saved):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"
    with zipfile.ZipFile(saved / "replay.npz", "w") as archive:
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr("lengths.npy", magic + header + b"\n" * 8)


def nan_weights(saved):
    weights = load_file(saved / "model.safetensors")
    weights["reward_offset"] = torch.tensor(float("nan"))
    save_file(weights, saved / "model.safetensors")


def linked(saved, name, target):
    (saved / name).unlink()
    (saved / name).symlink_to(target)


def piped(saved):
    (saved / "model.safetensors").unlink()
    os.mkfifo(saved / "model.safetensors")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda a: (a / "config.json").write_text("[]"), "config.json: got list, allowed"),
        (lambda a: (a / "config.json").write_text("[" * 100_000), "config.json: missing, damaged"),
        (lambda a: changed_config(a, num_updates="x"), "json: num_updates: got 'x', allowed: int"),
        (lambda a: changed_config(a, seconds=-1), "seconds: got -1.0, allowed"),
        (lambda a: changed_config(a, outcomes=[1]), r"outcomes\[0\]: got 1, allowed: bool"),
        (lambda a: changed_config(a, metrics={"loss": "x"}), r"metrics\[...\]: got .*allowed: float"),
        (lambda a: changed_config(a, format_version=5, generators=-1), "missing, damaged"),
        (lambda a: changed_config(a, format_version=5, generators={"loss": [-1]}), "damaged .*bounds"),
        (lambda a: changed_state(a, replay=np.zeros(6, np.uint64)), "generator: got .*of a PCG64"),
        (lambda a: changed_state(a, replay=np.zeros(3)), "generator: got float64"),
        (lambda a: changed_state(a, control=np.zeros(3)), "do not belong together"),
        (lambda a: changed_config(a, agent=[]), r"agent: got \[\], allowed: object"),
        (
            lambda a: changed_settings(a, "world_model", latent_dim=10**6),
            "(world_model|model.safetensors): .*got",
        ),
        (
            lambda a: changed_settings(a, "world_model", hidden_dim=12_000),
            "(world_model|model.safetensors): .*got",
        ),
        (lambda a: changed_settings(a, "training", num_envs=20_000), "num_envs: got 20000"),
        (lambda a: changed_config(a, observation_space=5), "observation_space: got 5, allowed: object"),
        (lambda a: linked(a, "config.json", "/dev/zero"), "config.json: .*not a regular file"),
        (piped, "model.safetensors: .*not a regular file"),
        (nan_weights, "reward_offset: got NaN or infinity"),
        (compressed, "replay.npz: .*larger than the file"),
        (overlapping, "replay.npz: .*larger than the file"),
        (renamed_array, "replay.npz: missing, damaged"),
        (huge_header, r"replay.npz: .*an array \(1000000000000,\)"),
        (lambda a: changed_replay(a, lengths=np.array([-1])), "replay: lengths: got"),
        (lambda a: changed_replay(a, lengths=np.array([10**9])), "replay: frames: got"),
        (lambda a: changed_replay(a, frames=np.zeros((1, 2, 2, 3), np.uint8)), "replay: frames: got"),
        (lambda a: changed_replay(a, rewards=np.zeros(3)), "replay: rewards: got"),
    ],
)
def test_a_hostile_file_is_refused_before_memory_is_taken_for_it(saved, harm, message):
    harm(saved)
    with pytest.raises(ValueError, match=message) as caught:
        Agent.load(saved)
    assert str(saved) in str(caught.value)
