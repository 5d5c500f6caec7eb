"""Record episodes of a policy as a Minari dataset."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import tyro
from filelock import FileLock, Timeout
from minari.storage import get_dataset_path
from rich.console import Console
from rich.progress import Progress, track

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from robot_room.app.datasets.recording import Recorder, record
from robot_room.app.evaluation.policies import BehaviourKind, Learned, Scripted
from robot_room.app.evaluation.protocol import env_spec

INTERRUPTED = "Interrupted. All complete episodes are kept; continue with --append."


@dataclass
class Collect:
    """Record episodes as a Minari dataset. Ctrl-C keeps complete episodes; continue with --append.

    Datasets are stored in ~/.minari/datasets, or in MINARI_DATASETS_PATH if it is set.
    """

    dataset: Annotated[str, tyro.conf.Positional]
    """Id of the dataset, for example robot-room/mixed-v0."""
    env_id: str = "RobotRoom-v0"
    """A registered environment."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, for example '{"layout_seed": 1}'."""
    policy: BehaviourKind | Path = "mixed"
    """random; noisy (the expert with noise); mixed (expert and random actions, proportions drawn per
    episode); expert (optimal); or a run's directory."""
    episodes: int = 100
    """Number of episodes to record."""
    steps: int | None = None
    """Record episodes until there are this many steps more, instead of a number of episodes."""
    seed: int = 0
    """Episode i starts from reset(seed=SEED + i)."""
    append: bool = False
    """Add to an existing dataset; i continues from its number of episodes."""


def main(config: Collect) -> None:
    """Run the command."""
    if config.episodes < 1:
        raise ValueError(f"episodes: got {config.episodes}, allowed: at least 1")
    if config.steps is not None and config.steps < 1:
        raise ValueError(f"steps: got {config.steps}, allowed: at least 1")
    env = gym.make(env_spec(config.env_id, config.env_kwargs))
    if isinstance(config.policy, Path):
        if not config.policy.is_dir():
            allowed = "random, noisy, mixed, expert, or the directory of a run"
            raise ValueError(f"policy: got {config.policy}, allowed: {allowed}")
        behaviour = Learned(Agent.load(config.policy / "agent", env))
    else:
        behaviour = Scripted(env, config.policy)
    with _alone(config.dataset):
        recorder = Recorder(config.dataset, env, str(config.policy), config.append)
        first, console = config.seed + recorder.episodes, Console(stderr=True)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if config.steps is None:
                for seed in track(range(first, first + config.episodes), "collecting", console=console):
                    recorder.add(record(env, behaviour, seed))
            else:
                wanted, seed = recorder.steps + config.steps, first
                with Progress(console=console) as bar:
                    task = bar.add_task("collecting", total=wanted, completed=recorder.steps)
                    while recorder.steps < wanted:
                        recorder.add(record(env, behaviour, seed))
                        seed += 1
                        bar.update(task, completed=recorder.steps)
        finally:
            signal.signal(signal.SIGTERM, before)
            recorder.publish()
        print(f"{config.dataset}: {recorder.episodes} episodes, {recorder.steps} steps")


@contextmanager
def _alone(dataset: str) -> Iterator[None]:
    """Hold a dataset against other processes that record into it.

    Raises:
        ValueError: one does.
    """
    path = Path(get_dataset_path(dataset))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"dataset: got {dataset}, into which another process records") from error
