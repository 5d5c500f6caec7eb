"""Recording episodes of a behaviour as a Minari dataset."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage import get_dataset_path

from agent.atomic import replaced_directory, settled_directory
from agent.collection import plain
from agent.datasets import opened, read_episode, read_metadata, read_success, recorded_environment
from robot_room.app.datasets.card import CARD, UNKNOWN, Outcome, card
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
        infos=_stacked(infos),
    )


def _stacked(values: list[Any]) -> Any:
    """Values over time as one array, or a dict of those that are always there."""
    if isinstance(values[0], dict):
        names = [name for name in values[0] if all(name in value for value in values)]
        return {name: _stacked([value[name] for value in values]) for name in names}
    return np.stack(values)


def _copy(episode: Any, into: Any) -> None:
    """Copy a group with arrays in one piece: in Minari's chunks, frames take a third more."""
    into.attrs.update(episode.attrs)
    for name, part in episode.items():
        if isinstance(part, h5py.Group):
            _copy(part, into.create_group(name, track_order=True))
        else:
            into.create_dataset(name, data=part[()], dtype=part.dtype).attrs.update(part.attrs)


class Recorder:
    """A dataset that grows one complete episode at a time; frames are stored losslessly.

    A kill or a full disk never breaks it. Each episode is written to a folder of its own beside the
    dataset, atomically. When these have become as many as the dataset has episodes, and at `publish`,
    they are joined to a copy of the dataset, which then replaces it, with a data card. After a kill,
    the next `Recorder` that appends joins those that are left.

    Args:
        dataset_id: Minari's id, (namespace/)name-vN, in MINARI_DATASETS_PATH or ~/.minari.
        env: the environment the episodes are recorded in.
        behaviour: name of the acting policy, stored as metadata.
        append: whether to add to an existing dataset.

    Raises:
        ValueError: the id is malformed, the dataset exists and `append` is off, it is damaged, or it
            belongs to another environment. Nothing has been changed then.
    """

    def __init__(self, dataset_id: str, env: gym.Env[Any, Any], behaviour: str, append: bool) -> None:
        if not re.search(r"-v\d+$", dataset_id):  # Minari would raise a TypeError
            raise ValueError(
                f"dataset: got {dataset_id!r}, allowed: (namespace/)name-vN, as room/mixed-v0"
            )
        namespace, *_ = parse_dataset_id(dataset_id)
        self.dataset_id, self.env, self.behaviour = dataset_id, env, behaviour
        self._spec = copy.deepcopy(env.spec)
        if self._spec is not None:  # it is written as JSON
            self._spec.kwargs = plain(self._spec.kwargs)
        self._path = Path(get_dataset_path(dataset_id))
        self._loose = self._path.with_name(f".{self._path.name}.episodes")
        self._behaviours: dict[str, None] = {}  # in the order in which they began to act
        self._outcomes = self._read(self._path)
        self._joined = len(self._outcomes)
        while (self._loose / str(self.episodes)).is_dir():
            self._outcomes += self._read(self._loose / str(self.episodes))
        if self.episodes and not append:
            raise ValueError(f"dataset: got {dataset_id}, which exists; allowed: a new id, or --append")
        if self._joined:
            self._require_same_environment()
        if namespace is not None and namespace not in list_local_namespaces():
            create_namespace(namespace)
        self.publish()

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self._outcomes)

    @property
    def steps(self) -> int:
        """Number of steps."""
        return sum(outcome.steps for outcome in self._outcomes)

    def add(self, episode: EpisodeBuffer) -> None:
        """Write one more episode.

        Raises:
            OSError: the disk is full. All episodes before this one are kept.
        """
        with replaced_directory(self._loose / str(self.episodes)) as folder:
            spaces = self.env.observation_space, self.env.action_space
            storage = MinariStorage.new(folder / "data", *spaces, self._spec, jpeg_encoding=False)
            about = {"dataset_id": self.dataset_id, "algorithm_name": self.behaviour}
            storage.update_metadata({**about, "minari_version": minari.__version__})
            storage.update_episodes([episode])
        self._behaviours[self.behaviour] = None
        success = None if episode.infos is None else episode.infos.get("is_success")
        self._outcomes.append(Outcome.of(np.array(episode.rewards), success))
        if self.episodes >= 2 * self._joined:
            self.publish()

    def publish(self) -> None:
        """Join the episodes that lie beside the dataset to it."""
        new = range(self._joined, self.episodes)
        if new:
            with replaced_directory(self._path) as folder:
                first = self._path if self._joined else self._loose / "0"
                shutil.copytree(first, folder, dirs_exist_ok=True)
                with h5py.File(folder / "data" / "main_data.hdf5", "a", track_order=True) as file:
                    for name in set(file) - {f"episode_{number}" for number in range(self._joined)}:
                        del file[
                            name
                        ]  # half an episode, of versions that could be killed while writing
                    for number in new:
                        with opened(self._loose / str(number) / "data") as source:
                            _copy(source["episode_0"], file.create_group(f"episode_{number}"))
                        file[f"episode_{number}"].attrs["id"] = number
                storage = MinariStorage.read(folder / "data")
                totals = {
                    "total_episodes": self.episodes,
                    "total_steps": self.steps,
                    "algorithm_name": ", ".join(self._behaviours),
                }
                storage.update_metadata({**totals, "dataset_size": storage.get_size()})
                text = card(self.dataset_id, self.env, list(self._behaviours), self._outcomes)
                (folder / CARD).write_text(text, encoding="utf-8")
            self._joined = self.episodes
        shutil.rmtree(self._loose, ignore_errors=True)

    def _read(self, folder: Path) -> list[Outcome]:
        """How the episodes of a dataset went, each of which is read through; none if it is missing."""
        with settled_directory(folder) as path:
            if not path.exists():
                return []
            metadata, outcomes = read_metadata(path / "data"), []
            self._behaviours |= dict.fromkeys((metadata.algorithm_name or UNKNOWN).split(", "))
            with opened(path / "data") as file:
                for number in range(metadata.total_episodes):
                    try:
                        space, jpeg = self.env.observation_space, metadata.jpeg_encoding
                        _, _, rewards = read_episode(file, number, space, jpeg)
                        outcomes.append(Outcome.of(rewards, read_success(file, number)))
                    except (ValueError, LookupError, TypeError, OSError, RuntimeError) as error:
                        raise ValueError(f"{path}: episode_{number}: {error}") from error
            return outcomes

    def _require_same_environment(self) -> None:
        data, spec = self._path / "data", self._spec
        metadata = read_metadata(data)
        if metadata.jpeg_encoding:
            allowed = "one whose frames are stored without loss, or a new id"
            raise ValueError(f"dataset: got {self.dataset_id} with frames as JPEG, allowed: {allowed}")
        recorded = recorded_environment(data, metadata)
        if spec is None or recorded != (spec.id, json.loads(json.dumps(spec.kwargs))):
            got = spec and f"{spec.id} {spec.kwargs}"
            raise ValueError(f"env_id: got {got}, allowed: the dataset's, {recorded[0]} {recorded[1]}")
