import jaxtyping
import numpy as np
import pytest

from agent import Agent
from agent.replay import Episode, Replay, checked_episode


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


def test_only_the_last_frame_of_a_terminated_episode_does_not_continue():
    replay = Replay(1000)
    numbered(replay, 5, 0)
    numbered(replay, 5, 100)
    replay.episodes[0].terminated = True  # the other is cut off
    batch = replay.sample(500, 4, np.random.default_rng(0), reach_ends=True)
    ends = (batch.frames[..., 0, 0, 0] == 5) & batch.mask.bool()
    assert ends.any()
    assert (batch.continues == 1 - ends.float()).all()


def test_windows_that_reach_ends_hold_the_last_frame_as_often_as_others():
    replay = Replay(1000)
    numbered(replay, 9, 0)  # 10 frames; windows of 4 start at 0 … 8
    batch = replay.sample(40_000, 4, np.random.default_rng(0), reach_ends=True)
    numbers = batch.frames[batch.mask.bool()][:, 0, 0, 0].numpy()
    counts = np.bincount(numbers, minlength=10) / 40_000
    expected = [min(f, 8) - max(f - 3, 0) + 1 for f in range(10)]
    np.testing.assert_allclose(counts, np.array(expected) / 9, atol=0.01)
    plain = replay.sample(40_000, 4, np.random.default_rng(0))
    last = (plain.frames[..., 0, 0, 0] == 9).float().mean().item() * 4
    assert last == pytest.approx(1 / 7, abs=0.01)


def test_all_covers_each_frame_once():
    replay = Replay(1000)
    numbered(replay, 12, 0)
    numbered(replay, 7, 100)
    batch = replay.all(5)
    frames = batch.frames[batch.mask.bool()][:, 0, 0, 0].tolist()
    assert sorted(frames) == [*range(13), *range(100, 108)]


def test_of_too_many_windows_some_are_taken_evenly():
    replay = Replay(1000)
    for first in range(0, 200, 20):
        numbered(replay, 9, first)  # two windows of five frames
    begins = replay.all(5, most=10).frames[:, 0, 0, 0, 0].tolist()
    assert begins == list(range(0, 200, 20))
    assert len(replay.all(5, most=20).frames) == len(replay.all(5, most=21).frames) == 20
    assert replay.all(5, most=3).frames[:, 0, 0, 0, 0].tolist() == [0, 60, 125]


def test_state_round_trip():
    replay = Replay(1000)
    numbered(replay, 12, 0)
    numbered(replay, 7, 100)
    replay.episodes[1].terminated = True
    replay.start(np.zeros((4, 4, 1), np.uint8))  # an episode without a step holds nothing to learn
    copy = Replay.from_state(replay.state(), 1000)
    assert copy.num_steps == replay.num_steps == 19
    assert [episode.terminated for episode in copy.episodes] == [False, True]
    older = {name: array for name, array in replay.state().items() if name != "terminated"}
    assert not any(e.terminated for e in Replay.from_state(older, 1000).episodes)  # taken as cut off
    for a, b in zip(replay.all(5), copy.all(5), strict=True):
        assert (a == b).all()
    assert Replay.from_state(Replay(5).state(), 5).num_steps == 0


def test_the_oldest_episodes_go_first():
    replay = Replay(10)
    for first in (0, 50, 100):
        numbered(replay, 4, first)
    assert replay.num_steps == 8
    assert [episode.frames[0][0, 0, 0] for episode in replay.episodes] == [50, 100]


def test_an_open_episode_is_never_dropped():
    replay = Replay(10)
    frame = np.zeros((4, 4, 1), np.uint8)
    long = replay.start(frame, open=True)
    numbered(replay, 8, 0)
    for _ in range(30):
        replay.append(long, np.zeros(2, np.float32), 0.0, frame)
    assert [episode is long for episode in replay.episodes] == [True]
    assert replay.num_steps == 30 == len(long.actions)
    replay.finish_all()
    numbered(replay, 1, 100)  # now there is something newer
    assert replay.num_steps == sum(len(episode.actions) for episode in replay.episodes) == 1


def test_an_open_episode_is_not_dropped_for_another_one():
    replay, frame = Replay(10), np.zeros((4, 4, 1), np.uint8)
    long, other = (replay.start(frame, open=True) for _ in range(2))
    for episode, steps in ((long, 12), (other, 2)):
        for _ in range(steps):
            replay.append(episode, np.zeros(2, np.float32), 0.0, frame)
    assert [episode is long for episode in replay.episodes] == [True, False]
    assert replay.num_steps == 14


