"""The suite of tasks that nobody here wrote, with small stand-ins for their packages."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.comparison import suite, two_room
from benchmarks.comparison.dm_control_suite import DmControl

STAND_IN = """
import gymnasium as gym
import numpy as np
import torch
from stable_worldmodel import spaces

class TwoRoomEnv(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode, render_target):
        assert render_target
        self.render_mode = render_mode
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Box(0.0, 224.0, (2,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = torch.as_tensor(spaces.draw(seed), dtype=torch.float32)
        return self.place, {}

    def step(self, action):
        self.place = self.place + 5.0 * torch.as_tensor(action)
        distance = float(torch.norm(self.place - 112.0))
        return self.place, 0.0, distance < 16.0, False, {"distance_to_target": distance}

    def render(self):
        return np.zeros((224, 224, 3), np.uint8)
"""
SPACES = """
import numpy as np
import stable_worldmodel as package

def draw(seed):
    return np.random.default_rng(seed).uniform(*package.utils.ENDS, 2)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package like stable-worldmodel, whose `__init__` needs what is not installed."""
    inner = tmp_path / "stable_worldmodel" / "envs" / "two_room"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, inner.parent.parent):
        (folder / "__init__.py").write_text("import a_package_of_six_gigabytes")
    (inner / "env.py").write_text(STAND_IN)
    (inner.parent.parent / "spaces.py").write_text(SPACES)
    (inner.parent.parent / "utils.py").write_text("ENDS = (14.0, 210.0)")
    for name in [name for name in sys.modules if name.startswith("stable_worldmodel")]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("stable_worldmodel"):
            del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_two_rooms_have_rewards_of_their_own() -> None:
    for env_id in (two_room.DISTANCE, two_room.ARRIVAL):
        env = gym.make(env_id)
        place, _ = env.reset(seed=0)
        rewards, terminated = [], False
        while not terminated:
            towards = (112.0 - place) / (112.0 - place).abs().max()
            place, reward, terminated, _, info = env.step(towards.numpy())
            assert info["is_success"] == terminated
            distance = np.linalg.norm(np.asarray(place) - 112.0)
            expected = -distance / 224 if env_id == two_room.DISTANCE else float(distance < 16)
            assert reward == pytest.approx(expected, abs=1e-5)
            rewards.append(reward)
        assert len(rewards) > 3


@pytest.mark.usefixtures("package")
def test_later_starts_depend_on_the_seed_alone() -> None:
    def starts(seed: int) -> Any:
        env = gym.make(two_room.ARRIVAL)
        first = env.reset(seed=seed)[0]
        return [first.tolist(), *(env.reset()[0].tolist() for _ in range(5))]

    assert starts(3) == starts(3)
    assert starts(3)[1:] != starts(4)[1:]
    assert len({tuple(start) for start in starts(3)}) == 6


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, two_room.PACKAGE, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install"):
        gym.make(two_room.DISTANCE)


def test_tasks_of_dm_control(monkeypatch: pytest.MonkeyPatch) -> None:
    class Physics:
        def render(self, height: int, width: int, camera_id: int) -> Any:
            return np.full((height, width, 3), camera_id, np.uint8)

    class Inner:
        physics = Physics()

        def __init__(self, random: np.random.RandomState) -> None:
            self.random = random

        def action_spec(self) -> Any:
            return SimpleNamespace(minimum=np.full(2, -1.0), maximum=np.full(2, 1.0))

        def observation_spec(self) -> Any:
            return {"position": np.zeros(2), "speed": np.zeros(())}

        def reset(self) -> Any:
            self.steps, self.place = 0, self.random.uniform(-1, 1, 2)
            return self._now(None)

        def step(self, action: Any) -> Any:
            self.steps, self.place = self.steps + 1, self.place + action
            return self._now(float(np.abs(self.place).max() < 0.5))

        def _now(self, reward: float | None) -> Any:
            observation = {"position": self.place, "speed": np.float64(self.steps)}
            last = self.steps == 4
            return SimpleNamespace(
                observation=observation, reward=reward, discount=1.0, last=lambda: last
            )

        def close(self) -> None:
            pass

    module = ModuleType("dm_control.suite")
    vars(module)["load"] = lambda domain, task, task_kwargs: Inner(**task_kwargs)
    monkeypatch.setitem(sys.modules, "dm_control", ModuleType("dm_control"))
    monkeypatch.setitem(sys.modules, "dm_control.suite", module)
    env, again = DmControl("reacher", "easy"), DmControl("reacher", "easy")
    first = env.reset(seed=1)[0]
    np.testing.assert_array_equal(first, again.reset(seed=1)[0])
    np.testing.assert_array_equal(env.reset()[0], again.reset()[0])
    assert not np.array_equal(env.reset()[0], first)
    assert env.render().shape == (64, 64, 3)
    ends = []
    for _ in range(4):
        observation, reward, terminated, truncated, _ = env.step(np.ones(2, np.float32))
        assert env.observation_space.contains(observation)
        assert isinstance(reward, float)
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 3 + [(False, True)]


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="env_ids"):
        suite.Suite(env_ids=("Ant-v5",))
