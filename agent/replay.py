"""A replay buffer of whole episodes, from which windows are sampled."""

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.config import Count, Size, checked
from agent.distributions import returns_vary
from agent.types import Batch

LARGEST = float(np.finfo(np.float32).max)
PER_EPISODE = {"open": np.bool_, "terminated": np.bool_}
"""Fields of an episode that are saved with it; an array each, False where an older file has none."""


@dataclass
class Episode:
    """An episode, possibly unfinished: frames[t] ── actions[t] ──▶ frames[t + 1] with rewards[t]."""

    frames: list[NDArray[np.uint8]]
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    open: bool = False
    """Whether steps are still to come; an open episode is never dropped from a replay."""
    terminated: bool = False
    """Whether the last frame ended it; if not, it was cut off."""
    held: bool = field(default=False, init=False)
    """Whether it is in a replay."""


def checked_episode(episode: Episode, frame_shape: tuple[int, ...], action_size: int) -> Episode:
    """An episode of others as one that a replay can hold.

    Args:
        episode: T + 1 frames, T actions and T rewards, as lists or arrays.
        frame_shape: (H, W, C) of every frame.
        action_size: A of every action.

    Raises:
        ValueError: numbers of frames, actions and rewards do not belong together; a frame has another
            shape or is not uint8; an action has another shape or is not in [−1, 1]; a reward is not
            a finite number; `terminated` is not a truth value.
    """
    if not isinstance(episode, Episode):
        raise ValueError(f"episode: got {episode!r:.200}, allowed: an `agent.replay.Episode`")
    parts = [_listed(name, getattr(episode, name)) for name in ("frames", "actions", "rewards")]
    counts = [len(part) for part in parts]
    if not counts[0] - 1 == counts[1] == counts[2]:
        raise ValueError(
            f"episode: got {counts[0]} frames, {counts[1]} actions, {counts[2]} rewards; allowed: one "
            "frame more than actions, and as many rewards"
        )
    frames, actions = ([as_array(each) for each in part] for part in parts[:2])
    for frame in frames:
        if frame.dtype != np.uint8 or frame.shape != frame_shape:
            got = f"{frame.dtype} {frame.shape}"
            raise ValueError(f"frames: got {got}, allowed: uint8 {frame_shape}, values from 0 to 255")
    for action in actions:
        numbers = action.dtype.kind in "fiu" and action.shape == (action_size,)
        if not numbers or not ((action >= -1) & (action <= 1)).all():  # false for NaN, too
            allowed = f"{action_size} numbers in [-1, 1], scaled from the action space"
            raise ValueError(f"actions: got {action!r}, allowed: {allowed}")
    rewards = [_reward("rewards", reward) for reward in parts[2]]
    if not isinstance(episode.terminated, bool | np.bool_):
        raise ValueError(f"terminated: got {episode.terminated!r:.200}, allowed: True or False")
    actions = [action.astype(np.float32) for action in actions]
    return Episode(frames, actions, rewards, terminated=bool(episode.terminated))


