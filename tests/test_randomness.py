from statistics import NormalDist

import numpy as np
import pytest

from robot_room import randomness

MASK = 2**64 - 1


def splitmix64(state):
    """The reference algorithm, one word at a time, in Python's own integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def test_the_reference_gives_the_published_words():
    words = splitmix64(1234567)
    assert [next(words) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_words_are_those_of_splitmix64():
    keys = [0, 1234567, 2**64 - 1]
    drawn = randomness.words(np.array(keys, np.uint64), np.zeros(3, np.int64), 0, 50)
    for key, row in zip(keys, drawn, strict=True):
        reference = splitmix64(key)
        assert row.tolist() == [next(reference) for _ in range(50)]


def test_a_step_reads_on_at_its_own_place():
    step, stream = 5, randomness.BLACKOUT
    place = ((step << 4) + stream) << 20
    start = (42 + place * 0x9E3779B97F4A7C15) & MASK
    reference = splitmix64(start)
    drawn = randomness.words(np.array([42], np.uint64), np.array([step]), stream, 4)[0]
    assert drawn.tolist() == [next(reference) for _ in range(4)]


def test_steps_streams_and_keys_are_independent_draws():
    """Correlations of 4,096 uniforms are within five standard errors of 0."""
    keys = np.array([7, 8], np.uint64)
    columns = [
        randomness.uniforms(keys, np.full(2, step), stream, 4096)[room]
        for step in (0, 1, 2)
        for stream in (0, 3)
        for room in (0, 1)
    ]
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 5 / np.sqrt(4096)


def test_uniforms_are_uniform():
    drawn = randomness.uniforms(np.array([3], np.uint64), np.array([9]), 1, 2**17)[0]
    assert 0 <= drawn.min() and drawn.max() < 1
    counts, _ = np.histogram(drawn, 64, (0, 1))
    chi2 = ((counts - 2048) ** 2 / 2048).sum()
    assert chi2 < 63 + 5 * np.sqrt(2 * 63)


def test_normals_are_normal():
    drawn = randomness.normals(np.array([3], np.uint64), np.array([9]), 0, 2**17)[0]
    edges = [NormalDist().inv_cdf(p) for p in np.arange(1, 32) / 32]
    counts = np.bincount(np.searchsorted(edges, drawn), minlength=32)
    chi2 = ((counts - 4096) ** 2 / 4096).sum()
    assert chi2 < 31 + 5 * np.sqrt(2 * 31)
    table = randomness.quantiles()
    assert (np.diff(table) > 0).all() and table.sum() == pytest.approx(0, abs=1e-9)
    assert table.var() == pytest.approx(1, abs=1e-3)
