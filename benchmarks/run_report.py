"""The end of a training run: its evaluation as summary.json, and the pictures to believe it."""

import json
import resource
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
from rich.console import Console

from agent import Agent
from agent.pictures import camera_and_belief, episode, imagination
from benchmarks.protocol import HELD_OUT_SEED, evaluate

PICTURE_SEED = 3_000_000  # the starts that pictures show
SHOWN_EPISODES = 5


def report_run(agent: Agent, run: Path, episodes: int) -> None:
    """Evaluate an agent and write `summary.json`, `imagination.png` and `rollout.gif` into `run`."""
    assert agent.env_spec is not None
    console = Console(stderr=True)
    with console.status(f"evaluating on {episodes} held-out starts"):
        summary = {
            **evaluate(agent, agent.env_spec, episodes, HELD_OUT_SEED).summary(),
            "training_seed": agent.seed,
            "env_steps": agent.num_timesteps,
            "updates": agent.progress.num_updates,
            "training_seconds": round(agent.progress.seconds, 2),
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
    (run / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    with console.status("drawing pictures"):
        env = gym.make(agent.env_spec)
        imageio.imwrite(run / "imagination.png", imagination(agent, env, PICTURE_SEED))
        pictures = [
            camera_and_belief(agent, moment)
            for number in range(SHOWN_EPISODES)
            for moment in episode(agent, env, PICTURE_SEED + number)
        ]
        imageio.imwrite(run / "rollout.gif", np.stack(pictures), duration=150, loop=0)
        env.close()
    for name, value in summary.items():
        console.print(f"{name:>18}  {value}")
    console.print(f"in {run}: summary.json  imagination.png  rollout.gif  tensorboard  agent")
    console.print(f"watch it: scripts/run watch {run}")


def peak_memory_gib() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
