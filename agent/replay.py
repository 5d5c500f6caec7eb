"""A replay buffer of whole episodes, from which windows are sampled."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from agent.types import Batch

LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Episode:
    """An episode, possibly unfinished: frames[t] ── actions[t] ──▶ frames[t + 1] with rewards[t]."""

    frames: list[NDArray[np.uint8]]
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


def checked_episode(episode: Episode, frame_shape: tuple[int, ...], action_size: int) -> Episode:
    """An episode of others as one that a replay can hold.

    Args:
        episode: T + 1 frames, T actions and T rewards, as lists or arrays.
        frame_shape: (H, W, C) of every frame.
        action_size: A of every action.

    Raises:
        ValueError: numbers of frames, actions and rewards do not belong together; a frame has another
            shape or is not uint8; an action has another shape or is not in [−1, 1]; a reward is not
            a finite number.
    """
    counts = len(episode.frames), len(episode.actions), len(episode.rewards)
    if not counts[0] - 1 == counts[1] == counts[2]:
        raise ValueError(
            f"episode: got {counts[0]} frames, {counts[1]} actions, {counts[2]} rewards; allowed: one "
            "frame more than actions, and as many rewards"
        )
    frames = [np.asarray(frame) for frame in episode.frames]
    for frame in frames:
        if frame.dtype != np.uint8 or frame.shape != frame_shape:
            got = f"{frame.dtype} {frame.shape}"
            raise ValueError(f"frames: got {got}, allowed: uint8 {frame_shape}, values from 0 to 255")
    actions = [np.asarray(action) for action in episode.actions]
    for action in actions:
        numbers = action.dtype.kind in "fiu" and action.shape == (action_size,)
        if not numbers or not (np.abs(action) <= 1).all():  # false for NaN, too
            allowed = f"{action_size} numbers in [-1, 1], scaled from the action space"
            raise ValueError(f"actions: got {action!r}, allowed: {allowed}")
    rewards = [float(reward) for reward in episode.rewards]
    if wrong := [reward for reward in rewards if not abs(reward) <= LARGEST]:
        raise ValueError(f"rewards: got {wrong[0]}, allowed: finite numbers of float32")
    return Episode(frames, [action.astype(np.float32) for action in actions], rewards)


class Replay:
    """A replay buffer of episodes, including unfinished ones.

    Args:
        capacity: steps stored; beyond it, the oldest whole episodes are dropped.

    Raises:
        ValueError: capacity is below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: got {capacity}, allowed: at least 1")
        self.capacity = capacity
        self.episodes: list[Episode] = []
        self.num_steps = 0

    def start(self, frame: NDArray[np.uint8]) -> Episode:
        """Start an episode with its first frame, (H, W, C)."""
        episode = Episode([frame])
        self.episodes.append(episode)
        return episode

    def append(
        self,
        episode: Episode,
        action: NDArray[np.float32],
        reward: float,
        frame: NDArray[np.uint8],
    ) -> None:
        """Append a step to an episode: the action, (A,) in [−1, 1], its reward and the next frame.

        Raises:
            ValueError: the reward is not a finite number; nothing is stored.
        """
        if not abs(reward) <= LARGEST:  # false for NaN, too
            raise ValueError(f"reward: got {reward} from the environment, allowed: a finite float32")
        episode.actions.append(action)
        episode.rewards.append(reward)
        episode.frames.append(frame)
        self.num_steps += 1
        self._forget()

    def add(self, episode: Episode) -> None:
        """Add a complete episode; see `checked_episode` for those of others."""
        self.episodes.append(episode)
        self.num_steps += len(episode.actions)
        self._forget()

    def _forget(self) -> None:
        """Drop the oldest episodes while over capacity."""
        while self.num_steps > self.capacity and len(self.episodes) > 1:
            self.num_steps -= len(self.episodes.pop(0).actions)

    def sample(self, windows: int, length: int, generator: np.random.Generator) -> Batch:
        """Sample `windows` windows of `length` frames, uniformly over all windows.

        An episode shorter than `length` counts as one window and is padded.

        Raises:
            ValueError: no step has been stored yet.
        """
        episodes = [episode for episode in self.episodes if episode.actions]
        if not episodes:
            raise ValueError("replay: got no steps, allowed: at least 1 before sampling")
        starts = np.array([max(len(e.frames) - length + 1, 1) for e in episodes])
        chosen = generator.choice(len(episodes), size=windows, p=starts / starts.sum())
        firsts = generator.integers(starts[chosen])
        return self._batch(
            [(episodes[e], int(first)) for e, first in zip(chosen, firsts, strict=True)], length
        )

    def all(self, length: int) -> Batch:
        """All episodes, cut into windows of `length` frames; the last of each episode is padded."""
        cuts = [
            (episode, first)
            for episode in self.episodes
            if episode.actions
            for first in range(0, len(episode.frames), length)
        ]
        return self._batch(cuts, length)

    def _batch(self, windows: list[tuple[Episode, int]], length: int) -> Batch:
        shape, size = windows[0][0].frames[0].shape, len(windows[0][0].actions[0])
        frames = np.zeros((len(windows), length, *shape), np.uint8)
        actions = np.zeros((len(windows), length - 1, size), np.float32)
        rewards, reward_mask, mask = np.zeros((3, len(windows), length), np.float32)
        for i, (episode, first) in enumerate(windows):
            count = min(len(episode.frames) - first, length)
            frames[i, :count] = episode.frames[first : first + count]
            mask[i, :count] = 1
            if count > 1:
                actions[i, : count - 1] = episode.actions[first : first + count - 1]
            skip = 1 if first == 0 else 0  # an episode's first frame has no reward
            rewards[i, skip:count] = episode.rewards[first + skip - 1 : first + count - 1]
            reward_mask[i, skip:count] = 1
        return Batch(*map(torch.from_numpy, (frames, actions, rewards, reward_mask, mask)))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All episodes as flat arrays, for saving; see `from_state`."""
        episodes = [episode for episode in self.episodes if episode.actions]
        if not episodes:
            return {"lengths": np.zeros(0, np.int64)}
        return {
            "lengths": np.array([len(episode.actions) for episode in episodes]),
            "frames": np.stack([frame for episode in episodes for frame in episode.frames]),
            "actions": np.stack([action for episode in episodes for action in episode.actions]),
            "rewards": np.array([reward for episode in episodes for reward in episode.rewards]),
        }

    @classmethod
    def from_state(cls, state: dict[str, NDArray[np.generic]], capacity: int) -> "Replay":
        """Restore a replay from `state`; its episodes are finished.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not belong together.
        """
        _require_consistent(state)
        replay = cls(capacity)
        first = 0
        for number, length in enumerate(state["lengths"].tolist()):
            frames = state["frames"][first + number : first + number + length + 1]
            episode = replay.start(np.asarray(frames[0], np.uint8))
            for t in range(length):
                action = np.asarray(state["actions"][first + t], np.float32)
                reward = float(state["rewards"][first + t])
                replay.append(episode, action, reward, np.asarray(frames[t + 1], np.uint8))
            first += length
        return replay


def _require_consistent(state: dict[str, NDArray[np.generic]]) -> None:
    """Refuse arrays that `Replay.state` cannot have returned."""
    array = state["lengths"]
    lengths: list[int] = array.tolist() if array.ndim == 1 and array.dtype.kind in "iu" else [0]
    if min(lengths, default=1) < 1:
        got = f"{array.dtype} {array.shape}"
        raise ValueError(f"replay: lengths: got {got}, allowed: a vector of whole numbers above 0")
    if not lengths:
        return
    steps = sum(lengths)
    for name, count, dimensions, kinds in (
        ("frames", steps + len(lengths), 4, "u"),
        ("actions", steps, 2, "f"),
        ("rewards", steps, 1, "f"),
    ):
        array = state[name]
        if array.ndim != dimensions or len(array) != count or array.dtype.kind not in kinds:
            got = f"{array.dtype} {array.shape}"
            allowed = f"{count} of them in {dimensions} dimensions, as the lengths say"
            raise ValueError(f"replay: {name}: got {got}, allowed: {allowed}")
