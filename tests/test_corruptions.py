"""Each failure of the camera against what it says it does, computed in another way."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, signal

from benchmarks.camera.corruptions import DEVELOPED, HELD_OUT, KINDS, FailingCamera, corrupted
from robot_room.rendering import Scene, render
from robot_room.sensors import SEVERITIES

KEYS = range(6)


def walk(count=7, seed=0):
    """An episode's clean frames."""
    generator = np.random.default_rng(seed)
    places = np.cumsum(generator.uniform(-0.1, 0.1, (count, 2)), 0).clip(-0.9, 0.9)
    return list(render(Scene(places, np.zeros_like(places))))


def shown(kind, severity=3, frames=None, key=0):
    return corrupted(kind, severity, frames or walk(), key).astype(float)


CLEAN = walk()[-1].astype(float)


def test_lists_are_disjoint_and_large_enough():
    assert len(HELD_OUT) >= 10 and not set(HELD_OUT) & (set(DEVELOPED) | set(SEVERITIES))
    assert all(len(kind.levels) == 5 for kind in KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_a_function_of_frames_and_key_and_changes_no_frame(kind):
    frames, before = walk(), walk()
    first = corrupted(kind, 3, frames, 5)
    assert first.dtype == np.uint8 and first.shape == (64, 64, 3)
    assert np.array_equal(first, corrupted(kind, 3, frames, 5))
    assert np.array_equal(frames, before)
    assert not np.shares_memory(first, frames[-1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "switching"])
def test_severities_grow(kind):
    """RMS change over episodes; rounding to few levels and blocks need not grow at each step."""
    changes = []
    for severity in range(1, 6):
        squares = [
            np.mean((shown(kind, severity, walk(seed=key), key) - walk(seed=key)[-1]) ** 2)
            for key in KEYS
        ]
        changes.append(np.sqrt(np.mean(squares)))
    assert changes[0] > 0 and changes[4] > 1.5 * changes[0]
    if kind not in ("latency", "pixelation", "posterisation"):
        assert changes == sorted(changes)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "offset",
            "red_decoys",
            "gain",
            "tint",
            "gamma",
            "shadow",
            "shift",
            "rotation",
            "motion_blur",
        ),
        *("dead_rows", "dirt", "white_decoys"),
    ],
)
def test_what_belongs_to_the_episode_stays(kind):
    """The same frame twice in a row is shown alike; other episodes differ."""
    frames = walk(1) * 2
    assert np.array_equal(shown(kind, frames=frames[:1]), shown(kind, frames=frames))
    assert len({shown(kind, key=key).tobytes() for key in range(12)}) > 1


@pytest.mark.parametrize("kind", ["salt_and_pepper", "correlated_noise", "rain"])
def test_what_belongs_to_the_step_changes(kind):
    frames = walk(1) * 2
    assert not np.array_equal(shown(kind, frames=frames[:1]), shown(kind, frames=frames))


def either(kind, expected):
    """One of the expected results, within rounding, for every key; and each at least once."""
    found = set()
    for key in range(12):
        errors = [np.abs(shown(kind, key=key) - one.clip(0, 255)).max() for one in expected]
        assert min(errors) <= 0.5
        found.add(int(np.argmin(errors)))
    assert found == set(range(len(expected)))


def test_intensities():
    either("offset", [CLEAN + 50, CLEAN - 50])
    either("gain", [CLEAN * 1.5, CLEAN / 1.5])
    either("gamma", [255 * (CLEAN / 255) ** 2, 255 * np.sqrt(CLEAN / 255)])
    either("fog", [0.6 * CLEAN + 80])
    assert set(np.unique(shown("posterisation"))) <= {0, 85, 170, 255}
    assert np.abs(shown("posterisation") - CLEAN).max() <= 85 / 2


def test_a_tint_is_one_factor_per_channel():
    floor = CLEAN[0, 0]
    factors = np.array([shown("tint", key=key)[0, 0] / floor for key in range(40)])
    assert (factors > 1 / 1.52).all() and (factors < 1.52).all()
    assert np.log(factors).std(0) == pytest.approx(np.log(1.5) / np.sqrt(3), rel=0.35)
    grey = (CLEAN[..., 0] == CLEAN[..., 1]) & (CLEAN[..., 0] == 128)
    assert len(np.unique(shown("tint")[grey], axis=0)) == 1


def test_moves():
    padded = np.pad(CLEAN, ((3, 3), (3, 3), (0, 0)), mode="edge")
    moved = [
        padded[3 - r : 67 - r, 3 - c : 67 - c]
        for r in (-3, 0, 3)
        for c in (-3, 0, 3)
        if (r, c) != (0, 0)
    ]
    found = [min(np.abs(shown("shift", key=key) - one).max() for one in moved) for key in KEYS]
    assert max(found) == 0
    frames = walk(7)
    assert np.array_equal(shown("latency", 3, frames), frames[3])
    assert np.array_equal(shown("latency", 3, frames[:2]), frames[0])


