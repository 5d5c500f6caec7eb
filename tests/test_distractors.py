import numpy as np
import pytest

from robot_room import distractors

KEYS = np.arange(200).astype(np.uint64)


def paths(count, steps=400):
    return np.stack(
        [distractors.positions(*distractors.paths(KEYS, count), np.full(200, t)) for t in range(steps)]
    )


@pytest.mark.parametrize("count", range(1, 7))
def test_they_stay_in_the_room_and_never_overlap(count):
    path = paths(count, 100)  # (T, N, D, 2)
    assert np.abs(path).max() <= 0.9 + 1e-12
    for a in range(count):
        for b in range(a):
            gap = np.abs(path[:, :, a] - path[:, :, b]).max(axis=-1)
            assert gap.min() >= 0.2 - 1e-12


def test_they_move_straight_at_constant_speed_between_bounces():
    path = paths(3)
    velocity = np.diff(path, axis=0) / 0.1  # m/s
    speed = np.abs(velocity)
    top = speed.max(axis=0)
    assert top.min() >= 0.3 - 1e-9 and top.max() <= 1.0 + 1e-9
    full = np.abs(speed - top) < 1e-9
    # A step is slower only where it contains a bounce: along x once in 1.8 m.
    bounces = (~full[..., 0]).mean(axis=0)
    np.testing.assert_allclose(bounces, top[..., 0] * 0.1 / 1.8, atol=0.02)


def test_starts_and_directions_are_evenly_spread():
    now, soon = (distractors.positions(*distractors.paths(KEYS, 3), np.full(200, t)) for t in (0, 1))
    assert abs((soon > now).mean() - 0.5) < 0.07
    assert abs(now[..., 0].mean()) < 0.1 and now[..., 0].std() == pytest.approx(
        1.8 / np.sqrt(12), rel=0.1
    )