def test_an_episode_that_was_dropped_and_goes_on_is_counted():
    replay = Replay(10)
    frame = np.zeros((4, 4, 1), np.uint8)
    early = replay.start(frame)
    replay.append(early, np.zeros(2, np.float32), 0.0, frame)
    numbered(replay, 12, 0)
    for _ in range(5):
        replay.append(early, np.zeros(2, np.float32), 0.0, frame)
    assert any(episode is early for episode in replay.episodes)
    assert replay.num_steps == sum(len(episode.actions) for episode in replay.episodes) == 6


def test_an_empty_replay_says_so():
    with pytest.raises(ValueError, match="replay: got no steps"):
        Replay(10).sample(1, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="capacity: got 0"):
        Replay(0)


def whole(**changes):
    """An episode of three steps that fits, but for the changes."""
    good = {
        "frames": list(np.zeros((4, 4, 4, 1), np.uint8)),
        "actions": list(np.zeros((3, 2), np.float32)),
        "rewards": [0.0, 1.0, -1.0],
    }
    episode = Episode(**good)
    for name, value in changes.items():  # not by the constructor, whose types the tests check
        setattr(episode, name, value)
    return episode


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((4, 4, 4, 1))}, r"frames: got float64 \(4, 4, 1\), allowed: uint8"),
        ({"frames": np.zeros((4, 4, 5, 1), np.uint8)}, r"frames: got uint8 \(4, 5, 1\), allowed"),
        ({"frames": np.zeros((3, 4, 4, 1), np.uint8)}, "episode: got 3 frames, 3 actions, 3 rewards"),
        ({"rewards": [0.0]}, "episode: got 4 frames, 3 actions, 1 rewards"),
        ({"actions": np.zeros((2, 2))}, "episode: got 4 frames, 2 actions, 3 rewards"),
        ({"actions": np.full((3, 2), 3.0)}, r"actions: got .*allowed: 2 numbers in \[-1, 1\]"),
        ({"actions": np.full((3, 2), np.nan)}, "actions: got"),
        ({"actions": np.zeros((3, 1))}, "actions: got"),
        ({"actions": [["a", "b"]] * 3}, "actions: got"),
        ({"rewards": [0.0, float("nan"), 1.0]}, "rewards: got nan, allowed: finite numbers"),
        ({"rewards": [0.0, 1.0, float("inf")]}, "rewards: got inf"),
        ({"rewards": [0.0, "1", 1.0]}, "rewards: got '1'"),
        ({"rewards": None}, "rewards: got None, allowed: a list or an array"),
        ({"actions": [[1, 2], [1], [0, 0]]}, "actions: got array"),
        ({"actions": np.full((3, 2), -(2**63))}, "actions: got"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        checked_episode(whole(**changes), (4, 4, 1), 2)


def test_what_is_no_episode_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would object first
    with pytest.raises(ValueError, match=r"episode: got 5, allowed: an .*Episode"):
        checked_episode(5, (4, 4, 1), 2)  # pyright: ignore[reportArgumentType]


def test_an_episode_that_fits_is_kept_as_the_replay_has_it():
    ints = whole(actions=np.array([[1, 0], [0, -1], [0, 0]]), rewards=np.arange(3))
    episode = checked_episode(ints, (4, 4, 1), 2)
    assert {action.dtype for action in episode.actions} == {np.dtype(np.float32)}
    assert episode.rewards == [0.0, 1.0, 2.0] and {type(r) for r in episode.rewards} == {float}


def test_a_refused_episode_leaves_the_agent_as_it_was():
    agent = Agent("RobotRoom-v0")
    frames, actions = np.zeros((4, 64, 64, 3), np.uint8), np.zeros((3, 2), np.float32)
    good, bad = (Episode(list(frames), list(actions), [0.0, 0.0, r]) for r in (0.0, float("nan")))
    with pytest.raises(ValueError, match="rewards: got nan"):
        agent.learn_from([good, bad])
    assert agent.replay.num_steps == agent.num_timesteps == 0 and not agent.replay.episodes


def test_a_reward_that_is_not_finite_is_not_stored():
    replay = Replay(10)
    episode = replay.start(np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="reward: got nan from the environment"):
        replay.append(episode, np.zeros(2, np.float32), float("nan"), np.zeros((4, 4, 1), np.uint8))
    assert replay.num_steps == 0 and len(episode.frames) == 1 and not episode.actions


@pytest.mark.parametrize("name", ["actions", "rewards"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_that_are_not_finite_are_refused(name, value):
    replay = Replay(1000)
    numbered(replay, 4, 0)
    state = replay.state()
    state[name][2] = value
    with pytest.raises(ValueError, match=f"replay: {name}: got NaN or infinity"):
        Replay.from_state(state, 1000)
