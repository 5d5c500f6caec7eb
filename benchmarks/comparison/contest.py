"""One run of the comparison: an algorithm learns a room from one seed, and is looked at on the way.

Every algorithm is looked at in the same rooms, from the same held-out starts, with the room's own limit
of steps; how it collects is its own affair (ours resets a room after ten steps, so do the baselines
whose setting says so). Ours trains for a number of
environment steps that was fixed for the room beforehand, a baseline for a number of seconds in which
ours is done or nearly so. Looks come at fixed numbers of environment steps and of training seconds, or
at the end of the rollout or round of updates under way there; their own time is not counted.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.learner import Progress
from benchmarks.comparison import baselines
from benchmarks.engine.backends import Record
from robot_room.app.evaluation.policies import Behaviour, Learned, Scripted, Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Evaluation, Policy, evaluate

Algorithm = Literal["world-model", "ppo", "a2c", "sac", "td3", "ddpg", "drq-sac", "random", "oracle"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
EPISODES = 100
SECONDS_LOOKS = 15
# Times our budget.
STEPS_MARKS = (*range(1, 9), 10, 12, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500)
CLIP_SEED, CLIP_STARTS, CLIP_STEPS = 3_000_000, 4, 30


@dataclass(frozen=True)
class Room:
    """What a room of the comparison asks, and what it gives."""

    threshold: float
    """Success rate that counts as learned."""
    env_steps: int
    """That our agent learns from; at equal frames, all are compared here."""
    seconds: float
    """Of training, that a baseline has."""


ROOMS: dict[str, Room] = {
    "RobotRoom-v0": Room(0.99, 500, 120),
    "RobotRoomRandomGoal-v0": Room(0.95, 2000, 240),
    "RobotRoomSparse-v0": Room(0.95, 1000, 90),
    "RobotRoomDistractors-v0": Room(0.95, 2000, 120),
    "RobotRoomDoor-v0": Room(0.95, 3000, 180),
}


def settings(algorithm: str, env_id: str, room: Room) -> Record:
    """What the result of a job depends on, beside its seed and the protocol."""
    own: Record = {"threshold": room.threshold}
    if algorithm not in ("random", "oracle"):
        own["env_steps"] = room.env_steps
    if algorithm in baselines.SETTINGS:
        name = baselines.chosen(algorithm, env_id)
        described = baselines.chosen_setting(algorithm, env_id).describe()
        own |= {"seconds": room.seconds, "setting": name, "arguments": described}
    return own


class Looks:
    """Evaluates a policy whenever it has come past a mark.

    Args:
        env_id: the room.
        env_steps: marks.
        seconds: marks, of training.
        modes: asks the policy for its mean action (True) or for one with noise (False); of several
            the better counts.
    """

    def __init__(
        self,
        env_id: str,
        env_steps: Sequence[float],
        seconds: Sequence[float] = (),
        modes: Sequence[bool] = (True,),
    ) -> None:
        self.env_id, self.modes = env_id, modes
        self._marks = {"env_steps": sorted(env_steps), "seconds": sorted(seconds)}
        self.curve: list[Record] = []

    def __call__(
        self, policy: Policy, env_steps: int, seconds: float, planning_seconds: float = 0.0
    ) -> None:
        """Look if a mark has been passed since the last look."""
        due = False
        for name, now in (("env_steps", env_steps), ("seconds", seconds)):
            while self._marks[name] and self._marks[name][0] <= now:
                self._marks[name].pop(0)
                due = True
        if due:
            self.look(policy, env_steps, seconds, planning_seconds)

    def look(
        self, policy: Policy, env_steps: int, seconds: float, planning_seconds: float = 0.0
    ) -> None:
        """Evaluate now."""
        results = [
            evaluate(policy, self.env_id, EPISODES, HELD_OUT_SEED, mode).summary()
            | {"deterministic": mode}
            for mode in self.modes
        ]
        best = max(results, key=lambda result: (result["success_rate"], result["spl"]))
        self.add(best, env_steps, seconds, planning_seconds)

    def add(
        self, result: Record, env_steps: int = 0, seconds: float = 0.0, planning_seconds: float = 0.0
    ) -> None:
        """Keep what a look has found."""
        self.curve.append(
            {
                "env_steps": env_steps,
                "seconds": round(seconds, 2),
                "planning_seconds": round(planning_seconds, 2),
            }
            | {name: value for name, value in result.items() if name not in ("env_id", "env_kwargs")}
        )


def run_job(algorithm: Algorithm, env_id: str, seed: int, room: Room, clip: bool) -> Record:
    """Train and look.

    Args:
        algorithm: of `ALGORITHMS`.
        env_id: of the room.
        seed: of training; starts of looks do not depend on it.
        room: its budgets.
        clip: whether to film the trained policy.
    """
    record: Record = {"algorithm": algorithm, "env_id": env_id, "seed": seed}
    if algorithm == "world-model":
        looks, policy = _train_ours(env_id, seed, room)
    elif algorithm in ("random", "oracle"):
        looks, policy = _reference(algorithm, env_id, seed), None
    else:
        setting = baselines.chosen_setting(algorithm, env_id)
        looks, policy = _train_baseline(algorithm, setting, env_id, seed, room)
    record["curve"] = looks.curve
    if clip:
        env = gym.make(env_id)
        if policy is not None:
            behaviour: Behaviour = Learned(policy, looks.curve[-1]["deterministic"])
        else:
            behaviour = Scripted(env, "expert" if algorithm == "oracle" else "random")
        record["clip"] = base64.b64encode(_film(behaviour, env)).decode()
    return record


def _train_ours(env_id: str, seed: int, room: Room) -> tuple[Looks, Policy]:
    agent = Agent(env_id, seed=seed, device="cpu")  # as the baselines
    looks = Looks(env_id, np.linspace(0, room.env_steps, 11)[1:-1].tolist())

    def callback(progress: Progress) -> None:
        owed = agent.config.training.updates_per_step * progress.num_timesteps
        if progress.num_updates >= owed:
            looks(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)

    agent.learn(room.env_steps, callback)
    progress = agent.progress
    looks.look(agent, progress.num_timesteps, progress.seconds, progress.planning_seconds)
    return looks, agent


def _train_baseline(
    algorithm: baselines.Algorithm, setting: baselines.Setting, env_id: str, seed: int, room: Room
) -> tuple[Looks, Policy]:
    noisy = algorithm not in ("td3", "ddpg")  # others learn a noise, for long better than their mean
    looks = Looks(
        env_id,
        [room.env_steps * mark for mark in STEPS_MARKS],
        np.linspace(0, room.seconds, SECONDS_LOOKS + 1)[1:].tolist(),
        (True, False) if noisy else (True,),
    )
    for policy, env_steps, seconds in baselines.train(algorithm, setting, env_id, seed):
        looks(policy, env_steps, seconds)
        if seconds >= room.seconds:
            return looks, policy
    raise AssertionError("training does not end by itself")


def _reference(kind: Literal["random", "oracle"], env_id: str, seed: int) -> Looks:
    """The floor and the ceiling."""
    looks = Looks(env_id, ())
    if kind == "random":
        looks.look(Uniform(gym.make(env_id).action_space, seed), 0, 0.0)
        return looks
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
    looks.add(result.summary() | {"deterministic": True})
    return looks


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
