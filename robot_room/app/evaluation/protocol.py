"""Evaluation of a policy: fixed starts, complete episodes, results relative to the optimum."""

import copy
import importlib
import json
import math
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from robot_room import checking, layouts, oracle
from robot_room.room import RoomParams

HELD_OUT_SEED = 1_000_000
"""Episode i of an evaluation starts from `reset(seed=HELD_OUT_SEED + i)`. Nothing was tuned on
these starts."""
TUNING_SEED = 5_000
"""The starts that development may look at."""
NUM_ENVS = 50  # environments stepped together
MOST_EPISODES = 10**8
LONGEST_EPISODE = 1_000  # steps, of environments that have no limit of their own


class Policy(Protocol):
    """Interface of a policy; `Agent` and all models of stable-baselines3 implement it."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions (N, A) for observations (N, …), and the state for the next call."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Raw scores of E episodes, each (E,)."""

    env_id: str
    env_kwargs: dict[str, Any]
    seed: int
    is_success: NDArray[np.bool_]
    steps: NDArray[np.int64]
    returns: NDArray[np.float64]
    oracle_steps: NDArray[np.int64] | None  # optimal number, if known
    decision_ms: float  # median time per action, one environment; NaN if it was not timed

    def summary(self) -> dict[str, Any]:
        """The figures of `evaluate --json`. A failed episode counts with all the steps it took.

        `path_ratio` is the mean over episodes of steps / optimal steps; 1 is optimal. `spl` is success
        weighted by path length (arXiv 1807.06757): the mean over episodes of success · optimal steps /
        steps; 1 is optimal, 0 never arrives.
        """
        ratio = spl = None
        if self.oracle_steps is not None:
            ratio = round(float(np.mean(self.steps / self.oracle_steps)), 4)
            spl = round(float(np.mean(self.is_success * self.oracle_steps / self.steps)), 4)
        return {
            "env_id": self.env_id,
            "env_kwargs": self.env_kwargs,
            "episodes": len(self.steps),
            "seed": self.seed,
            "success_rate": float(self.is_success.mean()),
            "mean_steps": round(float(self.steps.mean()), 4),
            "path_ratio": ratio,
            "spl": spl,
            "mean_return": round(float(self.returns.mean()), 4),
            "decision_ms": round(self.decision_ms, 3),
        }


def env_spec(env_id: str, kwargs: str = "{}") -> EnvSpec:
    """The spec of a registered id ("package:Name-v0" too) with other arguments, a JSON object.

    Raises:
        ValueError: the id is not registered, or `kwargs` is not a JSON object.
    """
    import_package(env_id)
    try:
        spec = gym.spec(env_id.rpartition(":")[2])
    except gym.error.Error as error:
        raise ValueError(f"env: got {env_id!r}, allowed: a registered id ({error})") from error
    return with_kwargs(spec, kwargs)


def import_package(env_id: str) -> None:
    """Import the package named before the colon of an id, so that it registers its environments.

    Loading an agent imports nothing, so the package of its environment must be imported first.

    Raises:
        ValueError: there is no such package.
    """
    package = env_id.rpartition(":")[0]
    try:
        if package:
            importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ValueError(f"env: got {env_id!r}, allowed: a registered id ({error})") from error


def with_kwargs(spec: EnvSpec, kwargs: str) -> EnvSpec:
    """The spec with other arguments, a JSON object.

    Raises:
        ValueError: `kwargs` is not a JSON object.
    """
    spec = copy.deepcopy(spec)
    try:
        changes = json.loads(kwargs)
        if not isinstance(changes, dict):
            raise TypeError(f"it is a {type(changes).__name__}")
        spec.kwargs |= changes
    except (ValueError, TypeError) as error:
        raise ValueError(f"env_kwargs: got {kwargs}, allowed: a JSON object ({error})") from error
    return spec


def limited(spec: EnvSpec) -> EnvSpec:
    """The same environment, with a limit of steps where it has none, so that each episode ends."""
    return spec if spec.max_episode_steps else replace(spec, max_episode_steps=LONGEST_EPISODE)


