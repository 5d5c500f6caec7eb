"""Camera corruptions at severities 1 to 5.

Each is a function of the episode's key and the step (see `randomness`) and affects only the frame,
never the room. Frames are uint8, (N, 64, 64, 3), and modified in place.

To add a corruption, add its name to `room.CorruptionKind`, its levels to `SEVERITIES`, a stream to
`randomness`, and a case to `Rooms._corrupt` (the type checker reports a missing one).
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from robot_room import randomness
from robot_room.checking import require_one_of, whole
from robot_room.randomness import Keys
from robot_room.room import CorruptionKind, bounce

Frames = NDArray[np.uint8]
Steps = NDArray[np.int64]

SEVERITIES: dict[CorruptionKind, tuple[float, ...]] = {
    "gaussian": (16, 40, 80, 128, 192),  # standard deviation in grey levels, before clipping
    "dead_pixels": (0.02, 0.10, 0.20, 0.35, 0.50),  # fraction stuck at black or white all episode
    "blackout": (2, 5, 10, 15, 18),  # consecutive dark frames per period of 20, see `is_dark`
    "occluder": (10, 18, 26, 36, 46),  # side in pixels of a black square that drifts over the frame
    "dropped_frames": (0.2, 0.4, 0.6, 0.8, 0.9),  # probability of repeating the last frame
}
BLACKOUT_PERIOD = 20  # steps
OCCLUDER_SPEED = (0.5, 2.0)  # pixels per step on each axis

BANK_BITS = 18
"""log2 of the number of noise values, see `gaussian_bank`."""


def level(kind: CorruptionKind, severity: int) -> float:
    """The parameter of a corruption at a severity from 1 to 5.

    Raises:
        ValueError: there is no such corruption or severity.
    """
    require_one_of("corruption", kind, tuple(SEVERITIES))
    levels = SEVERITIES[kind]
    return levels[whole("severity", severity, 1, len(levels)) - 1]


def is_dropped(key: Keys, step: Steps, severity: int) -> NDArray[np.bool_]:
    """Whether each room's camera repeats its last frame at this step, (N,); never at step 0."""
    drawn = randomness.uniforms(key, step, randomness.DROPPED, 1)[:, 0]
    return (drawn < level("dropped_frames", severity)) & (step > 0)


def is_dark(key: Keys, step: Steps, severity: int) -> NDArray[np.bool_]:
    """Whether each room's camera is dark at its step, (N,).

    Each period of 20 steps contains one burst at a random offset. The first frame may be dark, and
    bursts of consecutive periods may be adjacent.
    """
    period, place = np.divmod(step, BLACKOUT_PERIOD)
    length = int(level("blackout", severity))
    drawn = randomness.uniforms(key, period, randomness.BLACKOUT, 1)[:, 0]
    begin = (drawn * (BLACKOUT_PERIOD - length + 1)).astype(np.int64)
    return (begin <= place) & (place < begin + length)


def occluder(key: Keys, step: Steps, severity: int, size: int) -> NDArray[np.int64]:
    """Row and column, (N, 2), of the upper left corner of a square that moves back and forth."""
    span = size - level("occluder", severity)
    drawn = randomness.uniforms(key, np.zeros_like(step), randomness.OCCLUDER, 4)
    slowest, fastest = OCCLUDER_SPEED
    travelled = (slowest + (fastest - slowest) * drawn[:, 2:]) * step[:, None]
    return np.rint(bounce(2 * span * drawn[:, :2], travelled, span)).astype(np.int64)


def dead_pixels(key: Keys, severity: int, size: int) -> tuple[Frames, Frames]:
    """Masks `keep` and `stuck` of an episode's dead pixels, each (N, size, size, 3).

    A frame becomes `(frame & keep) | stuck`: `keep` is 0 for dead pixels and 255 elsewhere, `stuck`
    is 255 for pixels stuck at white and 0 elsewhere.
    """
    step = np.zeros(len(key), np.int64)
    drawn = randomness.words(key, step, randomness.DEAD_PIXELS, size * size)
    threshold = int(level("dead_pixels", severity) * 2.0**64)
    keep, stuck = drawn >= np.uint64(threshold), drawn < np.uint64(threshold // 2)
    shape = (len(key), size, size, 3)
    masks = (mask.view(np.uint8).repeat(3).reshape(shape) for mask in (keep, stuck))
    keep, stuck = (np.negative(mask, out=mask) for mask in masks)  # 0 and 1 to 0 and 255
    return keep, stuck


def apply_dead_pixels(frames: Frames, keep: Frames, stuck: Frames) -> None:
    """Apply the masks of `dead_pixels` in place."""
    frames &= keep
    frames |= stuck


@cache
def gaussian_bank(severity: int) -> tuple[Frames, Frames]:
    """Rounded Gaussian noise in grey levels: positive and negative parts, each (B + 192,).

    The bank is a shuffled table of quantiles: each integer appears in proportion to its
    probability. Each image row reads 192 consecutive entries (the table wraps around) from a random
    offset that is redrawn at each step, so every value has the right distribution and frames share
    noise only by chance. (Drawing each of a frame's 12,288 values would take ten times as long as
    the rest of a step.) Values are clipped to ±255, as the frame is clipped to uint8 anyway.
    """
    size = 1 << BANK_BITS
    normal = NormalDist(0, level("gaussian", severity))
    below = [normal.cdf(k + 0.5) for k in range(-256, 255)] + [1.0]
    counts = np.diff(np.rint(np.array([0.0, *below]) * size).astype(np.int64))
    values = np.clip(np.repeat(np.arange(-256, 256), counts), -255, 255)
    key = np.array([severity], np.uint64)
    order = randomness.words(key, np.zeros(1, np.int64), randomness.GAUSSIAN, size)[0].argsort()
    values = values[order]
    values = np.concatenate([values, values[:192]])
    return np.maximum(values, 0).astype(np.uint8), np.maximum(-values, 0).astype(np.uint8)


def gaussian_offsets(key: Keys, step: Steps, rows: int) -> NDArray[np.int64]:
    """Offset into the bank of each row of each frame, (N, rows)."""
    drawn = randomness.words(key, step, randomness.GAUSSIAN, rows)
    return (drawn >> np.uint64(64 - BANK_BITS)).astype(np.int64)


def add_gaussian(frames: Frames, key: Keys, step: Steps, severity: int) -> None:
    """Add Gaussian noise and clip to uint8."""
    bank = gaussian_bank(severity)
    rooms, rows = frames.shape[:2]
    flat = frames.reshape(rooms, rows, -1)
    offsets = gaussian_offsets(key, step, rows)
    plus, minus = (np.lib.stride_tricks.sliding_window_view(b, flat.shape[2])[offsets] for b in bank)
    np.minimum(flat, ~plus, out=flat)  # ~plus is 255 − plus: the sum cannot overflow
    flat += plus
    np.maximum(flat, minus, out=flat)
    flat -= minus