def _listed(name: str, values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError as error:
        raise ValueError(f"{name}: got {values!r:.200}, allowed: a list or an array") from error


def as_array(value: Any) -> NDArray[Any]:
    """An array; of objects, which nothing accepts, where the value is none."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        return np.array(None)


def _reward(name: str, value: Any, origin: str = "") -> float:
    """A reward as a number that float32 can hold."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not abs(number) <= LARGEST:  # false for NaN, too
        raise ValueError(f"{name}: got {value!r:.200}{origin}, allowed: finite numbers of float32")
    return number


class Replay:
    """A replay buffer of episodes, including unfinished ones.

    Args:
        capacity: steps stored; beyond it, the oldest episodes are dropped, except for those still open.

    Raises:
        ValueError: capacity is below 1.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = checked("capacity", capacity, Count)
        self.episodes: list[Episode] = []
        self.num_steps = 0

    def start(self, frame: NDArray[np.uint8], open: bool = False) -> Episode:
        """Start an episode with its first frame, (H, W, C)."""
        episode = Episode([frame], open=open)
        self._hold(episode)
        return episode

    def append(
        self,
        episode: Episode,
        action: NDArray[np.float32],
        reward: float,
        frame: NDArray[np.uint8],
        terminated: bool = False,
    ) -> None:
        """Append a step to an episode: the action, (A,) in [−1, 1], its reward and the next frame.

        Args:
            episode: returned by `start`.
            action: the action.
            reward: its reward.
            frame: the next frame.
            terminated: whether the frame ends the episode.

        Raises:
            ValueError: the reward is not a finite number; nothing is stored.
        """
        reward = _reward("reward", reward, " from the environment")
        if not episode.held:  # it was dropped, and goes on
            self._hold(episode)
        episode.actions.append(action)
        episode.rewards.append(reward)
        episode.frames.append(frame)
        episode.terminated = terminated
        self.num_steps += 1
        self._forget(episode)

    def rewards(self) -> list[float]:
        """All rewards."""
        return [reward for episode in self.episodes for reward in episode.rewards]

    def returns_vary(self) -> bool:
        """See `agent.distributions.returns_vary`."""
        ended = any(episode.terminated for episode in self.episodes)
        return returns_vary(torch.tensor(self.rewards()), ended)

    def finish_all(self) -> None:
        """Finish every open episode; those without a step are dropped."""
        self.episodes = [episode for episode in self.episodes if episode.actions]
        for episode in self.episodes:
            episode.open = False

    def add(self, episode: Episode) -> None:
        """Add a complete episode; see `checked_episode` for those of others."""
        self._hold(episode)
        self._forget(episode)

    def _hold(self, episode: Episode) -> None:
        episode.held = True
        self.episodes.append(episode)
        self.num_steps += len(episode.actions)

    def _forget(self, current: Episode | None = None) -> None:
        """Drop the oldest episodes while over capacity, but neither an open one nor the current one."""
        number = 0
        while self.num_steps > self.capacity and number < len(self.episodes):
            if self.episodes[number].open or self.episodes[number] is current:
                number += 1
            else:
                dropped = self.episodes.pop(number)
                dropped.held = False
                self.num_steps -= len(dropped.actions)

    def sample(
        self, windows: int, length: int, generator: np.random.Generator, reach_ends: bool = False
    ) -> Batch:
        """Sample `windows` windows of `length` frames, uniformly over all windows.

        An episode shorter than `length` counts as one window and is padded.

        Args:
            windows: number of windows.
            length: frames in a window.
            generator: generator of the draws.
            reach_ends: whether windows may also begin so late that they are padded, up to an episode's
                last but one frame. Otherwise only one window of an episode holds its last frame,
                while `length` of them hold one in the middle.

        Raises:
            ValueError: no step has been stored yet, or an argument is not allowed.
        """
        windows, length = checked("windows", windows, Size), checked("length", length, Size)
        reach_ends = checked("reach_ends", reach_ends, bool)
        episodes = [episode for episode in self.episodes if episode.actions]
        if not episodes:
            raise ValueError("replay: got no steps, allowed: at least 1 before sampling")
        shortest = 2 if reach_ends else length
        starts = np.array([max(len(e.frames) - shortest + 1, 1) for e in episodes])
        chosen = generator.choice(len(episodes), size=windows, p=starts / starts.sum())
        firsts = generator.integers(starts[chosen])
        return self._batch(
            [(episodes[e], int(first)) for e, first in zip(chosen, firsts, strict=True)], length
        )

    def all(self, length: int, most: int | None = None) -> Batch:
        """All episodes, cut into windows of `length` frames; the last of each episode is padded.

        Of more than `most` windows, so many are taken, evenly spaced.
        """
        cuts = [
            (episode, first)
            for episode in self.episodes
            if episode.actions
            for first in range(0, len(episode.frames), length)
        ]
        if most is not None and len(cuts) > most:
            cuts = [cuts[i * len(cuts) // most] for i in range(most)]
        return self._batch(cuts, length)

    def _batch(self, windows: list[tuple[Episode, int]], length: int) -> Batch:
        shape, size = windows[0][0].frames[0].shape, len(windows[0][0].actions[0])
        frames = np.zeros((len(windows), length, *shape), np.uint8)
        actions = np.zeros((len(windows), length - 1, size), np.float32)
        rewards, reward_mask, mask = np.zeros((3, len(windows), length), np.float32)
        continues = np.ones((len(windows), length), np.float32)
        for i, (episode, first) in enumerate(windows):
            count = min(len(episode.frames) - first, length)
            frames[i, :count] = episode.frames[first : first + count]
            mask[i, :count] = 1
            if count > 1:
                actions[i, : count - 1] = episode.actions[first : first + count - 1]
            skip = 1 if first == 0 else 0  # an episode's first frame has no reward
            rewards[i, skip:count] = episode.rewards[first + skip - 1 : first + count - 1]
            reward_mask[i, skip:count] = 1
            if episode.terminated and first + count == len(episode.frames):
                continues[i, count - 1] = 0
        arrays = frames, actions, rewards, reward_mask, mask, continues
        return Batch(*map(torch.from_numpy, arrays))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All episodes as flat arrays, for saving; see `from_state`.

        One entry per episode: "lengths" (its steps) and those of `PER_EPISODE`. The frames, actions and
        rewards of all episodes follow one another.
        """
        episodes = [episode for episode in self.episodes if episode.actions or episode.open]
        arrays: dict[str, NDArray[np.generic]] = {
            "lengths": np.array([len(episode.actions) for episode in episodes], np.int64)
        }
        for name, dtype in PER_EPISODE.items():
            arrays[name] = np.array([getattr(episode, name) for episode in episodes], dtype)
        if episodes:
            arrays["frames"] = np.stack([frame for each in episodes for frame in each.frames])
            arrays["rewards"] = np.array(
                [reward for each in episodes for reward in each.rewards], float
            )
        if actions := [action for each in episodes for action in each.actions]:
            arrays["actions"] = np.stack(actions)
        return arrays

    @classmethod
    def from_state(cls, state: dict[str, NDArray[np.generic]], capacity: int) -> "Replay":
        """Restore a replay from `state`.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not belong together.
        """
        _require_consistent(state)
        replay = cls(capacity)
        first = 0
        for number, length in enumerate(state["lengths"].tolist()):
            frames = state["frames"][first + number : first + number + length + 1]
            steps = slice(first, first + length)
            actions = np.asarray(state["actions"][steps], np.float32) if length else ()
            rewards = state["rewards"][steps].tolist()
            kept = {name: bool(state[name][number]) for name in PER_EPISODE if name in state}
            replay.add(Episode(list(frames), list(actions), rewards, **kept))
            first += length
        return replay


def _require_consistent(state: dict[str, NDArray[np.generic]]) -> None:
    """Refuse arrays that `Replay.state` cannot have returned."""
    count = len(state["lengths"]) if state["lengths"].ndim == 1 else -1
    _require_array("lengths", state, count, 1, "iu")
    lengths = state["lengths"].tolist()  # as Python's numbers, whose sum cannot overflow
    if min(lengths, default=0) < 0:
        raise ValueError(f"replay: lengths: got {min(lengths)}, allowed: numbers of steps")
    steps = sum(lengths)
    if count:
        _require_array("frames", state, steps + count, 4, "u")
        _require_array("rewards", state, steps, 1, "f")
    if steps:
        _require_array("actions", state, steps, 2, "f")
        for name in ("actions", "rewards"):
            if not (np.abs(state[name]) <= LARGEST).all():  # false for NaN, too
                raise ValueError(f"replay: {name}: got NaN or infinity, allowed: finite float32")
    for name in PER_EPISODE:
        if name in state:
            _require_array(name, state, count, 1, "b")
    opened = state.get("open", np.zeros(max(count, 0), np.bool_)).tolist()
    if any(length == 0 and not is_open for length, is_open in zip(lengths, opened, strict=True)):
        raise ValueError("replay: lengths: got 0, allowed: at least 1 step, unless it is open")


def _require_array(
    name: str, state: dict[str, NDArray[np.generic]], count: int, dimensions: int, kind: str
) -> None:
    array = state[name]
    wrong = array.ndim != dimensions or len(array) != count or array.dtype.kind not in kind
    if wrong or (kind == "u" and array.dtype != np.uint8):
        got = f"{array.dtype} {array.shape}"
        allowed = f"{max(count, 0)} of them in {dimensions} dimensions, as the lengths say"
        raise ValueError(f"replay: {name}: got {got}, allowed: {allowed}")
