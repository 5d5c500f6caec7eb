"""What a researcher would bring: the documentation's examples, and some that do not fit."""

import time

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import register

register("Narrow-v0", "robot_room.env:RobotRoomEnv", max_episode_steps=30)


class Straight:
    """Goes to where the goal always is; knows no more than where the robot is drawn."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        steps = np.zeros(len(observation)) if state is None else state
        steps = np.where(episode_start, 0, steps) + 1
        bright = (observation.astype(int).min(-1) > 200).astype(float)  # the robot is white
        bright = bright / np.maximum(bright.sum((1, 2), keepdims=True), 1)
        x = (bright.sum(1) * np.arange(64)).sum(1) - 31.5
        y = (bright.sum(2) * np.arange(64)).sum(1) - 31.5
        return np.clip(np.stack([-x, y], 1) / 10, -1, 1).astype(np.float32), steps


def make(env, seed):
    yield Straight(), 0


def learning(env, seed):
    for steps in (0, 40, 80, 120):
        yield Straight(), steps


learning.settings = "none"


def in_seconds(env, seed):
    yield Straight(), 0, 5.0
    for number in range(1, 1000):
        yield Straight(), 10 * number, 5.0 * number


def in_trials(env, seed, tries=1):
    for number in range(1000):
        yield Straight(), 100 * tries * number
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass


class Wrong(Straight):
    def __init__(self, answer):
        self.answer = answer

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.answer(len(observation)), None


WRONG = {
    "shape": lambda n: np.zeros((n, 3), np.float32),
    "nan": lambda n: np.full((n, 2), np.nan, np.float32),
    "bounds": lambda n: np.full((n, 2), 2.0, np.float32),
    "raises": lambda n: 1 / 0,
}


def wrong(kind):
    def make(env, seed):
        yield Wrong(WRONG[kind]), 0

    return make


wrong_shape, wrong_nan, wrong_bounds, wrong_raises = map(wrong, WRONG)


def no_policy(env, seed):
    yield "policy", 0


def no_pair(env, seed):
    yield Straight()


def late(env, seed):
    yield Straight(), 100


def stuck(env, seed):
    while True:
        yield Straight(), 0


number = 5


def ends(env, seed):
    yield from ()


def printing(env, seed):
    """Runs in another interpreter, and prints as libraries do."""
    print("noise on standard output")
    yield Straight(), 0
    yield Straight(), int(gym.make(env).spec.max_episode_steps)
    raise RuntimeError("it broke")
