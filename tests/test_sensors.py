from statistics import NormalDist

import gymnasium as gym
import numpy as np
import pytest

import robot_room  # noqa: F401
from robot_room import sensors
from robot_room.room import RoomParams
from robot_room.rooms import Rooms

KEYS = np.random.default_rng(0).integers(0, 2**63, 400).astype(np.uint64)


def steps(t):
    return np.full(len(KEYS), t)


def grey(value=128, rooms=400):
    return np.full((rooms, 64, 64, 3), value, np.uint8)


@pytest.mark.parametrize("severity", range(1, 6))
def test_gaussian_noise_has_the_rounded_and_clipped_normal_distribution(severity):
    """Against the normal distribution function: each grey level is as frequent as it should be."""
    frames = grey(150, 50)
    sensors.add_gaussian(frames, KEYS[:50], steps(3)[:50], severity)
    normal = NormalDist(150, sensors.level("gaussian", severity))
    cdf = np.array([normal.cdf(k + 0.5) for k in range(255)] + [1.0])
    expected = np.diff(cdf, prepend=0.0)
    measured = np.bincount(frames.ravel(), minlength=256) / frames.size
    # Five standard errors, and the bank's own grain.
    allowed = 5 * np.sqrt(expected / frames.size) + 2 / 2**18
    assert (np.abs(measured - expected) <= allowed).all()


def test_gaussian_noise_is_independent_between_pixels_steps_and_rooms():
    frames = np.stack([grey(rooms=4) for _ in range(3)])
    for t in range(3):
        sensors.add_gaussian(frames[t], KEYS[:4], steps(t)[:4], 2)
    noise = frames.reshape(12, -1).astype(float)
    noise -= noise.mean(axis=1, keepdims=True)
    correlations = np.corrcoef(noise) - np.eye(12)
    assert np.abs(correlations).max() < 5 / np.sqrt(12288)
    image = frames.reshape(12, 64, 192).astype(float) - 128
    for shifted in (image[:, 1:] * image[:, :-1], image[:, :, 1:] * image[:, :, :-1]):
        assert abs(shifted.mean()) < 5 * image.var() / np.sqrt(shifted.size)


@pytest.mark.parametrize("severity", range(1, 6))
def test_dead_pixels_are_as_many_as_stated_half_of_them_white(severity):
    keep, stuck = sensors.dead_pixels(KEYS[:50], severity, 64)
    share = sensors.level("dead_pixels", severity)
    error = 5 * np.sqrt(share / (50 * 4096))
    assert (keep == 0).mean() == pytest.approx(share, abs=error)
    assert (stuck == 255).mean() == pytest.approx(share / 2, abs=error)
    assert set(np.unique(keep)) == {0, 255} and not (stuck & keep).any()
    assert (keep == keep[..., :1]).all()  # all channels of a pixel


@pytest.mark.parametrize("severity", range(1, 6))
def test_a_blackout_is_one_burst_in_every_twenty_steps(severity):
    dark = np.stack([sensors.is_dark(KEYS, steps(t), severity) for t in range(60)])
    length = sensors.level("blackout", severity)
    for period in dark.reshape(3, 20, -1):
        assert (period.sum(axis=0) == length).all()
        switched = np.abs(np.diff(period.astype(int), axis=0)).sum(axis=0)
        assert (switched <= 2).all()
    begins = dark[:20].argmax(axis=0)
    assert set(begins) == set(range(21 - int(length)))


@pytest.mark.parametrize("severity", range(1, 6))
def test_frames_are_dropped_as_often_as_stated_but_never_the_first(severity):
    dropped = np.stack([sensors.is_dropped(KEYS, steps(t), severity) for t in range(100)])
    assert not dropped[0].any()
    share = sensors.level("dropped_frames", severity)
    assert dropped[1:].mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 39600))


@pytest.mark.parametrize("severity", range(1, 6))
def test_the_occluder_drifts_inside_the_frame(severity):
    side = int(sensors.level("occluder", severity))
    corners = np.stack([sensors.occluder(KEYS, steps(t), severity, 64) for t in range(200)])
    assert corners.min() == 0 and corners.max() == 64 - side
    assert np.abs(np.diff(corners, axis=0)).max() <= 3


def rollout(kind, severity, seed=0, distractors=0):
    kwargs = {"terminate_on_goal": False, "distractors": distractors}
    env = gym.make("RobotRoomNoisyCamera-v0", corruption=kind, severity=severity, **kwargs)
    clean = gym.make("RobotRoom-v0", **kwargs)
    options = {"robot_position": (0.5, -0.3)}
    seen, info = env.reset(seed=seed, options=options)
    true, _ = clean.reset(seed=seed, options=options)
    yield seen, true, info
    for t in range(40):
        action = np.array([np.cos(t), np.sin(t / 2)], np.float32)
        seen, reward, *_, info = env.step(action)
        true, clean_reward, *_, clean_info = clean.step(action)
        np.testing.assert_array_equal(info["robot_position"], clean_info["robot_position"])
        assert reward == clean_reward  # the room goes on as if nothing were wrong
        yield seen, true, info


@pytest.mark.parametrize("distractors", [0, 3])
def test_the_camera_repeats_its_last_frame(distractors):
    shown = list(rollout("dropped_frames", 3, distractors=distractors))
    held = repeats = 0
    for t, (seen, true, _) in enumerate(shown):
        if not (seen == true).all():
            repeats += 1
            np.testing.assert_array_equal(seen, shown[held][1])
        else:
            held = t
    assert 10 < repeats < 38


@pytest.mark.parametrize(("kind", "severity"), [("blackout", 3), ("occluder", 3)])
def test_what_is_hidden_is_black_and_the_rest_is_true(kind, severity):
    hidden = [(seen != true).any() for seen, true, _ in rollout(kind, severity)]
    for seen, true, _ in rollout(kind, severity):
        black = (seen == 0).all(axis=-1)
        np.testing.assert_array_equal(seen[~black], true[~black])
        if kind == "occluder":
            assert black.sum() == 26**2
    assert any(hidden) and (kind == "occluder" or not all(hidden))


def test_dead_pixels_stay_where_they_are_for_an_episode():
    frames = [seen for seen, _, _ in rollout("dead_pixels", 5)]
    stuck = (np.stack(frames) == frames[0]).all(axis=(0, -1))
    true = [t for _, t, _ in rollout("dead_pixels", 5)]
    for seen, clean in zip(frames, true, strict=True):
        np.testing.assert_array_equal(seen[~stuck], np.where(stuck[..., None], 0, clean)[~stuck])
    other = next(iter(rollout("dead_pixels", 5, seed=1)))[0]
    assert (other != frames[0]).any()


def test_severities_rise_from_harmless_to_hopeless():
    for kind in sensors.SEVERITIES:
        levels = sensors.SEVERITIES[kind]
        assert len(levels) == 5 and list(levels) == sorted(set(levels))


def test_an_unknown_corruption_is_an_error():
    params = RoomParams()
    object.__setattr__(params, "corruption", "fog")
    with pytest.raises(AssertionError, match="fog"):
        Rooms(params, 1).frames()
