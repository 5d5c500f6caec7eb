"""Record episodes of a policy as a Minari dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import tyro
from rich.console import Console
from rich.progress import track

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from robot_room.app.datasets.recording import Recorder, record
from robot_room.app.evaluation.policies import BehaviourKind, Learned, Scripted
from robot_room.app.evaluation.protocol import env_spec

INTERRUPTED = "Interrupted. All whole episodes are kept; go on with --append."


@dataclass
class Collect:
    """Every whole episode is kept, also after Ctrl-C; --append goes on.

    Datasets lie in ~/.minari/datasets, or where MINARI_DATASETS_PATH says.
    """

    dataset: Annotated[str, tyro.conf.Positional]
    """The new dataset's id, such as robot-room/mixed-v0."""
    env_id: str = "RobotRoom-v0"
    """A registered environment."""
    env_kwargs: str = "{}"
    """Its arguments as JSON, such as '{"layout_seed": 1}'."""
    policy: BehaviourKind | Path = "mixed"
    """random, expert (exact), mixed (of both, another share in each episode), or a run's directory."""
    episodes: int = 100
    """How many."""
    seed: int = 0
    """Episode i starts from reset(seed=SEED + i)."""
    append: bool = False
    """Add to a dataset that is there; its episodes count in i."""


def main(config: Collect) -> None:
    """Run the command."""
    if config.episodes < 1:
        raise ValueError(f"episodes: got {config.episodes}, allowed: at least 1")
    env = gym.make(env_spec(config.env_id, config.env_kwargs))
    if isinstance(config.policy, Path):
        if not config.policy.is_dir():
            allowed = "random, expert, mixed, or the directory of a run"
            raise ValueError(f"policy: got {config.policy}, allowed: {allowed}")
        behaviour = Learned(Agent.load(config.policy / "agent", env))
    else:
        behaviour = Scripted(env, config.policy)
    recorder = Recorder(config.dataset, env, str(config.policy), config.append)
    first = config.seed + recorder.episodes
    seeds = range(first, first + config.episodes)
    for seed in track(seeds, "collecting", console=Console(stderr=True)):
        recorder.add(record(env, behaviour, seed))
    print(f"{config.dataset}: {recorder.episodes} episodes, {recorder.steps} steps")
