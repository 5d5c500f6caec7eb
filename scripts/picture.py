"""Draw a room as a person sees it and, beside it, as an agent does."""

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np

import robot_room  # noqa: F401 - registers its environments
from robot_room.app.command_line import run


@dataclass
class Picture:
    """Write a picture of an environment's first frame."""

    env_id: str = "RobotRoom-v0"
    """A registered environment of this package."""
    seed: int = 4
    """Of the start."""
    out: Path = Path("room.png")
    """The file to write."""


def main(config: Picture) -> None:
    """Run the script."""
    env = gym.make(config.env_id, render_mode="rgb_array")
    observation, _ = env.reset(seed=config.seed)
    picture = np.asarray(env.render(), np.uint8)
    scale = picture.shape[0] // observation.shape[0]
    observation = observation.repeat(scale, 0).repeat(scale, 1)
    gap = np.full((picture.shape[0], 16, 3), 255, np.uint8)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(config.out, np.concatenate([picture, gap, observation], axis=1))


if __name__ == "__main__":
    run(Picture, main)
