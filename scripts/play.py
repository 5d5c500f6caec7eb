"""Steer the robot yourself, beside what an agent would see."""

import sys
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import tyro
from numpy.typing import NDArray

import robot_room  # noqa: F401 - registers its environments
from benchmarks.protocol import env_spec
from robot_room.room import HALF_WIDTH, STEP_LENGTH
from robot_room.viewer import Viewer

HELP = "arrows, WASD or hold the mouse: steer     R: new episode     Esc: quit"


@dataclass
class Play:
    """Left the room, right the 64×64 observation. An episode that ends begins anew."""

    env_id: str = "RobotRoom-v0"
    """A registered RobotRoom, a variant for instance."""
    env_kwargs: str = "{}"
    """Its arguments as JSON, such as '{"distractors": 2, "slip": 0.2}'."""
    seed: int = 0
    """Of the first episode."""
    frames_per_second: int = 10
    """10 is real time."""


def steer(viewer: Viewer, robot: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """The action that keys or mouse ask for; the room's picture is `size` pixels wide."""
    pointer = viewer.pointer()
    if pointer is None or pointer[0] >= size or pointer[1] >= size:
        return viewer.arrows()
    x, y = (2 * HALF_WIDTH * (pixel + 0.5) / size - HALF_WIDTH for pixel in pointer)
    target = np.array([x, -y])  # rows grow downwards, y grows upwards
    return np.clip((target - robot) / STEP_LENGTH, -1, 1).astype(np.float32)


def main(config: Play) -> None:
    """Run the script."""
    env = gym.make(env_spec(config.env_id, config.env_kwargs), render_mode="rgb_array")
    observation, info = env.reset(seed=config.seed)
    if "robot_position" not in info:
        raise ValueError(f"env_id: got {config.env_id}, allowed: a RobotRoom")
    size = np.asarray(env.render(), np.uint8).shape[0]
    viewer = Viewer((size + 16 + size, size), config.frames_per_second, config.env_id, lines=3)
    steps, reward, total, outcome, over = 0, 0.0, 0.0, "", False
    while True:
        scale = size // observation.shape[0]
        seen = observation.repeat(scale, 0).repeat(scale, 1)
        gap = np.full((size, 16, 3), 245, np.uint8)
        text = f"step {steps:3d}    distance {info['distance']:.2f} m    reward {reward:+.2f}"
        lines = [f"{text}    return {total:+.2f}", outcome, HELP]
        picture = np.concatenate([np.asarray(env.render(), np.uint8), gap, seen], axis=1)
        if not viewer.show(picture, lines) or viewer.keys & {"escape", "q"}:
            break
        if over or "r" in viewer.keys:
            observation, info = env.reset()
            steps, reward, total, over = 0, 0.0, 0.0, False
            continue
        action = steer(viewer, info["robot_position"], size)
        observation, reward, terminated, truncated, info = env.step(action)
        reward, steps, over = float(reward), steps + 1, terminated or truncated
        total += reward
        if over:
            outcome = (
                f"last episode: {'arrived' if info['is_success'] else 'out of time'}, {steps} steps"
            )
    viewer.close()


if __name__ == "__main__":
    try:
        main(tyro.cli(Play))
    except (ValueError, TypeError, RuntimeError, ImportError, gym.error.Error) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass
