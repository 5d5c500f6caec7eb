"""Why `MOMENTUM` does not balance CartPole: what its frames tell of the next velocity.

    python -m benchmarks.model.cart_pole

Linear functions are fitted by least squares to 1,000 steps of random actions, and tested on 1,500 steps
of a controller that balances, in which pushes change direction more often. They see velocities read
from two frames, or those that follow from the environment's own state, and the last push, the one
before it, or both.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agent import pixels
from agent.positions import Positions
from benchmarks.engine.jobs import at_least_one, command

PLACES = (0, 2)  # of cart and pole in what the environment observes
LONGEST = 50
INPUTS = {
    "no change": None,
    "positions, velocities, last push": (0, 1, 2, 3, 4, 5),
    "positions, velocities, push before": (0, 1, 2, 3, 4, 6),
    "positions, velocities, both pushes": (0, 1, 2, 3, 4, 5, 6),
}


@dataclass
class CartPole:
    """Fit and test, then print the table."""

    random_steps: int = 1000
    """Steps to which the functions are fitted."""
    test_steps: int = 1500
    """Steps on which they are tested."""
    seed: int = 0
    """Of the actions and starts."""

    def __post_init__(self) -> None:
        at_least_one(self, "random_steps", "test_steps")


@dataclass
class Course:
    """One episode."""

    frames: NDArray[np.uint8]
    states: NDArray[np.float64]
    pushes: NDArray[np.float64]


def courses(balanced: bool, steps: int, seed: int) -> list[Course]:
    """Episodes of random pushes, or of a controller that errs in a quarter of its steps."""
    env, rng = gym.make(pixels("CartPole-v1")), np.random.default_rng(seed)
    found: list[Course] = []
    for episode in itertools.count():
        frame, info = env.reset(seed=10_000 * seed + episode)
        frames, states, pushes = [frame], [info["observation"]], list[int]()
        over = False
        while not over and len(pushes) < LONGEST:
            place, speed, angle, turn = states[-1]
            push = int(rng.integers(2))
            if balanced and rng.random() > 0.25:
                push = int(angle + 0.3 * turn + 0.02 * place + 0.05 * speed > 0)
            elif not balanced and pushes and rng.random() < 0.85:
                push = pushes[-1]
            frame, _, terminated, truncated, info = env.step(push)
            frames.append(frame)
            states.append(info["observation"])
            pushes.append(push)
            over = terminated or truncated
        found.append(Course(np.stack(frames), np.array(states, float), 2.0 * np.array(pushes) - 1))
        if sum(len(course.pushes) for course in found) >= steps:
            return found
    raise AssertionError


def rows(places: list[NDArray[Any]], of: list[Course]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs (1, y, v, last push, push before) and next velocities, one row for each step."""
    inputs, targets = [], []
    for y, course in zip(places, of, strict=True):
        for t in range(2, len(course.pushes)):
            pushes = course.pushes[t], course.pushes[t - 1]
            inputs.append(np.concatenate([[1.0], y[t], y[t] - y[t - 1], pushes]))
            targets.append(y[t + 1] - y[t])
    return np.array(inputs), np.array(targets)


def main(config: CartPole) -> None:
    """Run the benchmark."""
    learned = courses(False, config.random_steps, 2 * config.seed)
    tested = courses(True, config.test_steps, 2 * config.seed + 1)
    read = Positions(learned[0].frames.shape[1:], len(PLACES))
    longest = max(len(course.frames) for course in learned)
    frames = torch.zeros(len(learned), longest, *learned[0].frames.shape[1:])
    mask = torch.zeros(frames.shape[:2], dtype=torch.bool)
    for row, course in enumerate(learned):
        frames[row, : len(course.frames)] = torch.from_numpy(course.frames) / 255
        mask[row, : len(course.frames)] = True
    read.identify(frames, mask)
    shown = [read(torch.from_numpy(course.frames) / 255).numpy() for course in learned + tested]
    # The positions that would be read without noise: the best linear function of the state.
    state = np.concatenate([course.states for course in learned + tested])[:, PLACES]
    ones = np.ones((len(state), 1))
    weights = np.linalg.lstsq(np.hstack([ones, state]), np.concatenate(shown), rcond=None)[0]
    true = [
        np.hstack([np.ones((len(course.states), 1)), course.states[:, PLACES]]) @ weights
        for course in learned + tested
    ]
    count = len(learned)
    noise = np.concatenate(shown[:count]) - np.concatenate(true[:count])
    spread = np.concatenate(true[:count]).std(0)
    console = Console(width=110)
    console.print(
        f"Reading noise over the spread of positions: {(noise.std(0) / spread).round(3).tolist()}"
    )
    table = Table(title="RMS error of the next velocity over RMS change of the velocity, two positions")
    for heading in ("seen", "fitted to what is read", "fitted to the state"):
        table.add_column(heading)
    test_inputs, test_targets = rows(true[count:], tested)
    change = test_targets - test_inputs[:, 3:5]
    for name, chosen in INPUTS.items():
        cells = []
        for places in (shown[:count], true[:count]):
            inputs, targets = rows(places, learned)
            error = change
            if chosen is not None:
                fitted = np.linalg.lstsq(inputs[:, chosen], targets, rcond=None)[0]
                error = test_targets - test_inputs[:, chosen] @ fitted
            relative = np.sqrt((error**2).mean(0) / (change**2).mean(0))
            cells.append(", ".join(f"{each:.2f}" for each in relative))
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    command(CartPole, main)
