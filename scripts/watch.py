"""Watch a trained agent live: what the camera shows and what the agent believes."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import torch
import tyro

import robot_room  # noqa: F401 - registers its environments
from agent.pictures import camera_and_belief, episode
from benchmarks.runs import loaded
from robot_room.viewer import Viewer


@dataclass
class Watch:
    """Open a window (close it to stop), or record to a file without a screen."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, as `train` made it."""
    record: Path | None = None
    """A .gif or .mp4 file to write in place of the window."""
    env_kwargs: str = "{}"
    """Other arguments of its room as JSON, such as '{"corruption": "occluder", "severity": 3}'."""
    prior: bool = False
    """Ask the run's observation prior about frames, and show what it makes of them."""
    episodes: int = 10
    """How many."""
    seed: int = 3_000_000
    """Episode i starts from reset(seed=SEED + i)."""
    frames_per_second: int = 10
    """10 is real time for the room."""


def main(config: Watch) -> None:
    """Run the script."""
    torch.set_num_threads(1)
    if config.record is not None and config.record.suffix not in (".gif", ".mp4"):
        raise ValueError(f"record: got {config.record}, allowed: a name that ends in .gif or .mp4")
    agent, spec = loaded(config.run, None, config.env_kwargs, config.prior)
    env = gym.make(spec)
    seeds = range(config.seed, config.seed + config.episodes)
    pictures = (camera_and_belief(agent, m) for seed in seeds for m in episode(agent, env, seed))
    if config.record is None:
        viewer = None
        for picture in pictures:
            size = (picture.shape[1], picture.shape[0])
            viewer = viewer or Viewer(size, config.frames_per_second, f"{agent.env_id}: {config.run}")
            if not viewer.show(picture):
                return
    elif config.record.suffix == ".gif":
        duration = 1000 / config.frames_per_second
        imageio.imwrite(config.record, np.stack(list(pictures)), duration=duration, loop=0)
    else:
        imageio.imwrite(
            config.record, np.stack(list(pictures)), fps=config.frames_per_second, macro_block_size=2
        )


if __name__ == "__main__":
    try:
        main(tyro.cli(Watch))
    except (ValueError, TypeError) as error:  # Gymnasium gives the latter for unknown arguments
        sys.exit(f"error: {error}")
