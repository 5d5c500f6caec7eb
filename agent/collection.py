"""Data collection: step a vector environment in any autoreset mode and store its episodes."""

import copy
import json
from typing import Annotated, Any, Literal, NamedTuple

import gymnasium as gym
import msgspec
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from msgspec import Meta
from numpy.typing import NDArray

from agent import environment_state
from agent.actions import scale_actions, served
from agent.pixels import imports_others
from agent.replay import Episode, Replay

Frames = NDArray[np.uint8]
Actions = NDArray[np.float32]

MAKE_ARGUMENTS = (
    *("num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "render_mode"),
    *("autoreset_mode", "copy"),
)
"""Arguments of `gym.make`, `gym.make_vec` and vector environments, not of the environment."""


class FinishedEpisode(NamedTuple):
    """The outcome of one episode."""

    length: int
    episode_return: float
    is_success: bool | None  # None if the environment does not report it


def as_vector_env(
    env: str | EnvSpec | gym.Env[Any, Any] | VectorEnv[Any, Any, Any], num_envs: int
) -> VectorEnv[Any, Any, Any]:
    """Make `num_envs` environments from an id or a spec; wrap a single environment as a batch of one.

    Raises:
        ValueError: no environment is registered under the id.
    """
    mode = AutoresetMode.DISABLED
    if isinstance(env, str | EnvSpec):
        try:
            return gym.make_vec(env, num_envs, "sync", vector_kwargs={"autoreset_mode": mode})
        except (gym.error.Error, ModuleNotFoundError) as error:
            raise ValueError(
                f"env: got {env!r}, allowed: a registered id; import the package that registers it, "
                f'or name it too: "robot_room:RobotRoom-v0" ({error})'
            ) from error
    if isinstance(env, VectorEnv):
        return env
    if not isinstance(env, gym.Env):
        allowed = "an id, a spec, an environment or a vector environment"
        raise ValueError(f"env: got {env!r:.200}, allowed: {allowed}")
    return SyncVectorEnv([lambda: env], autoreset_mode=mode)


def single_spec(env: VectorEnv[Any, Any, Any]) -> EnvSpec | None:
    """The spec of one of the environments, with its arguments; None if unavailable."""
    spec = copy.deepcopy(env.envs[0].spec if isinstance(env, SyncVectorEnv) else env.spec)
    if spec is None:
        return None
    for name in MAKE_ARGUMENTS:
        spec.kwargs.pop(name, None)
    limit = spec.kwargs.pop("max_episode_steps", spec.max_episode_steps)
    spec.max_episode_steps = limit
    spec.kwargs = plain(spec.kwargs)
    try:
        return EnvSpec.from_json(spec.to_json())
    except (TypeError, ValueError, AttributeError):  # a callable entry point, or arguments not in JSON
        return None


def plain(value: Any) -> Any:
    """Nested arguments of an environment with Python's numbers and lists instead of numpy's."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value) if type(value) in (list, tuple) else value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value


def as_registered(env: VectorEnv[Any, Any, Any]) -> bool:
    """Whether the environment is what its spec makes: equal ones, in `gym.make`'s own wrappers."""
    if isinstance(env, SyncVectorEnv):
        first = env.envs[0].spec
        return first is not None and all(each.spec == first and _bare(each) for each in env.envs)
    spec = env.spec
    return env.unwrapped is env and spec is not None and not spec.kwargs.get("wrappers")


def _bare(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment has no other wrappers than `gym.make` adds, each once at most."""
    for kind in (TimeLimit, OrderEnforcing, PassiveEnvChecker):
        if type(env) is kind:
            env = env.env
    return not isinstance(env, gym.Wrapper)


class SavedVectorEnv(msgspec.Struct):
    """The form of a vector environment, in a file."""

    num_envs: Annotated[int, Meta(ge=1, le=4096)]
    native: bool
    """Whether it is the registered vector environment; if not, it is a `SyncVectorEnv`."""
    autoreset_mode: Literal["NextStep", "SameStep", "Disabled"] | None
    """None: the native one's default."""


def described(env: VectorEnv[Any, Any, Any]) -> SavedVectorEnv:
    """The form of a vector environment."""
    told = {} if env.spec is None else env.spec.kwargs
    native = told.get("vectorization_mode") == "vector_entry_point"
    mode = None
    if not native or "autoreset_mode" in told:
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP).value
    return SavedVectorEnv(env.num_envs, native, mode)


def remade(spec: EnvSpec, form: SavedVectorEnv) -> VectorEnv[Any, Any, Any]:
    """A vector environment of this form."""
    mode: dict[str, Any] = {}
    if form.autoreset_mode is not None:
        mode["autoreset_mode"] = AutoresetMode(form.autoreset_mode)
    if form.native:
        return gym.make_vec(spec, form.num_envs, "vector_entry_point", **mode)
    return gym.make_vec(spec, form.num_envs, "sync", vector_kwargs=mode)


TOLD_BY_A_FILE = ("id", "kwargs", "max_episode_steps")


def registered_spec(stored: Any) -> EnvSpec:
    """The registered spec that a file names, with the file's arguments and step limit.

    The file is untrusted, so nothing it names is imported or called: its id must already be
    registered, and all other fields must equal the registered ones.

    Args:
        stored: the output of `EnvSpec.to_json`, as stored in a checkpoint.

    Raises:
        ValueError: it is not a spec, its id is not registered, or it differs from the registered spec
            in more than arguments and step limit.
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
    if not isinstance(spec.entry_point, str) or imports_others(spec):  # the first cannot be saved
        allowed = f"one with an entry point by name, and of its own; {way_out}"
        raise ValueError(f"env_spec: got id {name!r}, allowed: {allowed}")
    for key, value in json.loads(spec.to_json()).items():
        if key not in TOLD_BY_A_FILE and told.get(key, value) != value:
            raise ValueError(
                f"env_spec: got {key} {told[key]!r:.200} for {name!r}, allowed: {value!r}, as it is "
                f"registered; {way_out}"
            )
    return spec


def importable_id(spec: EnvSpec) -> str:
    """The id prefixed by the package that registers it, "package:Name-v0"."""
    assert isinstance(spec.entry_point, str)
    return f"{spec.entry_point.split(':')[0].split('.')[0]}:{spec.id}"


class Collector:
    """Acts in a vector environment and stores its episodes in a replay.

    Attributes:
        action_space: of one environment.
        frames: the current frames, (N, H, W, C).
        episode_start: whether each frame starts an episode, (N,).
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], replay: Replay, seed: int, longest: int = 2**31
    ) -> None:
        self.env, self.replay, self.longest = env, replay, longest
        self.action_space = served(env.single_action_space)
        self.mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.frames: Frames = env.reset(seed=seed)[0]
        self.episode_start = np.ones(env.num_envs, np.bool_)
        self._resetting = np.zeros(env.num_envs, np.bool_)  # NEXT_STEP: the next step only resets
        replay.finish_all()
        self._episodes: list[Episode] = [replay.start(frame.copy(), open=True) for frame in self.frames]

    def state(self) -> dict[str, Any]:
        """Where the collection stands, beside its replay, in nested plain values and arrays.

        `environment` is None if the environment cannot give its state; see `agent.environment_state`.
        """
        numbers = {id(episode): number for number, episode in enumerate(self.replay.episodes)}
        return {
            "frames": np.array(self.frames),
            "episode_start": self.episode_start.copy(),
            "resetting": self._resetting.copy(),
            "episodes": np.array([numbers[id(episode)] for episode in self._episodes]),
            "environment": environment_state.get_state(self.env),
        }

    @classmethod
    def resumed(
        cls, env: VectorEnv[Any, Any, Any], replay: Replay, longest: int, state: dict[str, Any]
    ) -> "Collector":
        """Continue from a `state`, with the replay of that moment.

        Raises:
            KeyError: a part is missing.
            ValueError: it is not a state of such an environment and replay. The replay is unchanged.
        """
        if state["environment"] is None:
            raise ValueError("environment: got no get_state and set_state")
        collector = cls(env, Replay(1), 0, longest)
        frames, episodes = state["frames"], state["episodes"]
        collector.replay, count = replay, env.num_envs
        opened = [number for number, episode in enumerate(replay.episodes) if episode.open]
        for name, like in (
            ("frames", collector.frames),
            ("episode_start", collector.episode_start),
            ("resetting", collector._resetting),
            ("episodes", np.zeros(count, np.int64)),
        ):
            if state[name].shape != like.shape or state[name].dtype != like.dtype:
                got = f"{state[name].dtype} {state[name].shape}"
                raise ValueError(f"{name}: got {got}, allowed: {like.dtype} {like.shape}")
        if sorted(episodes.tolist()) != opened:
            got = episodes.tolist()
            raise ValueError(f"episodes: got {got}, allowed: the open ones of the replay, {opened}")
        environment_state.set_state(env, state["environment"])
        collector.frames, collector.episode_start = frames, state["episode_start"]
        collector._resetting = state["resetting"]
        collector._episodes = [replay.episodes[number] for number in episodes.tolist()]
        return collector

    def step(self, actions: Actions, longest: int | None = None) -> tuple[int, list[FinishedEpisode]]:
        """Take one step in each environment, with actions in [−1, 1]^A.

        Args:
            actions: (N, A).
            longest: steps after which an episode is cut off, if fewer than always.

        Returns:
            The number of steps taken (a reset does not count), and the episodes that finished.
        """
        acted = ~self._resetting
        frames, rewards, terminated, truncated, infos = self.env.step(
            scale_actions(self.action_space, actions)
        )
        done = (terminated | truncated) & acted
        finished = []
        for i in np.flatnonzero(acted).tolist():
            replaced = self.mode == AutoresetMode.SAME_STEP and done[i]
            frame = np.array(infos["final_obs"][i] if replaced else frames[i])
            step = actions[i].copy(), float(rewards[i]), frame, bool(terminated[i])
            self.replay.append(self._episodes[i], *step)
            if done[i]:
                finished.append(self._finished(i, infos))

        starting = done
        if self.mode == AutoresetMode.NEXT_STEP:
            starting, self._resetting = self._resetting, done
        elif self.mode == AutoresetMode.DISABLED:
            longest = self.longest if longest is None else min(self.longest, longest)
            starting = done | np.array([len(e.actions) >= longest for e in self._episodes])
            if starting.any():
                frames, _ = self.env.reset(options={"reset_mask": starting})
        for i in np.flatnonzero(starting):
            self._episodes[i].open = False
            self._episodes[i] = self.replay.start(np.array(frames[i]), open=True)
        self.frames, self.episode_start = frames, starting
        return int(acted.sum()), finished

    def _finished(self, i: int, infos: dict[str, Any]) -> FinishedEpisode:
        if self.mode == AutoresetMode.SAME_STEP:
            infos = infos.get("final_info", {})
        said = "is_success" in infos and bool(infos.get("_is_success", np.ones(i + 1))[i])
        rewards = self._episodes[i].rewards
        is_success = bool(infos["is_success"][i]) if said else None
        return FinishedEpisode(len(rewards), sum(rewards), is_success)
