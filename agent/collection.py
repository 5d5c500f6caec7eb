"""Stepping a vector environment, whatever its autoreset mode, and keeping its episodes."""

import copy
import json
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from agent.replay import Episode, Replay

Frames = NDArray[np.uint8]
Actions = NDArray[np.float32]

MAKE_ARGUMENTS = (
    *("num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "render_mode"),
    *("autoreset_mode", "copy"),
)
"""Of `gym.make`, `gym.make_vec` and native vector environments; a spec may keep them among its own."""


class FinishedEpisode(NamedTuple):
    """The outcome of one episode."""

    length: int
    episode_return: float
    is_success: bool | None  # None where the environment does not say


def as_vector_env(
    env: str | EnvSpec | gym.Env[Any, Any] | VectorEnv[Any, Any, Any], num_envs: int
) -> VectorEnv[Any, Any, Any]:
    """An id or a spec as `num_envs` environments in step, a single environment as a batch of one.

    Raises:
        ValueError: no environment is registered under the id.
    """
    mode = AutoresetMode.DISABLED
    if isinstance(env, str | EnvSpec):
        try:
            return gym.make_vec(env, num_envs, "sync", vector_kwargs={"autoreset_mode": mode})
        except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
            raise ValueError(
                f"env: got {env!r}, allowed: a registered id; import the package that registers it, "
                f'or name it too: "robot_room:RobotRoom-v0" ({error})'
            ) from error
    if isinstance(env, VectorEnv):
        return env
    return SyncVectorEnv([lambda: env], autoreset_mode=mode)


def single_spec(env: VectorEnv[Any, Any, Any]) -> EnvSpec | None:
    """What makes one of the environments again, arguments included; None if nothing tells."""
    spec = copy.deepcopy(env.envs[0].spec if isinstance(env, SyncVectorEnv) else env.spec)
    if spec is None:
        return None
    for name in MAKE_ARGUMENTS:
        spec.kwargs.pop(name, None)
    limit = spec.kwargs.pop("max_episode_steps", spec.max_episode_steps)
    spec.max_episode_steps = limit
    try:
        return EnvSpec.from_json(spec.to_json())
    except (TypeError, ValueError, AttributeError):  # a callable entry point, arguments beyond JSON
        return None


TOLD_BY_A_FILE = ("id", "kwargs", "max_episode_steps")


def registered_spec(stored: Any) -> EnvSpec:
    """The spec that a file names, as it is registered here, with the file's arguments and step limit.

    A file may come from a stranger. So nothing that it names is imported or called: its id is looked
    up among the environments that are registered already, and whatever else it says must be what is
    registered.

    Args:
        stored: `EnvSpec.to_json`, as a checkpoint keeps it.

    Raises:
        ValueError: it is no such spec, its id is not registered, or it differs in more than arguments
            and step limit.
    """
    way_out = "pass env= to choose the environment yourself"
    try:
        told = json.loads(stored)
        name, kwargs, limit = (told[key] for key in TOLD_BY_A_FILE)
        whole = limit is None or (type(limit) is int and limit >= 1)
        if not (isinstance(name, str) and isinstance(kwargs, dict) and whole):
            raise TypeError(f"id {name!r}, kwargs {kwargs!r}, max_episode_steps {limit!r}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"env_spec: got {stored!r:.200} ({problem}), allowed: a spec as JSON"
        ) from error
    refused = sorted(set(MAKE_ARGUMENTS) & set(kwargs))
    if refused:
        raise ValueError(
            f"env_spec: got arguments {refused}, allowed: only the environment's; {way_out}"
        )
    if name not in gym.registry:
        raise ValueError(
            f"env_spec: got id {name!r}, allowed: one that is registered; import the package that "
            f"registers it first, or {way_out}"
        )
    spec = copy.deepcopy(gym.registry[name])
    spec.kwargs = kwargs
    spec.max_episode_steps = limit
    if not isinstance(spec.entry_point, str):  # such a spec cannot be written, so none was
        allowed = f"one with an entry point by name; {way_out}"
        raise ValueError(f"env_spec: got id {name!r}, allowed: {allowed}")
    for key, value in json.loads(spec.to_json()).items():
        if key not in TOLD_BY_A_FILE and told.get(key, value) != value:
            raise ValueError(
                f"env_spec: got {key} {told[key]!r:.200} for {name!r}, allowed: {value!r}, as it is "
                f"registered; {way_out}"
            )
    return spec


def importable_id(spec: EnvSpec) -> str:
    """Its id with the package that registers it, "package:Name-v0"."""
    assert isinstance(spec.entry_point, str)
    return f"{spec.entry_point.split(':')[0].split('.')[0]}:{spec.id}"


def scale_actions(space: gym.spaces.Box, actions: Actions) -> Actions:
    """Actions in [−1, 1] to those of a bounded space, (N, A)."""
    scaled = space.low + 0.5 * (actions + 1) * (space.high - space.low)
    return np.clip(scaled, space.low, space.high).astype(np.float32)


class Collector:
    """Acts in a vector environment and writes its episodes into a replay.

    Attributes:
        frames: what the cameras see now, (N, H, W, C).
        episode_start: environments whose episode starts with these frames, (N,).
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], replay: Replay, seed: int, longest: int = 2**31
    ) -> None:
        self.env, self.replay, self.longest = env, replay, longest
        self.mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.frames: Frames = env.reset(seed=seed)[0]
        self.episode_start = np.ones(env.num_envs, np.bool_)
        self._resetting = np.zeros(env.num_envs, np.bool_)  # NEXT_STEP: this step only resets
        self._episodes: list[Episode] = [replay.start(frame.copy()) for frame in self.frames]

    def step(self, actions: Actions) -> tuple[int, list[FinishedEpisode]]:
        """Take one step in each environment, with actions in [−1, 1]^A.

        Returns:
            How many steps were taken (one that only resets takes none), and what has finished.
        """
        space = self.env.single_action_space
        assert isinstance(space, gym.spaces.Box)
        acted = ~self._resetting
        frames, rewards, terminated, truncated, infos = self.env.step(scale_actions(space, actions))
        done = (terminated | truncated) & acted
        finished = []
        for i in np.flatnonzero(acted).tolist():
            replaced = self.mode == AutoresetMode.SAME_STEP and done[i]
            frame = np.array(infos["final_obs"][i] if replaced else frames[i])
            self.replay.append(self._episodes[i], actions[i].copy(), float(rewards[i]), frame)
            if done[i]:
                finished.append(self._finished(i, infos))

        starting = done
        if self.mode == AutoresetMode.NEXT_STEP:
            starting, self._resetting = self._resetting, done
        elif self.mode == AutoresetMode.DISABLED:
            starting = done | np.array([len(e.actions) >= self.longest for e in self._episodes])
            if starting.any():
                frames, _ = self.env.reset(options={"reset_mask": starting})
        for i in np.flatnonzero(starting):
            self._episodes[i] = self.replay.start(np.array(frames[i]))
        self.frames, self.episode_start = frames, starting
        return int(acted.sum()), finished

    def _finished(self, i: int, infos: dict[str, Any]) -> FinishedEpisode:
        if self.mode == AutoresetMode.SAME_STEP:
            infos = infos.get("final_info", {})
        said = "is_success" in infos and bool(infos.get("_is_success", np.ones(i + 1))[i])
        rewards = self._episodes[i].rewards
        is_success = bool(infos["is_success"][i]) if said else None
        return FinishedEpisode(len(rewards), sum(rewards), is_success)
