"""Steps per CPU second of other pixel environments; run by `speed` in a separate virtual environment.

It imports nothing from this project, so that the dependencies stay separate, and its imports are
missing where the project's types are checked. A line of JSON on standard output answers each line on
standard input, the name of a peer.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import gymnasium as gym
import numpy as np

SECONDS = 0.3


def minigrid() -> Iterator[None]:
    """Minigrid with 64×64 RGB frames of the whole grid, by its own wrapper."""
    from minigrid.wrappers import RGBImgObsWrapper  # pyright: ignore[reportMissingImports]

    env = RGBImgObsWrapper(gym.make("MiniGrid-Empty-8x8-v0"), tile_size=8)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (64, 64, 3)
    for action in cycle([0, 2, 1, 2, 2, 1, 0, 0]):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
        yield


def pusht() -> Iterator[None]:
    """gym-pusht with 96×96 pixels."""
    import gym_pusht  # noqa: F401  # pyright: ignore[reportMissingImports]

    env = gym.make("gym_pusht/PushT-v0", obs_type="pixels", observation_width=96, observation_height=96)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(100, 400, (64, 2)).astype(np.float32)
    for action in cycle(actions):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
        yield


PEERS: dict[str, Callable[[], Iterator[None]]] = {"minigrid": minigrid, "pusht": pusht}


def main() -> None:
    """Answer requests until standard input ends."""
    running = {}
    for line in sys.stdin:
        name = line.strip()
        steps = running.setdefault(name, PEERS[name]())
        for _ in range(20):
            next(steps)
        count, began = 0, time.thread_time()
        while (elapsed := time.thread_time() - began) < SECONDS:
            for _ in range(20):
                next(steps)
            count += 20
        print(json.dumps(count / elapsed), flush=True)


if __name__ == "__main__":
    main()
