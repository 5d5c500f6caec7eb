"""How the camera fails: corruptions of clean frames at severities 1 to 5.

Each is a function of the episode's key and the step (see `randomness`), and touches the frame alone:
the room goes on as it was. All work on uint8 frames (N, 64, 64, 3), in place.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from robot_room import randomness
from robot_room.randomness import Keys
from robot_room.room import CorruptionKind, bounce

Frames = NDArray[np.uint8]
Steps = NDArray[np.int64]

SEVERITIES: dict[CorruptionKind, tuple[float, ...]] = {
    "gaussian": (16, 40, 80, 128, 192),  # standard deviation in grey levels, then clipped
    "dead_pixels": (0.02, 0.10, 0.20, 0.35, 0.50),  # share stuck at black or white for an episode
    "blackout": (2, 5, 10, 15, 18),  # dark frames in a row in every 20, see `is_dark`
    "occluder": (10, 18, 26, 36, 46),  # side in pixels of a black square that drifts over the frame
    "dropped_frames": (0.2, 0.4, 0.6, 0.8, 0.9),  # probability that the last frame comes again
}
BLACKOUT_PERIOD = 20  # steps
OCCLUDER_SPEED = (0.5, 2.0)  # pixels a step on each axis

BANK_BITS = 18
"""Gaussian noise comes from a bank of 2¹⁸ values, see `gaussian_bank`."""


def level(kind: CorruptionKind, severity: int) -> float:
    """The number that a severity from 1 to 5 stands for."""
    return SEVERITIES[kind][severity - 1]


def is_dropped(key: Keys, step: Steps, severity: int) -> NDArray[np.bool_]:
    """Whether the camera repeats its last frame at each room's step, (N,); never at step 0."""
    drawn = randomness.uniforms(key, step, randomness.DROPPED, 1)[:, 0]
    return (drawn < level("dropped_frames", severity)) & (step > 0)


def is_dark(key: Keys, step: Steps, severity: int) -> NDArray[np.bool_]:
    """Whether each room's camera is dark at its step, (N,).

    One burst lies anywhere in every period of 20 steps: the first frame may be dark, and a burst at
    the end of a period and one at the start of the next are one.
    """
    period, place = np.divmod(step, BLACKOUT_PERIOD)
    length = int(level("blackout", severity))
    drawn = randomness.uniforms(key, period, randomness.BLACKOUT, 1)[:, 0]
    begin = (drawn * (BLACKOUT_PERIOD - length + 1)).astype(np.int64)
    return (begin <= place) & (place < begin + length)


def occluder(key: Keys, step: Steps, severity: int, size: int) -> NDArray[np.int64]:
    """Row and column, (N, 2), of the upper left corner of a square that runs to and fro."""
    span = size - level("occluder", severity)
    drawn = randomness.uniforms(key, np.zeros_like(step), randomness.OCCLUDER, 4)
    slowest, fastest = OCCLUDER_SPEED
    travelled = (slowest + (fastest - slowest) * drawn[:, 2:]) * step[:, None]
    return np.rint(bounce(2 * span * drawn[:, :2], travelled, span)).astype(np.int64)


def dead_pixels(key: Keys, severity: int, size: int) -> tuple[Frames, Frames]:
    """Masks of the pixels that are stuck for an episode, each (N, size, size, 3).

    A frame becomes `(frame & keep) | stuck`: keep is 0 where a pixel is stuck and else 255, stuck is
    255 where it is stuck at white.
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
    """Show dead pixels, whose masks `dead_pixels` gives."""
    frames &= keep
    frames |= stuck


@cache
def gaussian_bank(severity: int) -> tuple[Frames, Frames]:
    """Rounded Gaussian noise in grey levels: its positive and its negative parts, each (B + 192,).

    The bank holds every whole number as often as the normal distribution says, in a random order,
    and then begins again. A row of a frame takes 192 values in a row, from a place of its own drawn
    anew at each step: each value is then exactly as likely as it should be, and two frames share
    noise no more often than chance has it. (A draw for each of the 12,288 numbers of a frame would
    cost ten times what the whole rest of a step does.) Beyond ±255 all values are alike, as the
    frame is clipped to uint8.
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
    """Where in the bank each row of each frame begins, (N, rows)."""
    drawn = randomness.words(key, step, randomness.GAUSSIAN, rows)
    return (drawn >> np.uint64(64 - BANK_BITS)).astype(np.int64)


def add_gaussian(frames: Frames, key: Keys, step: Steps, severity: int) -> None:
    """Add Gaussian noise and clip to uint8."""
    bank = gaussian_bank(severity)
    rooms, rows = frames.shape[:2]
    flat = frames.reshape(rooms, rows, -1)
    offsets = gaussian_offsets(key, step, rows)
    plus, minus = (np.lib.stride_tricks.sliding_window_view(b, flat.shape[2])[offsets] for b in bank)
    np.minimum(flat, ~plus, out=flat)  # ~ is 255 −: so that the sums stay in uint8
    flat += plus
    np.maximum(flat, minus, out=flat)
    flat -= minus
