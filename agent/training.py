"""Training loops: online, alternating collection and updates, and offline."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from agent.collection import Collector
from agent.control import ControlState, decide
from agent.learner import Learner, Progress
from agent.planning import Planner

Callback = Callable[[Progress], None]
"""Called after each vector step and every tenth update. Raise to stop early; progress is kept."""

INITIAL_FRAMES = 1024
"""Frames, in windows, used to initialise the model offline."""


@dataclass
class OnlineRun:
    """Where an online run stands in its environments, between two callbacks."""

    collector: Collector
    """The environments, with their open episodes."""
    control: ControlState
    """Beliefs and plans."""
    actions: NDArray[np.float32]
    """The last actions, (N, A); a random one may be repeated."""
    updating: bool = False
    """Whether the updates that the last vector step calls for are under way."""

    @classmethod
    def begun(
        cls, env: VectorEnv[Any, Any, Any], learner: Learner, planner: Planner, seed: int
    ) -> "OnlineRun":
        """A run that begins with new episodes."""
        collector = Collector(env, learner.replay, seed, learner.config.longest_episode)
        return cls(collector, *_at_rest(learner, planner, env.num_envs))

    @classmethod
    def resumed(
        cls,
        env: VectorEnv[Any, Any, Any],
        learner: Learner,
        planner: Planner,
        state: dict[str, Any],
    ) -> "OnlineRun":
        """The run of which `state` is the state, with the learner of that moment.

        Raises:
            ValueError: it is not a state of such environments, learner and planner.
        """
        control, actions = _at_rest(learner, planner, env.num_envs)
        try:
            control, held = control.replaced(state["control"]), state["actions"]
            if held.shape != actions.shape or held.dtype != actions.dtype:
                got = f"{held.dtype} {held.shape}"
                raise ValueError(f"actions: got {got}, allowed: {actions.dtype} {actions.shape}")
            longest = learner.config.longest_episode
            collector = Collector.resumed(env, learner.replay, longest, state["collector"])
            return cls(collector, control, held, bool(state["updating"]))
        except (LookupError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"online_run: got no state of one ({problem})") from error

    def state(self) -> dict[str, Any]:
        """The complete state beside the learner's, in nested plain values and arrays."""
        return {
            "collector": self.collector.state(),
            "control": self.control.arrays(),
            "actions": self.actions.copy(),
            "updating": self.updating,
        }


def _at_rest(
    learner: Learner, planner: Planner, num_envs: int
) -> tuple[ControlState, NDArray[np.float32]]:
    actions = np.zeros((num_envs, learner.world_model.action_size), np.float32)
    return ControlState.initial(learner.world_model, planner, num_envs), actions


def train(
    learner: Learner, run: OnlineRun, planner: Planner, callbacks: Sequence[Callback] = ()
) -> None:
    """Train online until `num_timesteps` reaches `target_timesteps`.

    Random episodes come first and initialise the model. Then the planner repeatedly takes one step in
    every environment, followed by `updates_per_step` updates per step. If a callback raises, `run` and
    the learner are left where training can go on.

    Raises:
        FloatingPointError: a term of the loss is not finite (named in the message).
    """
    config, progress = learner.config, learner.progress
    progress.target_updates = None
    random_steps = min(config.random_steps, progress.target_timesteps)  # so that updates always follow
    began = time.perf_counter()

    def report() -> None:
        nonlocal began
        progress.seconds += time.perf_counter() - began
        for callback in callbacks:
            callback(progress)
        progress.finished = []
        began = time.perf_counter()

    while run.updating or progress.num_timesteps < progress.target_timesteps:
        if not run.updating:
            _step(learner, run, planner, progress.num_timesteps < random_steps)
            run.updating = True
        if progress.num_timesteps >= random_steps:
            if progress.num_updates == 0:
                longest = max(len(episode.frames) for episode in learner.replay.episodes)
                learner.initialise(learner.replay.all(longest))
            while progress.num_updates < config.updates_per_step * progress.num_timesteps:
                left = 1 - progress.num_timesteps / progress.target_timesteps
                learner.update(left)
                if progress.num_updates % 10 == 0:
                    report()
        run.updating = False
        report()


def _step(learner: Learner, run: OnlineRun, planner: Planner, random: bool) -> None:
    """One step in every environment, with random actions or the planner's."""
    config, progress, collector = learner.config, learner.progress, run.collector
    if random:
        exploration = learner.generators.exploration
        changed = exploration.random(len(run.actions)) >= config.random_correlation
        drawn = exploration.uniform(-1, 1, run.actions.shape).astype(np.float32)
        run.actions = np.where((changed | collector.episode_start)[:, None], drawn, run.actions)
    else:
        asked = time.perf_counter()
        decision, run.control = decide(
            learner.world_model,
            planner,
            torch.from_numpy(collector.frames).to(learner.device),
            run.control,
            torch.from_numpy(collector.episode_start).to(learner.device),
            learner.generators.control,
            config.exploration_std,
        )
        run.actions = decision.action.cpu().numpy()
        progress.planning_seconds += time.perf_counter() - asked
    taken, finished = collector.step(run.actions)
    progress.count(taken, finished)


def fit(learner: Learner, callbacks: Sequence[Callback] = ()) -> None:
    """Train offline on the replay, with `updates_per_step` updates per step.

    Raises:
        ValueError: the replay has no steps.
        FloatingPointError: a term of the loss is not finite (named in the message).
    """
    config, progress = learner.config, learner.progress
    if progress.num_updates == 0:
        # A sample, since a large dataset would not fit into memory as floats.
        length = max(config.sequence_length, learner.world_model.initial_length)
        windows = max(1, INITIAL_FRAMES // length)
        first = learner.replay.sample(windows, length, learner.generators.replay)
        learner.initialise(first)
    progress.target_updates = target = int(config.updates_per_step * progress.num_timesteps)
    while progress.num_updates < target:
        began = time.perf_counter()
        left = 1 - progress.num_updates / target
        learner.update(left)
        progress.seconds += time.perf_counter() - began
        if progress.num_updates % 10 == 0 or progress.num_updates == target:
            for callback in callbacks:
                callback(progress)
