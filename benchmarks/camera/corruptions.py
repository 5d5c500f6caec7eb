"""Camera failures beyond the five that the environment has itself, at severities 1 to 5.

`DEVELOPED` kinds may be looked at while a restorer is built. `HELD_OUT` kinds were written down before
it and are for measuring only: nothing is trained or tuned on them.

A failure is a pure function of an episode's clean frames so far and of the episode's key: `corrupted`.
Random numbers come from two generators, one that begins alike at each step of an episode (where a
smudge is) and one that differs from step to step (where a raindrop is).
"""

import io
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from robot_room.app.evaluation.protocol import Policy

Frame = NDArray[np.uint8]
ROBOT_SIDE, GOAL_SIDE = 6, 8  # pixels
SWITCHING_PERIOD = 3  # steps


class Failing(NamedTuple):
    """What a failure depends on."""

    frames: Sequence[Frame]  # the episode's clean frames so far, each (H, W, 3)
    level: float
    episode: np.random.Generator  # begins alike at each step of the episode
    step: np.random.Generator
    severity: int

    @property
    def frame(self) -> NDArray[np.float64]:
        """The current frame."""
        return self.frames[-1].astype(np.float64)


Failure = Callable[[Failing], NDArray[Any]]


# ---- developed ---------------------------------------------------------------------------------------


def jpeg(failing: Failing) -> Frame:
    """Compression by JPEG, at a quality."""
    stream = io.BytesIO()
    Image.fromarray(failing.frames[-1]).save(stream, "JPEG", quality=int(failing.level))
    return np.asarray(Image.open(stream))


def offset(failing: Failing) -> NDArray[np.float64]:
    """Grey levels added in an episode, or taken away."""
    return failing.frame + failing.level * failing.episode.choice([-1, 1])


def gaussian_blur(failing: Failing) -> NDArray[np.float64]:
    """Blur by a Gaussian, of a std in pixels."""
    return ndimage.gaussian_filter(failing.frame, (failing.level, failing.level, 0), mode="nearest")


def red_decoys(failing: Failing) -> NDArray[np.float64]:
    """A number of squares that look like the goal."""
    return _squares(failing, GOAL_SIDE, (255, 0, 0))


def salt_and_pepper(failing: Failing) -> NDArray[np.float64]:
    """A fraction of pixels that are black or white, others at each step."""
    frame = failing.frame
    drawn = failing.step.random(frame.shape[:2])
    frame[drawn < failing.level] = 0
    frame[drawn < failing.level / 2] = 255
    return frame


def switching(failing: Failing) -> NDArray[Any]:
    """Another kind every three steps, at a severity up to this one; in a quarter of cases none."""
    block = (len(failing.frames) - 1) // SWITCHING_PERIOD
    draws = failing.episode.integers(2**32, size=(block + 1, 2))[block]
    kinds = [None, *(kind for kind in DEVELOPED if kind != "switching"), None]
    kind = kinds[int(draws[0]) % len(kinds)]
    if kind is None:
        return failing.frames[-1]
    severity = 1 + int(draws[1]) % failing.severity
    apply, levels = DEVELOPED[kind]
    return apply(failing._replace(level=float(levels[severity - 1]), severity=severity))


# ---- held out ----------------------------------------------------------------------------------------


def gain(failing: Failing) -> NDArray[np.float64]:
    """All intensities times a factor, or divided by it."""
    return failing.frame * failing.level ** failing.episode.choice([-1, 1])


def tint(failing: Failing) -> NDArray[np.float64]:
    """Each channel times a factor of its own, between 1/level and level."""
    return failing.frame * failing.level ** failing.episode.uniform(-1, 1, 3)


def gamma(failing: Failing) -> NDArray[np.float64]:
    """255 (x/255)^γ, with γ the level or its inverse."""
    return 255 * (failing.frame / 255) ** (failing.level ** failing.episode.choice([-1, 1]))


def fog(failing: Failing) -> NDArray[np.float64]:
    """A veil of light grey, of an opacity."""
    return (1 - failing.level) * failing.frame + failing.level * 200


def shadow(failing: Failing) -> NDArray[np.float64]:
    """Half of the frame darkened by a fraction, with a soft edge through the middle."""
    rows, columns = _grid(failing.frame)
    angle = failing.episode.uniform(0, 2 * np.pi)
    side = np.cos(angle) * rows + np.sin(angle) * columns
    return failing.frame * (1 - failing.level / (1 + np.exp(-side / 3)))[..., None]


