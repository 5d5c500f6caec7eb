"""Algorithms from outside: any importable function can take part in the comparison.

Such a function, `make(env, seed)`, yields its policy and the environment steps so far: first before it
has learned anything, so that what does not fit is found at once, then whenever it may be evaluated.
Training goes on when the next item is asked for, and ends with the function or when its time is over.

    def make(env: EnvSpec, seed: int):
        model = PPO("CnnPolicy", gym.make(env), seed=seed)
        yield model, 0
        while True:
            model.learn(1024, reset_num_timesteps=False)
            yield model, model.num_timesteps

A third item, if there is one, is the seconds of training so far, for who knows them better than the
clock between two yields.

It can be tuned (`benchmarks.comparison.tune`) if it has `space`, Optuna's distributions by name,
`arguments`, the values that are tried first, and `with_settings(**values)`, the `make` of others.
"""

import hashlib
import importlib
import inspect
import operator
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, NoReturn, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from robot_room.app.evaluation.protocol import Policy

Make = Callable[[EnvSpec, int], Iterator[tuple[Any, ...]]]
FRAMES, CHECK_SEED = 3, 6_000  # of the trial of `predict`


class Snapshot(NamedTuple):
    """A policy in the middle of its training."""

    policy: Policy
    env_steps: int
    seconds: float  # of training alone


class Outside(NamedTuple):
    """An algorithm from outside: its name in files and on the page, and where it is."""

    name: str
    target: str
    """module:function."""


def parse(given: str) -> Outside:
    """An algorithm given as `module:function` or `NAME=module:function`.

    Without a name it has that of its module, and of the function unless that is `make`.

    Raises:
        ValueError: it is neither.
    """
    name, named, target = given.rpartition("=")
    module, _, function = target.partition(":")
    parts = [*module.split("."), function]
    if not all(part.isidentifier() for part in parts):
        allowed = "the name of a built-in one, module:function, or NAME=module:function"
        raise ValueError(f"algorithm: got {given!r}, allowed: {allowed}")
    if not named:
        name = module.rpartition(".")[2] if function == "make" else f"{parts[-2]}.{function}"
    if not name or not all(letter.isalnum() or letter in "-_.+" for letter in name):
        raise ValueError(f"algorithm: got the name {name!r}, allowed: letters, digits and -_.+")
    return Outside(name, target)


def load(target: str) -> Make:
    """Import a `make`.

    Raises:
        ValueError: there is no such module, or nothing in it that can be called.
    """
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may fail in any way
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"algorithm: got {target!r}, allowed: module:function ({said})") from error
    if not callable(found):
        raise ValueError(
            f"algorithm: got {target!r}, of type {type(found).__name__}, allowed: a function"
        )
    return cast(Make, found)


def describe(target: str) -> str:
    """What results of an algorithm depend on: its `settings`, or else the code of its module."""
    make = load(target)
    if isinstance(settings := getattr(make, "settings", None), str):
        return settings
    source = inspect.getsource(importlib.import_module(target.partition(":")[0]))
    return f"code {hashlib.sha256(source.encode()).hexdigest()[:16]}"


def train(make: Make, env: EnvSpec, seed: int) -> Generator[Snapshot]:
    """An algorithm's snapshots; the first, from before it has learned, is checked.

    Raises:
        ValueError: what it yields, or what its policy predicts, is not as described above.
    """
    training = iter(make(env, seed))
    try:
        seconds, steps = 0.0, -1
        while True:
            began = time.perf_counter()
            if (item := next(training, None)) is None:
                return
            seconds += time.perf_counter() - began
            snapshot = _snapshot(item, seconds)
            if steps < 0:
                if snapshot.env_steps != 0:
                    refuse(f"{snapshot.env_steps} environment steps at first", "0, before learning")
                check_policy(snapshot.policy, env)
                seconds = 0.0  # to make it is not to train it
            elif snapshot.env_steps <= steps:
                refuse(f"{snapshot.env_steps} environment steps after {steps}", "more each time")
            steps = snapshot.env_steps
            yield snapshot
    finally:
        close = getattr(training, "close", None)
        if close is not None:
            close()


def _snapshot(item: Any, seconds: float) -> Snapshot:
    try:
        policy, env_steps, *own = item
        return Snapshot(policy, operator.index(env_steps), float(own[0]) if own else seconds)
    except (TypeError, ValueError) as error:
        refuse(
            f"{item!r:.200}",
            "(policy, environment steps) or (policy, environment steps, seconds)",
            error,
        )


def check_policy(policy: Any, spec: EnvSpec) -> None:
    """Try `predict` on a few frames, and once more from the state that it returned.

    Raises:
        ValueError: it fails, or its actions do not fit the environment.
    """
    if not callable(getattr(policy, "predict", None)):
        refuse(f"a policy without predict, {policy!r:.100}", "as stable-baselines3's models have it")
    env = gym.make(spec)
    frames = np.stack([env.reset(seed=CHECK_SEED + number)[0] for number in range(FRAMES)])
    space = env.action_space
    env.close()
    state, start = None, np.ones(FRAMES, np.bool_)
    for _ in range(2):
        try:
            actions, state = policy.predict(frames, state, start, True)
        except Exception as error:
            refuse(
                f"predict fails ({type(error).__name__}: {error})", "(actions, state) for frames", error
            )
        start = np.zeros(FRAMES, np.bool_)
        shape = (FRAMES, *(space.shape or ()))
        if np.shape(actions) != shape:
            refuse(f"actions of shape {np.shape(actions)} for {FRAMES} frames", f"shape {shape}")
        for action in np.asarray(actions):
            if not space.contains(action.astype(space.dtype)):
                refuse(f"the action {action}", f"one in {space}")


def refuse(got: str, allowed: str, cause: Exception | None = None) -> NoReturn:
    """Say what an algorithm does wrong."""
    raise ValueError(f"algorithm: got {got}, allowed: {allowed}") from cause
