"""Training loops: online, alternating collection and updates, and offline."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from agent.actions import nearest
from agent.collection import Collector
from agent.control import ControlState, decide
from agent.exploration import Exploration
from agent.learner import Learner, Progress
from agent.planning import Planner

Callback = Callable[[Progress], object]
"""Called after each vector step and every tenth update. Return False or raise to stop early; progress
is kept."""

INITIAL_FRAMES = 1024
"""Frames, in windows, used to initialise the model offline."""
FIRST_EPISODES = 8
"""Episodes of the first random steps, also in fewer environments: where few steps are random, their
episodes are cut off earlier, as a model that begins from a single start cannot tell what moves."""
SHORTEST = 3
"""Steps of such an episode, at least."""


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

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete."""
        return isinstance(self.collector.action_space, gym.spaces.Discrete)

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
    learner: Learner,
    run: OnlineRun,
    planner: Planner,
    exploration: Exploration,
    callbacks: Sequence[Callback] = (),
) -> bool:
    """Train online until `num_timesteps` reaches `target_timesteps`.

    Random episodes come first and initialise the model. Then the planner repeatedly takes one step in
    every environment in which actions are not random throughout, followed by `updates_per_step` updates
    per step. If a callback returns False or
    raises, `run` and the learner are left where training can go on.

    Returns:
        Whether it reached the end; False if a callback stopped it.

    Raises:
        ValueError: the planner or the exploration returns actions out of bounds.
        FloatingPointError: a term of the loss is not finite (named in the message).
    """
    config, progress = learner.config, learner.progress
    progress.target_updates = None
    random_steps = min(first_steps(learner), progress.target_timesteps)  # so that updates always follow
    began = time.perf_counter()

    def report() -> bool:
        nonlocal began
        progress.seconds += time.perf_counter() - began
        going = _called(callbacks, progress)
        progress.finished, progress.evaluation = [], {}
        began = time.perf_counter()
        return going

    def random() -> bool:
        """Whether the planner does not act yet. In the end updates follow in any case."""
        if progress.num_timesteps < random_steps:
            return True
        ended = progress.num_updates > 0 or progress.num_timesteps >= progress.target_timesteps
        if not exploration.until_reward or ended or learner.world_model.novelty is not None:
            return False
        return not learner.replay.returns_vary()

    while run.updating or progress.num_timesteps < progress.target_timesteps:
        progress.stepped = False
        if not run.updating:
            before = progress.num_timesteps
            _step(learner, run, planner, exploration, random())
            run.updating = True
            grown = _doubled(before, progress.num_timesteps, random_steps)
            if progress.num_updates > 0 and (grown or _first_varied(learner)):
                learner.refit()
        if not random():
            if progress.num_updates == 0:
                learner.initialise()
            while progress.num_updates < config.updates_per_step * progress.num_timesteps:
                left = 1 - progress.num_timesteps / progress.target_timesteps
                learner.update(left)
                if progress.num_updates % 10 == 0 and not report():
                    return False
        run.updating, progress.stepped = False, True
        if not report():
            return False
    return True


def first_steps(learner: Learner) -> int:
    """Random steps before the planner takes over: three for each number of an action, at least.

    From fewer, it cannot be told what each of them does.
    """
    return max(learner.config.random_steps, 3 * learner.world_model.action_size)


def _doubled(before: int, now: int, first: int) -> bool:
    """Whether one of the numbers first · 2^k was passed."""
    unit = max(first, 1)
    return (now // unit).bit_length() > (before // unit).bit_length()


def _first_varied(learner: Learner) -> bool:
    """Whether returns may differ for the first time, as far as the model knows."""
    return learner.world_model.novelty is not None and learner.replay.returns_vary()


def _called(callbacks: Sequence[Callback], progress: Progress) -> bool:
    """Call all callbacks; whether none has returned False."""
    return all([callback(progress) is not False for callback in callbacks])


def _step(
    learner: Learner, run: OnlineRun, planner: Planner, exploration: Exploration, random: bool
) -> None:
    """One step in every environment: at random in all or in some, else the planner's."""
    progress, collector, longest = learner.progress, run.collector, None
    if random:
        first = first_steps(learner)
        if progress.num_timesteps < first and len(run.actions) < FIRST_EPISODES:
            longest = max(SHORTEST, first // FIRST_EPISODES)
        run.actions = _random_actions(learner, run, exploration, len(run.actions))
    else:
        count = _at_random(exploration, learner, len(run.actions))
        instead = None
        if count > 0:
            drawn = _random_actions(learner, run, exploration, count)
            instead = torch.from_numpy(drawn).to(learner.device)
        asked = time.perf_counter()
        decision, run.control = decide(
            learner.world_model,
            planner,
            torch.from_numpy(collector.frames).to(learner.device),
            run.control,
            torch.from_numpy(collector.episode_start).to(learner.device),
            learner.generators.control,
            exploration,
            instead=instead,
            discrete=run.discrete,
        )
        run.actions = decision.action.cpu().numpy()
        progress.planning_seconds += time.perf_counter() - asked
    taken, finished = collector.step(run.actions, longest)
    progress.count(taken, finished)


def _at_random(exploration: Exploration, learner: Learner, num_envs: int) -> int:
    """In how many environments actions are random now.

    Where `random_share` is no whole number of them, it is one more at some times and one less at
    others, for as many steps as an episode may have: half of the time in one environment if it is 0.5.
    """
    share = exploration.random_share * num_envs
    period = learner.progress.num_timesteps // (num_envs * learner.config.longest_episode)
    return math.floor((period + 1) * share) - math.floor(period * share)


def _random_actions(
    learner: Learner, run: OnlineRun, exploration: Exploration, count: int
) -> NDArray[np.float32]:
    """Random actions of the first environments, (count, A)."""
    last, starts = run.actions[:count], run.collector.episode_start[:count]
    if run.discrete:  # clipped numbers would be equal, and the first of them be taken
        exploration = replace(exploration, random_amplitude=1.0)
    actions = exploration.random_actions(last, starts, learner.generators.exploration)
    if actions.shape != last.shape or not (np.abs(actions) <= 1).all():
        allowed = f"{last.shape}, from -1 to 1"
        raise ValueError(f"exploration: random_actions: got {actions!r:.200}, allowed: {allowed}")
    return nearest(run.collector.action_space, actions)


def fit(learner: Learner, callbacks: Sequence[Callback] = ()) -> bool:
    """Train offline on the replay, with `updates_per_step` updates per step.

    Returns:
        Whether it reached the end; False if a callback stopped it.

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
        learner.world_model.initialise(first.to(learner.device))
    progress.target_updates = target = int(config.updates_per_step * progress.num_timesteps)
    while progress.num_updates < target:
        began = time.perf_counter()
        left = 1 - progress.num_updates / target
        learner.update(left)
        progress.seconds += time.perf_counter() - began
        if progress.num_updates % 10 == 0 or progress.num_updates == target:
            progress.stepped, going = True, _called(callbacks, progress)
            progress.evaluation = {}
            if not going:
                return False
    return True