def evaluate(
    policy: Policy,
    env: str | EnvSpec,
    episodes: int,
    seed: int = HELD_OUT_SEED,
    deterministic: bool = True,
    timed: bool = True,
) -> Evaluation:
    """Run `episodes` complete episodes; episode i starts from `reset(seed=seed + i)`.

    Where the environment has no limit of steps, an episode ends after `LONGEST_EPISODE`.

    Args:
        policy: the policy to evaluate.
        env: a registered id, or a spec.
        episodes: number of episodes.
        seed: seed of the first start.
        deterministic: passed to `predict`; some policies do better with their noise.
        timed: whether to time decisions, too.

    Raises:
        ValueError: episodes is no whole number of at least 1, or seed none of at least 0.
    """
    episodes = checking.whole("episodes", episodes, 1, MOST_EPISODES)
    seed = checking.whole("seed", seed, 0, 2**62)
    if not isinstance(env, str | EnvSpec):
        raise ValueError(f"env: got {env!r:.200}, allowed: a registered id, or a spec")
    spec = limited(env if isinstance(env, EnvSpec) else env_spec(env))
    success, steps, returns, best = _run_episodes(policy, spec, episodes, seed, deterministic)
    decision_ms = _decision_ms(policy, spec, seed) if timed else math.nan
    known = best if (best > 0).all() else None
    return Evaluation(spec.id, spec.kwargs, seed, success, steps, returns, known, decision_ms)


def _run_episodes(
    policy: Policy, spec: EnvSpec, episodes: int, seed: int, deterministic: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Success, steps, return and optimal steps (0: unknown) of each episode.

    An environment whose episode is over starts the next one, so that none waits for the slowest.
    """
    rooms = min(NUM_ENVS, episodes)
    env, params = _rooms(spec, rooms)
    success, steps = np.zeros(episodes, np.bool_), np.zeros(episodes, np.int64)
    returns, best = np.zeros(episodes), np.zeros(episodes, np.int64)
    episode = np.arange(rooms)  # of each environment; numbers past the last episode are not counted
    observation, info = env.reset(seed=(seed + episode).tolist())
    best[episode] = oracle_steps(info, params, rooms)
    state, start = None, np.ones(rooms, np.bool_)
    while (episode < episodes).any():
        action, state = policy.predict(observation, state, start, deterministic)
        observation, reward, terminated, truncated, info = env.step(action)
        counts = episode < episodes
        now = episode[counts]
        steps[now] += 1
        returns[now] += reward[counts]
        success[now] |= np.asarray(info.get("is_success", np.zeros(rooms)), np.bool_)[counts]
        start = terminated | truncated
        if start.any():
            episode[start] = max(episode.max() + 1, rooms) + np.arange(start.sum())
            seeds = (seed + episode).tolist()
            observation, info = env.reset(seed=seeds, options={"reset_mask": start})
            fresh = start & (episode < episodes)
            best[episode[fresh]] = oracle_steps(info, params, rooms)[fresh]
    env.close()
    return success, steps, returns, best


def _rooms(spec: EnvSpec, rooms: int) -> tuple[Any, RoomParams | None]:
    """Vectorised environments without autoreset, and their room parameters if they are RobotRooms."""
    mode: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    if spec.vector_entry_point == "robot_room.vector_env:RobotRoomVectorEnv":  # bit-identical, faster
        env: Any = gym.make_vec(spec, rooms, vectorization_mode="vector_entry_point", **mode)
        return env, env.unwrapped.params
    env = gym.make_vec(spec, rooms, vectorization_mode="sync", vector_kwargs=mode)
    return env, getattr(env.envs[0].unwrapped, "params", None)


def oracle_steps(info: dict[str, Any], params: RoomParams | None, rooms: int) -> NDArray[np.int64]:
    """Optimal number of steps from the starts in `info`, without slip; 0: unknown."""
    if "oracle_steps" in info:
        return np.asarray(info["oracle_steps"], np.int64)
    if params is None or params.factors is not None:
        return np.zeros(rooms, np.int64)
    if params.frame_skip > 1 or params.action == "discrete":
        return np.zeros(rooms, np.int64)
    robot, goal = info["robot_position"], info["goal_position"]
    if params.walls is None:
        return oracle.min_steps(robot, goal)
    return np.concatenate(
        [
            oracle.min_steps(robot[i : i + 1], goal[i : i + 1], layouts.layout(params, int(number)))
            for i, number in enumerate(info["layout"])
        ]
    )


def _decision_ms(policy: Policy, spec: EnvSpec, seed: int, decisions: int = 30) -> float:
    """Median time of `predict` for a batch of one, without the environment's own time."""
    env = gym.make(spec)
    observation, _ = env.reset(seed=seed)
    state, times, start = None, [], True
    for _ in range(decisions + 3):
        began = time.perf_counter()
        action, state = policy.predict(observation[None], state, np.array([start]), True)
        times.append(time.perf_counter() - began)
        observation, _, terminated, truncated, _ = env.step(action[0])
        start = bool(terminated or truncated)
        if start:
            observation, _ = env.reset()
    env.close()
    return 1000 * float(np.median(times[3:]))  # the first calls warm up caches