def test_a_rotation_is_about_the_middle():
    """By bilinear interpolation written out, away from the edge."""
    rows, columns = np.indices((64, 64)) - 31.5
    expected = []
    for sign in (-1, 1):
        a = np.deg2rad(sign * 6)
        places = [np.cos(a) * rows + np.sin(a) * columns, np.cos(a) * columns - np.sin(a) * rows]
        channels = [
            ndimage.map_coordinates(CLEAN[..., c], np.array(places) + 31.5, order=1, mode="nearest")
            for c in range(3)
        ]
        expected.append(np.stack(channels, -1))
    either("rotation", expected)


def test_blurs_keep_the_mean_and_are_convolutions():
    sigma = 2.0
    taps = np.exp(-0.5 * (np.arange(-8, 9) / sigma) ** 2)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    expected = np.stack(
        [signal.convolve2d(np.pad(CLEAN[..., c], 8, "edge"), kernel, "valid") for c in range(3)], -1
    )
    assert np.abs(shown("gaussian_blur") - expected).max() <= 0.6
    blurred = shown("motion_blur", 4)
    assert blurred.mean() == pytest.approx(CLEAN.mean(), abs=0.5)
    assert blurred[..., 1].max() < 255 and blurred[..., 1].min() > 0  # longer than the squares


def test_pixelation_is_means_over_blocks():
    blocks = CLEAN.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(shown("pixelation") - blocks.repeat(4, 0).repeat(4, 1)).max() <= 0.5
    assert shown("pixelation", 2).shape == (64, 64, 3)  # 3 does not divide 64


def test_counts_and_fractions():
    noisy = shown("salt_and_pepper", 4)
    changed = (noisy != CLEAN).any(-1)
    assert changed.mean() == pytest.approx(0.2, abs=0.03)
    assert set(np.unique(noisy[changed])) == {0, 255}
    dead = shown("dead_rows")
    rows = (dead != CLEAN).any((1, 2))
    assert rows.sum() == 10 and (dead[rows] == dead[rows][:, :1, :1]).all((1, 2)).all()
    for kind, colour, side in (("white_decoys", 255, 6), ("red_decoys", 0, 8)):
        decoys = shown(kind, 1)
        new = (decoys != CLEAN).any(-1)
        assert 0 < new.sum() <= side**2 and (decoys[new][:, 1] == colour).all()
    assert 0 < (shown("rain", 1) != CLEAN).any(-1).sum() <= 50


def test_correlated_noise_has_its_std_and_neighbours_share_it():
    frames = [np.full((64, 64, 3), 128, np.uint8)]
    noise = shown("correlated_noise", 2, frames) - 128
    assert noise.std() == pytest.approx(20, rel=0.02)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 1.5**2)), abs=0.03)


def test_light():
    """A shadow leaves one side and darkens the other; dirt only pulls towards a dark grey."""
    half = shown("shadow") / CLEAN.clip(1)
    lit = half[CLEAN > 100]
    assert lit.max() > 0.98 and lit.min() == pytest.approx(0.4, abs=0.02)
    dirty = shown("dirt")
    assert (np.abs(dirty - 60) <= np.abs(CLEAN - 60) + 0.5).all()


def test_jpeg_is_a_round_trip_through_a_file():
    stream = io.BytesIO()
    Image.fromarray(walk()[-1]).save(stream, "JPEG", quality=12)
    assert np.array_equal(shown("jpeg"), np.array(Image.open(stream)).astype(float))


def test_a_switching_camera_shows_several_kinds_in_an_episode():
    frames = walk(1) * 30
    pictures = [shown("switching", 5, frames[: k + 1], key=3) for k in range(30)]
    blocks = [pictures[k : k + 3] for k in range(0, 30, 3)]
    clean = [np.array_equal(block[0], frames[0]) for block in blocks]
    assert 0 < sum(clean) < 10
    assert len({block[0].tobytes() for block in blocks}) > 4


class Looking:
    """A policy that keeps what it sees."""

    def __init__(self):
        self.seen = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.seen.append(observation)
        return np.zeros((len(observation), 2)), (state or 0) + 1


def test_the_camera_fails_the_same_way_wherever_an_episode_runs():
    a, b = walk(4, seed=1), walk(4, seed=2)
    together, alone = Looking(), Looking()
    state = None
    both = FailingCamera(together, "latency", 2)
    for k in range(4):
        _, state = both.predict(np.stack([a[k], b[k]]), state, np.full(2, k == 0))
    assert state is not None and state[0] == 4
    one, state = FailingCamera(alone, "latency", 2), None
    for k in range(4):
        _, state = one.predict(b[k][None], state, np.full(1, k == 0))
    assert all(np.array_equal(x[1], y[0]) for x, y in zip(together.seen, alone.seen, strict=True))
    assert np.array_equal(alone.seen[3][0], b[1])
    # A new episode begins anew.
    both.predict(np.stack([b[3], b[3]]), state and (None, [a, b]), np.array([True, False]))
    assert np.array_equal(together.seen[-1][0], b[3]) and np.array_equal(together.seen[-1][1], b[2])


def test_unknown_kinds_and_severities_are_refused():
    with pytest.raises(ValueError, match="kind: got 'hail', allowed: "):
        corrupted("hail", 1, walk(), 0)
    with pytest.raises(ValueError, match="severity: got 6, allowed: 1 to 5"):
        corrupted("rain", 6, walk(), 0)
