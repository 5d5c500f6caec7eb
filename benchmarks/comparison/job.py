"""One job of the comparison: an algorithm learns an environment from one seed.

Every algorithm is evaluated in the same environments, from the same held-out starts, with the
environment's own limit of steps. How it collects data is its own affair: ours resets an environment
after twenty steps, and baselines after ten whose setting says so. Our agent trains for a number of
environment steps that was fixed beforehand; a baseline trains for a number of seconds in which ours is
done or nearly so. Evaluations come at fixed numbers of environment steps and of training seconds, or at
the end of the rollout or round of updates under way there. Their own time is not counted.
"""

import base64
import json
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from typing import Any, Literal

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
from gymnasium.envs.registration import EnvSpec

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.learner import Progress
from agent.presets import EVERY_ROOM
from benchmarks.comparison import algorithms, baselines
from benchmarks.comparison.budgets import EPISODES, OURS, PLAIN, REFERENCES, Budget
from benchmarks.comparison.evaluation_curve import EvaluationCurve
from benchmarks.engine.backends import Record
from robot_room.app.evaluation.policies import Behaviour, Learned, Scripted, Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Evaluation, Policy, env_spec

SECONDS_MARKS = 15
OUR_MARKS = 6  # from an eighth of our budget to all of it, evenly on a logarithmic scale
# In units of our budget.
STEPS_MARKS = (*range(1, 9), 10, 12, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500)
CLIP_SEED, CLIP_STARTS, CLIP_STEPS = 3_000_000, 4, 30


def settings(algorithm: str, env_id: str, budget: Budget, target: str | None = None) -> Record:
    """What the result of a job depends on, beside its seed and the protocol."""
    own: Record = {"threshold": budget.threshold}
    if algorithm not in REFERENCES:
        own["env_steps"] = budget.env_steps
    if algorithm == OURS:
        parts = EVERY_ROOM["config"], EVERY_ROOM["exploration"]
        own["arguments"] = ", ".join(str(part) for part in parts)
    if budget.evaluated_with:
        own["evaluated_with"] = budget.evaluated_with
    if target is not None:
        own |= {"seconds": budget.seconds, "setting": target}
        own["arguments"] = algorithms.describe(target)
    elif algorithm in baselines.SETTINGS:
        name = baselines.chosen(algorithm, env_id)
        described = baselines.chosen_setting(algorithm, env_id).describe()
        own |= {"seconds": budget.seconds, "setting": name, "arguments": described}
    return own


def run_job(
    algorithm: str, env_id: str, seed: int, budget: Budget, clip: bool, target: str | None = None
) -> Record:
    """Train and evaluate.

    Args:
        algorithm: one of `ALGORITHMS`, or the name of one from outside.
        env_id: the environment.
        seed: the training seed; the starts of evaluations do not depend on it.
        budget: how long it may train.
        clip: whether to film the trained policy.
        target: where an algorithm from outside is, module:function.
    """
    record: Record = {"algorithm": algorithm, "env_id": env_id, "seed": seed}
    evaluated = env_spec(env_id, json.dumps(budget.evaluated_with))
    with ExitStack() as stack:
        policy: Policy | None = None
        if algorithm in (OURS, PLAIN):
            config = AgentConfig() if algorithm == PLAIN else None
            agent = Agent(env_id, config, seed, "cpu")  # as the baselines
            curve, policy = _train_ours(agent, evaluated, budget)
        elif algorithm == "random" or algorithm == "oracle":
            curve = _reference(algorithm, evaluated, seed)
        elif target is not None:
            training = algorithms.train(algorithms.load(target), env_spec(env_id), seed)
            stack.enter_context(closing(training))
            curve, policy = _train(training, evaluated, budget, (True,))
        else:
            # Those with a noise of their own do better with it for long than with their mean.
            modes = (True,) if algorithm in ("td3", "ddpg") else (True, False)
            setting = baselines.chosen_setting(algorithm, env_id)
            training = baselines.train(algorithm, setting, env_id, seed)
            curve, policy = _train(training, evaluated, budget, modes)
        record["curve"] = curve.points
        if clip:
            env = gym.make(evaluated)
            if policy is not None:
                behaviour: Behaviour = Learned(Single(policy), curve.points[-1]["deterministic"])
            else:
                behaviour = Scripted(env, "expert" if algorithm == "oracle" else "random")
            record["clip"] = base64.b64encode(_film(behaviour, env)).decode()
    return record


