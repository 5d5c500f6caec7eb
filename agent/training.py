"""Training loops: online, alternating collection and updates, and offline."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from agent.collection import Collector
from agent.control import ControlState, decide
from agent.learner import Learner, Progress
from agent.planning import Planner

Callback = Callable[[Progress], None]
"""Called after each vector step and every tenth update. Raise to stop early; progress is kept."""

INITIAL_WINDOWS = 256
"""Windows used to initialise the model offline."""


def train(
    learner: Learner,
    collector: Collector,
    planner: Planner,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train online until `num_timesteps` reaches `target_timesteps`.

    Random episodes come first and initialise the model. Then the planner repeatedly takes one step in
    every environment, followed by `updates_per_step` updates per step.

    Raises:
        FloatingPointError: a term of the loss is not finite (named in the message).
    """
    world_model, config, progress = learner.world_model, learner.config, learner.progress
    exploration, device = learner.generators.exploration, learner.device
    progress.target_updates = None
    num_envs = len(collector.frames)
    began = time.perf_counter()

    def report() -> None:
        nonlocal began
        progress.seconds += time.perf_counter() - began
        for callback in callbacks:
            callback(progress)
        progress.finished = []
        began = time.perf_counter()

    actions = np.zeros((num_envs, world_model.action_size), np.float32)
    state = ControlState.initial(world_model, planner, num_envs)
    random_steps = min(config.random_steps, progress.target_timesteps)  # so that updates always follow
    while progress.num_timesteps < progress.target_timesteps:
        if progress.num_timesteps < random_steps:
            changed = exploration.random(num_envs) >= config.random_correlation
            drawn = exploration.uniform(-1, 1, actions.shape).astype(np.float32)
            actions = np.where((changed | collector.episode_start)[:, None], drawn, actions)
        else:
            frames = torch.from_numpy(collector.frames).to(device)
            starts = torch.from_numpy(collector.episode_start).to(device)
            asked = time.perf_counter()
            decision, state = decide(
                world_model,
                planner,
                frames,
                state,
                starts,
                learner.generators.control,
                config.exploration_std,
            )
            actions = decision.action.cpu().numpy()
            progress.planning_seconds += time.perf_counter() - asked
        taken, progress.finished = collector.step(actions)
        progress.num_timesteps += taken

        if progress.num_timesteps >= random_steps:
            if progress.num_updates == 0:
                learner.initialise(learner.replay.all(config.sequence_length))
            while progress.num_updates < config.updates_per_step * progress.num_timesteps:
                left = 1 - progress.num_timesteps / progress.target_timesteps
                learner.update(left)
                if progress.num_updates % 10 == 0:
                    report()
        report()


def fit(learner: Learner, callbacks: Sequence[Callback] = ()) -> None:
    """Train offline on the replay, with `updates_per_step` updates per step.

    Raises:
        ValueError: the replay has no steps.
        FloatingPointError: a term of the loss is not finite (named in the message).
    """
    config, progress = learner.config, learner.progress
    if progress.num_updates == 0:
        # A sample, since a large dataset would not fit into memory as floats.
        first = learner.replay.sample(
            INITIAL_WINDOWS, config.sequence_length, learner.generators.replay
        )
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
