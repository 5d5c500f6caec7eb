"""Counter-based random numbers: a stateless function of (key, step).

An episode that needs noise draws one 64-bit key from its environment's `np_random`. Each step then
reads its own range of the SplitMix64 sequence that starts at this key (Steele, Lea and Flood,
2014): word k is mix(key + k · 0x9E3779B97F4A7C15). So key and step are enough to restore a state,
all rooms are sampled at once, and integer arithmetic gives the same bits on every machine.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

# One stream per use, of up to 2**20 words per step.
SLIP, DISTRACTORS, GAUSSIAN, DEAD_PIXELS, BLACKOUT, OCCLUDER, DROPPED = range(7)
FACTORS, FLOOR_NOISE, ACTION_NOISE = range(7, 10)
_STREAM_BITS, _WORD_BITS = 4, 20

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def words(key: Keys, step: NDArray[np.int64], stream: int, count: int) -> Keys:
    """Random 64-bit words for each key (N,) at its step (N,) → (N, count)."""
    counter = (step.astype(np.uint64) << np.uint64(_STREAM_BITS)) + np.uint64(stream)
    word = (counter << np.uint64(_WORD_BITS))[:, None] + np.arange(1, count + 1, dtype=np.uint64)
    word *= _GOLDEN
    word += key[:, None]
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        word ^= word >> shift
        word *= factor
    word ^= word >> _SHIFTS[2]
    return word


def uniforms(key: Keys, step: NDArray[np.int64], stream: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), multiples of 2⁻⁵³, (N, count)."""
    return (words(key, step, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(key: Keys, step: NDArray[np.int64], stream: int, count: int) -> NDArray[np.float64]:
    """Standard normal numbers, (N, count), each one of 65,536 equally likely quantiles."""
    return quantiles()[words(key, step, stream, count) >> np.uint64(48)]


@cache
def quantiles() -> NDArray[np.float64]:
    """The 65,536 normal quantiles at the midpoints of equal probability intervals, ascending."""
    count = 65_536
    middles = (np.arange(count // 2, count) + 0.5) / count
    # Rounded to nine decimals, because the last bits of a logarithm differ between machines.
    upper = np.round([NormalDist().inv_cdf(p) for p in middles.tolist()], 9)
    return np.concatenate([-upper[::-1], upper])