def shift(failing: Failing) -> Frame:
    """A shift by whole pixels in one of eight directions; the edge is repeated."""
    directions = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    down, right = np.array(directions[failing.episode.integers(8)]) * int(failing.level)
    frame = failing.frames[-1]
    rows = np.clip(np.arange(frame.shape[0]) - down, 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(frame.shape[1]) - right, 0, frame.shape[1] - 1)
    return frame[rows][:, columns]


def rotation(failing: Failing) -> NDArray[np.float64]:
    """A rotation by degrees about the middle; the edge is repeated."""
    angle = failing.level * failing.episode.choice([-1, 1])
    return ndimage.rotate(failing.frame, angle, (0, 1), reshape=False, order=1, mode="nearest")


def motion_blur(failing: Failing) -> NDArray[np.float64]:
    """The mean over a straight line of a length in pixels."""
    angle = failing.episode.uniform(0, np.pi)
    length = int(failing.level)
    along = np.arange(length) - (length - 1) / 2
    moved = [
        ndimage.shift(failing.frame, (s * np.sin(angle), s * np.cos(angle), 0), order=1, mode="nearest")
        for s in along
    ]
    return np.mean(moved, 0)


def pixelation(failing: Failing) -> NDArray[np.float64]:
    """Means over blocks of a side in pixels."""
    frame, side = failing.frame, int(failing.level)
    starts = [np.arange(0, size, side) for size in frame.shape[:2]]
    sums = np.add.reduceat(np.add.reduceat(frame, starts[0], 0), starts[1], 1)
    counts = [np.diff([*start, size]) for start, size in zip(starts, frame.shape[:2], strict=True)]
    means = sums / (counts[0][:, None] * counts[1])[..., None]
    return means.repeat(counts[0], 0).repeat(counts[1], 1)


def dead_rows(failing: Failing) -> NDArray[np.float64]:
    """A number of rows that show nothing but a grey level each, the same for an episode."""
    frame, count = failing.frame, int(failing.level)
    rows = failing.episode.permutation(len(frame))[:count]
    frame[rows] = failing.episode.integers(0, 256, (count, 1, 1))
    return frame


def correlated_noise(failing: Failing) -> NDArray[np.float64]:
    """Noise of a std in grey levels, that neighbouring pixels share, other at each step."""
    noise = ndimage.gaussian_filter(
        failing.step.standard_normal(failing.frame.shape), (1.5, 1.5, 0), mode="wrap"
    )
    return failing.frame + failing.level * noise / noise.std()


def rain(failing: Failing) -> NDArray[np.float64]:
    """A number of light streaks, others at each step."""
    frame = failing.frame
    height, width = frame.shape[:2]
    for row, column in failing.step.integers((height, width), size=(int(failing.level), 2)):
        for k in range(5):
            frame[(row + k) % height, (column + k // 2) % width] = 225
    return frame


def dirt(failing: Failing) -> NDArray[np.float64]:
    """A number of dark, soft smudges on the lens, the same for an episode."""
    rows, columns = _grid(failing.frame)
    clear = np.ones(failing.frame.shape[:2])
    half = np.array(failing.frame.shape[:2]) / 2
    for _ in range(int(failing.level)):
        row, column = failing.episode.uniform(-half, half)
        size = failing.episode.uniform(3, 6)
        clear *= 1 - 0.9 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * size**2))
    return 60 + clear[..., None] * (failing.frame - 60)


def latency(failing: Failing) -> Frame:
    """The frame of some steps ago, or the first."""
    return failing.frames[max(len(failing.frames) - 1 - int(failing.level), 0)]


def white_decoys(failing: Failing) -> NDArray[np.float64]:
    """A number of squares that look like the robot."""
    return _squares(failing, ROBOT_SIDE, (255, 255, 255))


def posterisation(failing: Failing) -> NDArray[np.float64]:
    """Intensities rounded to a number of levels from 0 to 255."""
    steps = failing.level - 1
    return np.floor(failing.frame / 255 * steps + 0.5) * 255 / steps


def _grid(frame: NDArray[Any]) -> NDArray[np.float64]:
    """Row and column of each pixel's centre, from the middle, (2, H, W)."""
    height, width = frame.shape[:2]
    return np.indices((height, width)) + 0.5 - np.array([height, width])[:, None, None] / 2


