"""Tasks of dm_control as Gymnasium environments: `dm_control/cartpole-swingup-v0` and others.

`pip install dm_control==1.0.50 "mujoco<4"`; it draws by EGL where there is no screen.
"""

import importlib
import os
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

TASKS = (
    ("point_mass", "easy"),
    ("reacher", "easy"),
    ("cartpole", "swingup"),
    ("cartpole", "swingup_sparse"),
    ("finger", "spin"),
)
MAX_EPISODE_STEPS = 1000
"""As in dm_control, whose tasks never terminate."""


class DmControl(gym.Env[NDArray[np.float64], NDArray[np.float32]]):
    """One task of dm_control's suite; it observes the parts of its state, one after the other.

    Args:
        domain: the first word of the task's name.
        task: the rest.
        render_mode: "rgb_array" or None; both are the same.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, domain: str, task: str, render_mode: str | None = "rgb_array") -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")
        suite = importlib.import_module("dm_control.suite")
        self.render_mode = render_mode
        self._starts = np.random.RandomState()
        self._env: Any = suite.load(domain, task, task_kwargs={"random": self._starts})
        actions = self._env.action_spec()
        self.action_space = gym.spaces.Box(
            actions.minimum.astype(np.float32), actions.maximum.astype(np.float32)
        )
        size = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._starts.seed(self.np_random.integers(2**32))
        return _joined(self._env.reset().observation), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], SupportsFloat, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        after = self._env.step(action)
        ended = after.last() and after.discount == 0
        return _joined(after.observation), float(after.reward), ended, after.last() and not ended, {}

    def render(self) -> NDArray[np.uint8]:
        """What camera 0 sees."""
        return self._env.physics.render(64, 64, camera_id=0)

    def close(self) -> None:
        """See `gymnasium.Env.close`."""
        self._env.close()


def _joined(observation: dict[str, Any]) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(part) for part in observation.values()])


for _domain, _task in TASKS:
    gym.register(
        f"dm_control/{_domain}-{_task}-v0",
        f"{__name__}:{DmControl.__name__}",
        max_episode_steps=MAX_EPISODE_STEPS,
        disable_env_checker=True,
        kwargs={"domain": _domain, "task": _task},
    )
