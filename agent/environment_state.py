"""The whole state of a vector environment, for environments that can give and take it.

An environment can if it has `get_state()`, which returns nested dicts and lists of JSON's values and of
numpy's arrays, and `set_state(state)`, which restores it exactly, its random generators included, and
raises ValueError for any other. Of wrappers, those that `gymnasium.make` adds are known.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from numpy.typing import NDArray

from agent.random_states import packed, unpacked

Arrays = dict[str, NDArray[np.generic]]

# Fields of a wrapper that change what later steps do. The other two only warn or refuse.
KNOWN_WRAPPERS = {TimeLimit: ("_elapsed_steps",), OrderEnforcing: (), PassiveEnvChecker: ()}
OF_SYNC = ("_terminations", "_truncations", "_autoreset_envs")


def get_state(env: VectorEnv[Any, Any, Any]) -> dict[str, Any] | None:
    """The state of an environment that has been reset; None if it cannot give it."""
    state = _state(env)
    return state if _can_be_saved(state) else None


def _state(env: VectorEnv[Any, Any, Any]) -> dict[str, Any] | None:
    if type(env) is SyncVectorEnv:
        states = [_single_state(each) for each in env.envs]
        if any(state is None for state in states):
            return None
        return {"envs": states, **{name: getattr(env, name).copy() for name in OF_SYNC}}
    return {"env": env.get_state()} if _gives(env) else None  # pyright: ignore[reportAttributeAccessIssue]


def set_state(env: VectorEnv[Any, Any, Any], state: Any) -> None:
    """Restore a state from `get_state`, in an environment made like its own, that has been reset.

    Raises:
        ValueError: it is not a state of such an environment.
    """
    if type(env) is SyncVectorEnv:
        states = _field(state, "envs", list)
        if len(states) != len(env.envs):
            raise ValueError(f"envs: got {len(states)} states, allowed: {len(env.envs)}")
        for name in OF_SYNC:
            flags = _field(state, name, np.ndarray)
            if flags.shape != (len(env.envs),) or flags.dtype != np.bool_:
                got = f"{flags.dtype} {flags.shape}"
                raise ValueError(f"{name}: got {got}, allowed: bool ({len(env.envs)},)")
            setattr(env, name, flags.copy())
        for each, one in zip(env.envs, states, strict=True):
            _set_single_state(each, one)
    elif _gives(env):
        env.set_state(_field(state, "env", dict))  # pyright: ignore[reportAttributeAccessIssue]
    else:
        raise ValueError(f"environment: got {env}, allowed: one with get_state and set_state")


def split(state: Any, prefix: str = "") -> tuple[Any, Arrays]:
    """A nested state as plain values, with None for each array, and the arrays by their path."""
    if isinstance(state, np.ndarray):
        return None, {prefix: state}
    if isinstance(state, dict) and state.get("bit_generator") == "PCG64":
        return None, {f"{prefix}.{PCG64}": packed(state)}
    if isinstance(state, dict | list):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        parts = {key: split(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in items}
        plain = {key: part[0] for key, part in parts.items()}
        arrays = {path: array for part in parts.values() for path, array in part[1].items()}
        return (plain if isinstance(state, dict) else list(plain.values())), arrays
    return (state.item() if isinstance(state, np.generic) else state), {}


PCG64 = "PCG64"
"""Ends the path of an array that holds a generator's state."""


def joined(plain: Any, arrays: Arrays) -> Any:
    """The inverse of `split`, into `plain` itself.

    Raises:
        LookupError, TypeError, ValueError: they do not belong together.
    """
    for path, array in arrays.items():
        names, value = path.split("."), array
        if names[-1] == PCG64:
            names, value = names[:-1], unpacked(array)
        place: Any = {"": plain}
        key: Any = ""
        for name in names:
            place = place[key]
            key = int(name) if isinstance(place, list) else name
        if place[key] is not None:
            raise ValueError(f"{path}: got an array, allowed: {place[key]!r:.200}")
        place[key] = value
    return plain


def _can_be_saved(state: Any) -> bool:
    """Whether `split` and JSON give every value back as it is."""
    if isinstance(state, dict):
        names = all(isinstance(key, str) and "." not in key for key in state)
        return names and all(map(_can_be_saved, state.values()))
    if isinstance(state, list):
        return all(map(_can_be_saved, state))
    if isinstance(state, float):
        return math.isfinite(state)
    if isinstance(state, np.ndarray):
        return state.dtype.kind in "biuf"
    return state is None or isinstance(state, str | int | np.integer | np.bool_)


def _gives(env: Any) -> bool:
    return callable(getattr(env, "get_state", None)) and callable(getattr(env, "set_state", None))


def _single_state(env: gym.Env[Any, Any]) -> dict[str, Any] | None:
    """The state of an environment and its wrappers, the outermost first; None if one is unknown."""
    wrappers = []
    while isinstance(env, gym.Wrapper):
        fields = KNOWN_WRAPPERS.get(type(env))
        if fields is None:
            return None
        wrappers.append({name: getattr(env, name) for name in fields})
        env = env.env
    return {"wrappers": wrappers, "env": env.get_state()} if _gives(env) else None  # pyright: ignore[reportAttributeAccessIssue]


def _set_single_state(env: gym.Env[Any, Any], state: Any) -> None:
    for saved in _field(state, "wrappers", list):
        fields = KNOWN_WRAPPERS.get(type(env)) if isinstance(env, gym.Wrapper) else None
        if fields is None:
            raise ValueError(f"wrappers: got one more than the environment's, {env}")
        assert isinstance(env, gym.Wrapper)
        for name in fields:
            value = _field(saved, name, int)
            if not 0 <= value < 2**62:
                raise ValueError(f"{name}: got {value}, allowed: a number of steps")
            setattr(env, name, value)
        env = env.env
    if isinstance(env, gym.Wrapper) or not _gives(env):
        raise ValueError(f"wrappers: got fewer than the environment's, which has {env}")
    env.set_state(_field(state, "env", dict))  # pyright: ignore[reportAttributeAccessIssue]


def _field(state: Any, name: str, kind: type) -> Any:
    value = state.get(name) if isinstance(state, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r:.200}, allowed: {kind.__name__}")
    return value