def _train_ours(agent: Agent, evaluated: EnvSpec, budget: Budget) -> tuple[EvaluationCurve, Policy]:
    marks = np.geomspace(budget.env_steps / 8, budget.env_steps, OUR_MARKS)
    curve = EvaluationCurve(evaluated, marks[:-1].tolist())

    def callback(progress: Progress) -> None:
        owed = agent.config.training.updates_per_step * progress.num_timesteps
        if progress.num_updates >= owed:
            curve.update(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)

    agent.learn(budget.env_steps, callback)
    progress = agent.progress
    curve.evaluate(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)
    return curve, agent


def _train(
    training: Iterable[algorithms.Snapshot],
    evaluated: EnvSpec,
    budget: Budget,
    modes: tuple[bool, ...],
) -> tuple[EvaluationCurve, Policy]:
    """Train until the time is over, or training ends by itself."""
    curve = EvaluationCurve(
        evaluated,
        [budget.env_steps * mark for mark in STEPS_MARKS],
        np.linspace(0, budget.seconds, SECONDS_MARKS + 1)[1:].tolist(),
        modes,
    )
    snapshot = None
    for snapshot in training:
        curve.update(*snapshot)
        if snapshot.seconds >= budget.seconds:
            break
    if snapshot is None:
        raise ValueError("algorithm: got nothing, allowed: a policy, and steps of training")
    if not curve.points or curve.points[-1]["env_steps"] != snapshot.env_steps:
        curve.evaluate(*snapshot)
    return curve, snapshot.policy


def _reference(kind: Literal["random", "oracle"], spec: EnvSpec, seed: int) -> EvaluationCurve:
    """The floor and the ceiling."""
    curve = EvaluationCurve(spec, ())
    if kind == "random":
        curve.evaluate(Uniform(gym.make(spec).action_space, seed), 0, 0.0)
        return curve
    env = gym.make(spec, oracle_steps=True)
    expert = Scripted(env, "expert")
    generator, rows, times = np.random.default_rng(seed), [], []
    for episode in range(EPISODES):
        expert.reset(generator)
        observation, info = env.reset(seed=HELD_OUT_SEED + episode)
        best, total, steps, over = info["oracle_steps"], 0.0, 0, False
        while not over:
            began = time.perf_counter()
            action = expert(observation, info)
            times.append(time.perf_counter() - began)
            observation, reward, terminated, truncated, info = env.step(action)
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
        rows.append((info["is_success"], steps, total, best))
    success, steps, returns, best = map(np.array, zip(*rows, strict=True))
    decision_ms = 1000 * float(np.median(times))
    result = Evaluation(spec.id, {}, HELD_OUT_SEED, success, steps, returns, best, decision_ms)
    curve.add(result.summary() | {"deterministic": True})
    return curve


class Single:
    """Asks a policy for the action of one frame, as a batch of one."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """The action (A,) for a frame, and the state for the next call; None begins an episode."""
        start = np.array([state is None])
        actions, state = self.policy.predict(observation[None], state, start, deterministic)
        return actions[0], state


def _film(behaviour: Behaviour, env: gym.Env[Any, Any]) -> bytes:
    """A GIF of a few starts, as the camera sees them, each of as many frames; the last one stays."""
    frames = []
    for start in range(CLIP_STARTS):
        behaviour.reset(np.random.default_rng(start))
        observation, info = env.reset(seed=CLIP_SEED + start)
        over, shown = False, [observation]
        while len(shown) <= CLIP_STEPS:
            if not over:
                observation, _, terminated, truncated, info = env.step(behaviour(observation, info))
                over = terminated or truncated
            shown.append(observation)
        frames += shown
    return imageio.imwrite("<bytes>", np.stack(frames), extension=".gif", duration=120, loop=0)
