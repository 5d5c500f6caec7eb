"""Loading of episodes from Minari datasets."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from agent.replay import Episode


def load_episodes(
    dataset_id: str, env_spec: EnvSpec | None, observations: gym.spaces.Box, actions: gym.spaces.Box
) -> Iterator[Episode]:
    """Frames, actions scaled to [−1, 1] and rewards, read lazily from disk.

    Args:
        dataset_id: the Minari id; looked up in MINARI_DATASETS_PATH or ~/.minari/datasets.
        env_spec: the environment it must come from; not checked if the dataset has no spec.
        observations: the agent's observation space.
        actions: the agent's action space.

    Raises:
        ValueError: Minari is missing, there is no such dataset, or it is from another environment.
    """
    try:
        import minari
    except ImportError as error:
        raise ValueError(
            f"dataset: got {dataset_id!r}, allowed: only with Minari, pip install 'robot-room[data]'"
        ) from error
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise ValueError(
            f"dataset: got {dataset_id!r}, allowed: one of {sorted(minari.list_local_datasets())}; "
            "record one with robot-room collect, or minari download"
        ) from error
    spaces = dataset.observation_space, dataset.action_space
    if spaces != (observations, actions):
        raise ValueError(
            f"dataset: got {dataset_id!r} with spaces {spaces}, allowed: {(observations, actions)}"
        )

    recorded, wanted = (None if s is None else (s.id, s.kwargs) for s in (dataset.env_spec, env_spec))
    if recorded is not None and recorded != wanted:
        raise ValueError(
            f"dataset: got one of {recorded}, allowed: one of the environment that is learned, {wanted}"
        )

    def episodes() -> Iterator[Episode]:
        for recorded in dataset.iterate_episodes():
            span = actions.high - actions.low
            scaled = 2 * (np.asarray(recorded.actions) - actions.low) / span - 1
            scaled = np.clip(scaled, -1, 1).astype(np.float32)
            frames = np.asarray(recorded.observations, np.uint8)
            yield Episode(list(frames), list(scaled), [float(r) for r in recorded.rewards])

    return episodes()
