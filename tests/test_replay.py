import numpy as np
import pytest

from agent.replay import Replay


def numbered(replay, length, first):
    """An episode whose frame, action and reward say which step of which episode they are."""
    episode = replay.start(np.full((4, 4, 1), first, np.uint8))
    for t in range(length):
        number = first + t + 1
        action = np.full(2, number, np.float32)
        replay.append(episode, action, float(number), np.full((4, 4, 1), number, np.uint8))


def test_windows_align_frames_actions_and_rewards():
    replay = Replay(1000)
    numbered(replay, 12, 0)
    numbered(replay, 7, 100)
    batch = replay.sample(200, 5, np.random.default_rng(0))
    assert batch.frames.shape == (200, 5, 4, 4, 1) and batch.actions.shape == (200, 4, 2)
    assert (batch.mask == 1).all()
    numbers = batch.frames[:, :, 0, 0, 0].int()
    assert (numbers.diff(dim=1) == 1).all()  # never across episodes
    assert (batch.actions[:, :, 0] == numbers[:, 1:]).all()  # a[t] led to x[t + 1]
    begins = (numbers == 0) | (numbers == 100)
    assert (batch.reward_mask == (~begins).float()).all()
    assert (batch.rewards == numbers * batch.reward_mask).all()


def test_every_window_is_equally_likely():
    replay = Replay(1000)
    numbered(replay, 5, 0)  # windows of 3 frames start at 0 … 3
    numbered(replay, 3, 100)  # and at 100, 101
    batch = replay.sample(30_000, 3, np.random.default_rng(0))
    _, counts = np.unique(batch.frames[:, 0, 0, 0, 0].numpy(), return_counts=True)
    np.testing.assert_allclose(counts / 30_000, np.full(6, 1 / 6), atol=0.01)


def test_short_episodes_are_padded_and_masked():
    replay = Replay(1000)
    numbered(replay, 2, 10)
    batch = replay.sample(3, 6, np.random.default_rng(0))
    assert batch.mask.tolist() == [[1, 1, 1, 0, 0, 0]] * 3
    assert batch.reward_mask.tolist() == [[0, 1, 1, 0, 0, 0]] * 3
    assert batch.rewards.tolist() == [[0, 11, 12, 0, 0, 0]] * 3
    assert batch.actions[:, :, 0].tolist() == [[11, 12, 0, 0, 0]] * 3


def test_all_covers_each_frame_once():
    replay = Replay(1000)
    numbered(replay, 12, 0)
    numbered(replay, 7, 100)
    batch = replay.all(5)
    frames = batch.frames[batch.mask.bool()][:, 0, 0, 0].tolist()
    assert sorted(frames) == [*range(13), *range(100, 108)]


def test_state_round_trip():
    replay = Replay(1000)
    numbered(replay, 12, 0)
    numbered(replay, 7, 100)
    replay.start(np.zeros((4, 4, 1), np.uint8))  # an episode without a step holds nothing to learn
    copy = Replay.from_state(replay.state(), 1000)
    assert copy.num_steps == replay.num_steps == 19
    for a, b in zip(replay.all(5), copy.all(5), strict=True):
        assert (a == b).all()
    assert Replay.from_state(Replay(5).state(), 5).num_steps == 0


def test_the_oldest_episodes_go_first():
    replay = Replay(10)
    for first in (0, 50, 100):
        numbered(replay, 4, first)
    assert replay.num_steps == 8
    assert [episode.frames[0][0, 0, 0] for episode in replay.episodes] == [50, 100]


def test_an_empty_replay_says_so():
    with pytest.raises(ValueError, match="replay: got no steps"):
        Replay(10).sample(1, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="capacity: got 0"):
        Replay(0)