def _squares(failing: Failing, side: int, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Squares at the same places for an episode."""
    frame = failing.frame
    for row, column in failing.episode.integers(
        0, np.array(frame.shape[:2]) - side, (int(failing.level), 2)
    ):
        frame[row : row + side, column : column + side] = colour
    return frame


class Kind(NamedTuple):
    """A failure and its five levels."""

    apply: Failure
    levels: tuple[float, ...]


DEVELOPED: dict[str, Kind] = {
    "jpeg": Kind(jpeg, (50, 25, 12, 6, 3)),
    "offset": Kind(offset, (10, 25, 50, 80, 110)),
    "gaussian_blur": Kind(gaussian_blur, (0.7, 1.2, 2, 3, 4)),
    "red_decoys": Kind(red_decoys, (1, 2, 3, 4, 6)),
    "salt_and_pepper": Kind(salt_and_pepper, (0.01, 0.05, 0.1, 0.2, 0.35)),
    "switching": Kind(switching, (1, 2, 3, 4, 5)),
}
HELD_OUT: dict[str, Kind] = {
    "gain": Kind(gain, (1.1, 1.25, 1.5, 2, 3)),
    "tint": Kind(tint, (1.1, 1.25, 1.5, 2, 3)),
    "gamma": Kind(gamma, (1.2, 1.5, 2, 3, 4)),
    "fog": Kind(fog, (0.1, 0.25, 0.4, 0.6, 0.8)),
    "shadow": Kind(shadow, (0.2, 0.4, 0.6, 0.75, 0.9)),
    "shift": Kind(shift, (1, 2, 3, 5, 8)),
    "rotation": Kind(rotation, (1, 3, 6, 10, 20)),
    "motion_blur": Kind(motion_blur, (2, 3, 5, 8, 12)),
    "pixelation": Kind(pixelation, (2, 3, 4, 6, 8)),
    "dead_rows": Kind(dead_rows, (2, 5, 10, 18, 28)),
    "correlated_noise": Kind(correlated_noise, (10, 20, 40, 70, 110)),
    "rain": Kind(rain, (10, 25, 60, 120, 200)),
    "dirt": Kind(dirt, (2, 4, 7, 11, 16)),
    "latency": Kind(latency, (1, 2, 3, 4, 6)),
    "white_decoys": Kind(white_decoys, (1, 2, 3, 4, 6)),
    "posterisation": Kind(posterisation, (8, 6, 4, 3, 2)),
}
KINDS = DEVELOPED | HELD_OUT


def corrupted(kind: str, severity: int, frames: Sequence[Frame], key: int) -> Frame:
    """The last of an episode's clean frames as a failing camera shows it; the frames are unchanged.

    Args:
        kind: a name in `KINDS`.
        severity: 1 to 5.
        frames: the episode's clean frames up to now, each (H, W, 3) uint8.
        key: the episode's key, a whole number from 0.

    Raises:
        ValueError: an unknown kind, or a severity out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, allowed: {list(KINDS)}")
    if severity not in range(1, 6):
        raise ValueError(f"severity: got {severity!r}, allowed: 1 to 5")
    number = list(KINDS).index(kind)
    episode, step = (np.random.default_rng([key, number, last]) for last in (0, len(frames)))
    level = float(KINDS[kind].levels[severity - 1])
    shown = KINDS[kind].apply(Failing(frames, level, episode, step, severity))
    if shown.dtype == np.uint8:
        return shown.copy()
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


class FailingCamera:
    """A policy that sees its environments through a failing camera.

    An episode's key is a checksum of its first frame and the seed, so that it does not depend on which
    episodes run side by side: policies that are compared meet the same failures from the same starts.
    """

    def __init__(self, policy: Policy, kind: str, severity: int, seed: int = 0) -> None:
        self.policy, self.kind, self.severity, self.seed = policy, kind, severity, seed

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """See `Policy.predict`."""
        inner, histories = state or (None, [[] for _ in observation])
        starts = np.zeros(len(observation), bool) if episode_start is None else episode_start
        histories = [
            [frame.copy()] if fresh else [*history, frame.copy()]
            for frame, history, fresh in zip(observation, histories, starts, strict=True)
        ]
        shown = [
            corrupted(self.kind, self.severity, history, zlib.crc32(history[0].tobytes(), self.seed))
            for history in histories
        ]
        action, inner = self.policy.predict(np.stack(shown), inner, episode_start, deterministic)
        return action, (inner, histories)
