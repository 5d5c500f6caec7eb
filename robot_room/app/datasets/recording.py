"""Recording episodes of a behaviour as a Minari dataset."""

import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from minari import MinariDataset, create_dataset_from_buffers, load_dataset
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from robot_room.app.evaluation.policies import Behaviour


def record(env: gym.Env[Any, Any], behaviour: Behaviour, seed: int) -> EpisodeBuffer:
    """One episode from `reset(seed=seed)`: T + 1 observations and infos, T of everything else."""
    observation, info = env.reset(seed=seed)
    behaviour.reset(np.random.default_rng([seed, 1]))
    observations, infos, over = [observation], [info], False
    actions, rewards, terminations, truncations = [], [], [], []
    while not over:
        actions.append(behaviour(observation, info))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        over = terminated or truncated
        observations.append(observation)
        infos.append(info)
        rewards.append(float(reward))
        terminations.append(terminated)
        truncations.append(truncated)
    return EpisodeBuffer(
        seed=seed,
        # Minari declares lists but stores arrays, so arrays are passed.
        observations=_stacked(observations),
        actions=np.stack(actions),  # pyright: ignore[reportArgumentType]
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        infos={
            name: _stacked([step[name] for step in infos])
            for name in infos[0]
            if all(name in step for step in infos)
        },
    )


def _stacked(values: list[Any]) -> Any:
    """Values of each step as one array, or a dict of such."""
    if isinstance(values[0], dict):
        return {name: _stacked([value[name] for value in values]) for name in values[0]}
    return np.stack(values)


class Recorder:
    """A dataset that grows one complete episode at a time; frames are stored losslessly.

    Args:
        dataset_id: Minari's id, (namespace/)name-vN, in MINARI_DATASETS_PATH or ~/.minari.
        env: the environment the episodes are recorded in.
        behaviour: name of the acting policy, stored as metadata.
        append: whether to add to an existing dataset.

    Raises:
        ValueError: the id is malformed, the dataset exists and `append` is off, or it belongs to
            another environment. Nothing has been changed then.
    """

    def __init__(self, dataset_id: str, env: gym.Env[Any, Any], behaviour: str, append: bool) -> None:
        if not re.search(r"-v\d+$", dataset_id):  # Minari would raise a TypeError
            raise ValueError(
                f"dataset: got {dataset_id!r}, allowed: (namespace/)name-vN, as room/mixed-v0"
            )
        parse_dataset_id(dataset_id)
        self.dataset_id, self.env, self.behaviour = dataset_id, env, behaviour
        self.dataset: MinariDataset | None = None
        if not Path(get_dataset_path(dataset_id)).exists():
            return
        if not append:
            raise ValueError(f"dataset: got {dataset_id}, which exists; allowed: a new id, or --append")
        self.dataset = load_dataset(dataset_id)
        if self.dataset.env_spec != env.spec:
            got, wanted = (
                spec and f"{spec.id} {spec.kwargs}" for spec in (env.spec, self.dataset.env_spec)
            )
            raise ValueError(f"env_id: got {got}, allowed: the dataset's, {wanted}")

    @property
    def episodes(self) -> int:
        """Number of episodes in the dataset."""
        return 0 if self.dataset is None else int(self.dataset.total_episodes)

    @property
    def steps(self) -> int:
        """Number of steps in the dataset."""
        return 0 if self.dataset is None else int(self.dataset.total_steps)

    def add(self, episode: EpisodeBuffer) -> None:
        """Write one more episode."""
        if self.dataset is not None:
            self.dataset.update_dataset_from_buffer([episode])
            return
        with warnings.catch_warnings():  # Minari warns that no author is given
            warnings.simplefilter("ignore", UserWarning)
            self.dataset = create_dataset_from_buffers(
                self.dataset_id,
                [episode],
                env=self.env,
                algorithm_name=self.behaviour,
                jpeg_encoding=False,
            )
