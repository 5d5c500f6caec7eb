"""One job of the comparison: an algorithm learns an environment from one seed.

Every algorithm is evaluated in the same environments, from the same held-out starts, with the
environment's own limit of steps. How it collects data is its own affair: ours resets an environment
after ten steps, and so do the baselines whose setting says so. Our agent trains for a number of
environment steps that was fixed beforehand; a baseline trains for a number of seconds in which ours is
done or nearly so. Evaluations come at fixed numbers of environment steps and of training seconds, or at
the end of the rollout or round of updates under way there. Their own time is not counted.
"""

import base64
import time
from typing import Any, Literal

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.learner import Progress
from benchmarks.comparison import baselines
from benchmarks.comparison.budgets import EPISODES, REFERENCES, Algorithm, Budget
from benchmarks.comparison.evaluation_curve import EvaluationCurve
from benchmarks.engine.backends import Record
from robot_room.app.evaluation.policies import Behaviour, Learned, Scripted, Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Evaluation, Policy

SECONDS_MARKS = 15
# In units of our budget.
STEPS_MARKS = (*range(1, 9), 10, 12, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500)
CLIP_SEED, CLIP_STARTS, CLIP_STEPS = 3_000_000, 4, 30


def settings(algorithm: str, env_id: str, budget: Budget) -> Record:
    """What the result of a job depends on, beside its seed and the protocol."""
    own: Record = {"threshold": budget.threshold}
    if algorithm not in REFERENCES:
        own["env_steps"] = budget.env_steps
    if algorithm in baselines.SETTINGS:
        name = baselines.chosen(algorithm, env_id)
        described = baselines.chosen_setting(algorithm, env_id).describe()
        own |= {"seconds": budget.seconds, "setting": name, "arguments": described}
    return own


def run_job(algorithm: Algorithm, env_id: str, seed: int, budget: Budget, clip: bool) -> Record:
    """Train and evaluate.

    Args:
        algorithm: one of `ALGORITHMS`.
        env_id: the environment.
        seed: the training seed; the starts of evaluations do not depend on it.
        budget: how long it may train.
        clip: whether to film the trained policy.
    """
    record: Record = {"algorithm": algorithm, "env_id": env_id, "seed": seed}
    if algorithm == "world-model":
        curve, policy = _train_ours(env_id, seed, budget)
    elif algorithm == "random" or algorithm == "oracle":
        curve, policy = _reference(algorithm, env_id, seed), None
    else:
        setting = baselines.chosen_setting(algorithm, env_id)
        curve, policy = _train_baseline(algorithm, setting, env_id, seed, budget)
    record["curve"] = curve.points
    if clip:
        env = gym.make(env_id)
        if policy is not None:
            behaviour: Behaviour = Learned(policy, curve.points[-1]["deterministic"])
        else:
            behaviour = Scripted(env, "expert" if algorithm == "oracle" else "random")
        record["clip"] = base64.b64encode(_film(behaviour, env)).decode()
    return record


def _train_ours(env_id: str, seed: int, budget: Budget) -> tuple[EvaluationCurve, Policy]:
    agent = Agent(env_id, seed=seed, device="cpu")  # as the baselines
    curve = EvaluationCurve(env_id, np.linspace(0, budget.env_steps, 11)[1:-1].tolist())

    def callback(progress: Progress) -> None:
        owed = agent.config.training.updates_per_step * progress.num_timesteps
        if progress.num_updates >= owed:
            curve.update(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)

    agent.learn(budget.env_steps, callback)
    progress = agent.progress
    curve.evaluate(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)
    return curve, agent


def _train_baseline(
    algorithm: baselines.Algorithm, setting: baselines.Setting, env_id: str, seed: int, budget: Budget
) -> tuple[EvaluationCurve, Policy]:
    noisy = algorithm not in (
        "td3",
        "ddpg",
    )  # the others learn a noise, which for long does better than their mean
    curve = EvaluationCurve(
        env_id,
        [budget.env_steps * mark for mark in STEPS_MARKS],
        np.linspace(0, budget.seconds, SECONDS_MARKS + 1)[1:].tolist(),
        (True, False) if noisy else (True,),
    )
    for policy, env_steps, seconds in baselines.train(algorithm, setting, env_id, seed):
        curve.update(policy, env_steps, seconds)
        if seconds >= budget.seconds:
            return curve, policy
    raise AssertionError("training does not end by itself")


def _reference(kind: Literal["random", "oracle"], env_id: str, seed: int) -> EvaluationCurve:
    """The floor and the ceiling."""
    curve = EvaluationCurve(env_id, ())
    if kind == "random":
        curve.evaluate(Uniform(gym.make(env_id).action_space, seed), 0, 0.0)
        return curve
    env = gym.make(env_id, oracle_steps=True)
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
    result = Evaluation(env_id, {}, HELD_OUT_SEED, success, steps, returns, best, decision_ms)
    curve.add(result.summary() | {"deterministic": True})
    return curve


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
