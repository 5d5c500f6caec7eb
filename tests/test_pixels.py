"""Any environment as a task from pixels."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from PIL import Image

from agent import Agent, AgentConfig, pixels
from agent.collection import registered_spec
from agent.learner import TrainingConfig
from agent.pixels import scaled
from robot_room.app.evaluation.protocol import TUNING_SEED, evaluate

FEW = AgentConfig(training=TrainingConfig(random_steps=24, updates_per_step=0.1, num_envs=2))


class Painter(gym.Env):
    """Its image is as bright as the number of its steps; its observation is that number."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))

    def __init__(self, render_mode=None, image=None, step_reward=1.0):
        self.count, self.image, self.step_reward = 0, image, step_reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.full(1, self.count, np.float32), self.step_reward, self.count >= 10, False, {}

    def render(self):
        return np.full((90, 120, 3), self.count, np.uint8) if self.image is None else self.image


gym.register(
    "Painter-v0", "tests.test_pixels:Painter" if "tests" in sys.modules else f"{__name__}:Painter"
)


def test_frames_are_stacked_rewards_added_and_the_observation_is_kept():
    env = gym.make(pixels("Painter-v0", size=16, frame_repeat=3, frames=2))
    frame, info = env.reset(seed=0)
    assert env.observation_space.contains(frame) and frame.shape == (16, 16, 6) and (frame == 0).all()
    frame, reward, terminated, truncated, info = env.step(np.zeros(1, np.float32))
    assert (frame[..., :3] == 0).all() and (frame[..., 3:] == 3).all()
    assert reward == 3 and info["observation"] == 3 and not (terminated or truncated)
    for _ in range(2):
        env.step(np.zeros(1, np.float32))
    _, reward, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert reward == 1 and terminated and info["observation"] == 10  # it ended within the repeats
    assert env.render().shape == (90, 120, 3)


def test_images_are_scaled_as_a_library_does():
    image = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    other = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX))
    assert np.abs(scaled(image, 64).astype(int) - other.astype(int)).max() <= 1
    assert scaled(image[:64, :64], 64) is not None and np.array_equal(
        scaled(image[:64, :64], 64), image[:64, :64]
    )


@pytest.mark.parametrize(
    "env_id", ["Pendulum-v1", "CartPole-v1", "MountainCarContinuous-v0", "Acrobot-v1"]
)
def test_classic_environments_are_learned_saved_and_made_again(env_id, tmp_path):
    agent = Agent(pixels(env_id, frames=2), FEW, seed=0, device="cpu").learn(40)
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    assert again.env_id == "agent:Pixels-v0" and again.env_spec.kwargs["env_id"] == env_id
    frame, _ = gym.make(again.env_spec).reset(seed=1)
    action, _ = again.predict(frame)
    assert np.array_equal(action, agent.predict(frame)[0]) and agent.action_space.contains(action)


def test_the_same_seed_gives_the_same_frames():
    first, second = (gym.make(pixels("Pendulum-v1")) for _ in range(2))
    assert np.array_equal(first.reset(seed=3)[0], second.reset(seed=3)[0])
    assert not np.array_equal(first.reset(seed=4)[0], second.reset(seed=3)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "Nothing-v0"}, "env_id: got 'Nothing-v0'"),
        ({"env_id": "never_imported:Painter-v0"}, "whose package was imported before"),
        ({"env_id": "Pixels-v0"}, "an environment of its own"),
        ({"env_id": "GymV26Environment-v0", "env_kwargs": {"env_id": "os:x"}}, "env_id: got 'GymV26"),
        ({"env_id": 3}, "env_id: got 3"),
        ({"env_id": "Painter-v0", "size": 8}, "size: got 8"),
        ({"env_id": "Painter-v0", "frame_repeat": 0}, "frame_repeat: got 0"),
        ({"env_id": "Painter-v0", "frames": 17}, "frames: got 17"),
        ({"env_id": "Painter-v0", "env_kwargs": {"no": 1}}, "env_id: got 'Painter-v0' .TypeError"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pixels(**arguments)
    assert "never_imported" not in sys.modules


def test_a_file_that_asks_for_larger_images_is_refused_before_a_model_is_made(tmp_path, monkeypatch):
    Agent(pixels("Pendulum-v1"), FEW, seed=0, device="cpu").save(tmp_path / "agent")
    path = tmp_path / "agent" / "config.json"
    saved = json.loads(path.read_text())
    spec = json.loads(saved["env_spec"])
    spec["kwargs"]["size"] = 512
    path.write_text(json.dumps(saved | {"env_spec": json.dumps(spec)}))
    monkeypatch.setattr(Agent, "__init__", None)
    with pytest.raises(ValueError, match=r"observation_space: got .*512.* allowed: .*64.* as saved"):
        Agent.load(tmp_path / "agent")


def test_environments_that_import_others_by_name_are_refused(monkeypatch):
    """As shimmy registers those of Gymnasium's predecessor."""
    spec = EnvSpec("Old-v0", entry_point="shimmy.openai_gym_compatibility:GymV26CompatibilityV0")
    monkeypatch.setitem(gym.registry, "Old-v0", spec)
    with pytest.raises(ValueError, match="an environment of its own"):
        pixels("Old-v0", env_kwargs={"env_id": "os:x"})
    stored = json.dumps(json.loads(spec.to_json()) | {"kwargs": {"env_id": "os:x"}})
    with pytest.raises(ValueError, match="and of its own"):
        registered_spec(stored)


GOAL_IMAGE = "RobotRoomGoalImage-v0"


def test_images_of_a_dictionary_are_one_frame():
    """Scaled and stacked like the camera's, each in its channels."""
    keys = ["desired_goal", "observation"]
    env = gym.make(pixels(GOAL_IMAGE, size=32, frames=2, keys=keys))
    frame, info = env.reset(seed=3)
    assert env.observation_space.contains(frame) and frame.shape == (32, 32, 12)
    now = [scaled(info["observation"][key], 32) for key in keys]
    assert (frame == np.concatenate([*now, *now], -1)).all()
    later, _, _, _, info = env.step(np.ones(2, np.float32))
    now = [scaled(info["observation"][key], 32) for key in keys]
    assert (later == np.concatenate([frame[..., 6:], *now], -1)).all()
    assert (later[..., 9:] != frame[..., 9:]).any() and (later[..., 6:9] == frame[..., 6:9]).all()


@pytest.mark.parametrize(
    "keys", [["goal"], ["observation", "observation"], "observation", [3], [["observation"]]]
)
def test_what_is_no_image_of_a_dictionary_is_refused(keys):
    with pytest.raises(ValueError, match=r"keys: got .*allowed: several of \['achieved_goal'"):
        pixels(GOAL_IMAGE, keys=keys)
    with pytest.raises(ValueError, match=r"keys: got .*allowed: several of \[\]"):
        pixels("Pendulum-v1", keys=["camera"])


@pytest.mark.slow
def test_a_goal_told_by_an_image_is_found(tmp_path):
    spec = pixels(GOAL_IMAGE, keys=["desired_goal", "observation"])
    agent = Agent(spec, seed=0, device="cpu").learn(304)
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    result = evaluate(again, again.env_spec, 20, TUNING_SEED, timed=False)
    assert result.is_success.sum() >= 18  # random actions find few


def test_what_draws_no_image_is_refused():
    env = gym.make(pixels("Painter-v0", env_kwargs={"image": "none"}))
    with pytest.raises(ValueError, match="from render"):
        env.reset()
