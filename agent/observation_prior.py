"""The diffusion model in use: noisy frames cleaned, and frames that cannot be told and mended.

For y = x_0 + σ ε, take the step n with (1 − ᾱ_n)/ᾱ_n = σ² and x_n = √ᾱ_n y, and add no noise: the
denoiser's x̂_0 is Tweedie's estimate of E[x_0 | y]. It is a mean: two hypotheses show as two ghosts.
Images have values in [−1, 1]; a std is in those units, half of a pixel's range.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent import diffusion
from agent.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from agent.denoiser import Denoiser, DenoiserConfig, to_frames, to_images

QUIET = 0.02  # std below which a frame counts as clean; rounding to 256 levels has 0.002
NORMAL_MAD = 0.6745  # median of |ε|, ε ~ N(0, 1)


class Purified(NamedTuple):
    """Frames as the prior gives them back, and how noisy it found them."""

    frames: UInt8[Tensor, "N H W C"]
    noise_std: Float[Tensor, "N"]  # noqa: F821 - a shape, not a name


def noise_std(frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The std of independent noise on each frame: median |Haar HH| / 0.6745 (Donoho 1995).

    HH = (a − b − c + d)/2 over blocks of 2 × 2 pixels has the noise's std, and is 0 inside everything
    flat. Pixels that differ from the median of their 3 × 3 neighbourhood by more than four times a
    first estimate are replaced by it before the second: dead pixels are no noise.
    """
    images = to_images(frames)
    first = _haar_std(images)
    noisy = first > QUIET
    if not noisy.any():  # the medians cost more than all the rest
        return first
    some, scale = images[noisy], first[noisy]
    medians = neighbourhood_median(some)
    outlying = (some - medians).abs() > 4 * scale.view(-1, 1, 1, 1) + 1 / 128
    std = first.clone()
    std[noisy] = torch.minimum(scale, _haar_std(torch.where(outlying, medians, some)))
    return std


def _haar_std(images: Tensor) -> Tensor:
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    return ((a - b - c + d) / 2).abs().flatten(1).median(1).values / NORMAL_MAD


def neighbourhood_median(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The median of the 3 × 3 pixels around each, edges repeated, channel by channel.

    Columns are sorted; then it is the middle of the largest low, the middle middle and the smallest
    high. That takes a fifth of the time of sorting nine.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    low, middle, high = _sorted(padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:])
    columns = [(each[..., :-2], each[..., 1:-1], each[..., 2:]) for each in (low, middle, high)]
    lows, middles, highs = (_sorted(*each) for each in columns)
    return _sorted(lows[2], middles[1], highs[0])[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def check_frames(denoiser: Denoiser, frames: Tensor) -> None:
    """Whether these are frames that the denoiser knows.

    Raises:
        ValueError: another shape, or another dtype than uint8.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != denoiser.shape:
        got, allowed = f"{frames.dtype} {tuple(frames.shape)}", f"torch.uint8 (N, *{denoiser.shape})"
        raise ValueError(f"frames: got {got}, allowed: {allowed}, values 0 to 255")


@torch.no_grad()
def purify(denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"]) -> Purified:
    """Tweedie's estimate of each frame at the noise that it is found to have; clean ones stay.

    Raises:
        ValueError: see `check_frames`.
    """
    check_frames(denoiser, frames)
    std = noise_std(frames)
    noisy = std > QUIET
    result = frames.clone()
    if noisy.any():
        result[noisy] = to_frames(_tweedie(denoiser, to_images(frames[noisy]), std[noisy]))
    return Purified(result, std)


def _tweedie(denoiser: Denoiser, images: Tensor, std: Tensor) -> Tensor:
    """E[x_0 | x_0 + σ ε = image], at the step nearest to each image's σ."""
    levels = [denoiser.schedule.nearest(level) for level in std.tolist()]
    n = torch.tensor(levels, device=images.device)
    alpha_bar = diffusion.at(denoiser.schedule.alpha_bar, n, images).float()
    return denoiser(alpha_bar.sqrt() * images, n).clamp(-1, 1)


IMPLAUSIBLE = 0.85  # of the distance of black and of white from grey, which is 1
MENDING_STD = 0.3
MOST = 0.9  # share of a frame that is made up, beyond which it is no evidence


@torch.no_grad()
def mend(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], guesses: Float[Tensor, "N C H W"]
) -> tuple[UInt8[Tensor, "N H W C"], Float[Tensor, "N"]]:  # noqa: F821 - a shape
    """Replace what a frame cannot be showing, by two Tweedie estimates and no sampling.

    Pixels far from a first guess at the frame, made under so much noise that only its layout
    mattered, are taken for missing; the guess fills them, and a second estimate at less noise, which
    sees all the other pixels, gives what they become.

    Args:
        denoiser: the diffusion model.
        frames: what is partly hidden, or stuck.
        guesses: x̂_0 of each at a large noise.

    Returns:
        The frames, and the share of each that was replaced.
    """
    images = to_images(frames)
    missing = (images - guesses).abs().amax(1, keepdim=True) > IMPLAUSIBLE
    filled = torch.where(missing, guesses, images)
    std = torch.full((len(frames),), MENDING_STD)
    again = _tweedie(denoiser, filled, std)
    mended = torch.where(missing.permute(0, 2, 3, 1), to_frames(again), frames)
    return mended, missing.float().mean((1, 2, 3))


@torch.no_grad()
def repair(
    denoiser: Denoiser,
    frames: UInt8[Tensor, "N H W C"],
    missing: Bool[Tensor, "N H W"],
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> UInt8[Tensor, "N H W C"]:
    """Fill pixels that are known to be missing, by a few DDIM steps from noise.

    After each step the pixels that are there are put back at that step's noise (arXiv 2201.09865,
    without its resampling). They come out as they were.

    Args:
        denoiser: the diffusion model.
        frames: what the missing pixels hold does not matter.
        missing: which they are.
        steps: DDIM steps.
        generator: of the noise.

    Raises:
        ValueError: see `check_frames`; a mask of another shape or dtype; more steps than there are.
    """
    check_frames(denoiser, frames)
    if missing.dtype != torch.bool or missing.shape != frames.shape[:3]:
        got = f"{missing.dtype} {tuple(missing.shape)}"
        raise ValueError(f"missing: got {got}, allowed: torch.bool {tuple(frames.shape[:3])}")
    images, schedule = to_images(frames), denoiser.schedule
    there = ~missing[:, None]

    def noise() -> Tensor:
        return torch.randn(images.shape, generator=generator, device=images.device)

    down = diffusion.sub_sequence(schedule, steps)
    x = noise()
    for n, m in zip(down, [*down[1:], 0], strict=True):
        x = torch.where(there, diffusion.diffuse(schedule, images, n, noise()), x)
        x = diffusion.ddim_step(schedule, x, denoiser.denoise(x, n), n, m, 1.0, noise())
    return torch.where(missing[..., None], to_frames(x), frames)


CRITICAL_STDS = (0.5, 1.0)
"""Noise at which a frame is criticised: so much that not its details are judged, but its layout."""


class Critic(NamedTuple):
    """How clean frames fare under the diffusion model, and from which score on a frame is none.

    At each of some noise levels a frame is made noisy and denoised. Two numbers tell how it fared: the
    error ‖x̂_0 − x_0‖² and the signal found ‖x̂_0 − m‖², m the mean image; their logarithms have a mean
    and a std over clean frames. A frame that cannot be has a larger error. Where something is missing
    the error may well be smaller, an empty room being the easiest of all; but then too little signal is
    found, and too much where something is there twice. So the score is the largest, over the levels, of
    the z-score of the error and of the |z-score| of the signal.
    """

    denoiser: Denoiser
    mean: Float[Tensor, "S 2"]  # of the logarithms of error and signal, per level
    std: Float[Tensor, "S 2"]
    threshold: float

    def score(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """How far each frame is from what is usual, in stds of where it is farthest."""
        return self.judge(frames)[0]

    def judge(
        self, frames: UInt8[Tensor, "N H W C"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N C H W"]]:  # noqa: F821 - a shape
        """The scores, and x̂_0 of each frame at a noise of 1, which `mend` starts from.

        Raises:
            ValueError: see `check_frames`.
        """
        check_frames(self.denoiser, frames)
        found, guesses = _fares(self.denoiser, frames)
        error, signal = ((found - self.mean) / self.std).unbind(2)
        return torch.maximum(error, signal.abs()).max(1).values, guesses


def calibrate(
    denoiser: Denoiser,
    episodes: Sequence[UInt8[Tensor, "_T H W C"]],
    false_alarms: float = 0.01,
    generator: torch.Generator | None = None,
) -> Critic:
    """A critic that is wrong about a clean frame with probability `false_alarms` at most.

    Every other episode tells what is usual. From each of the rest one frame is drawn; as episodes are
    independent, the promise holds for a frame of a new episode, see `conformal_threshold`.

    Args:
        denoiser: the diffusion model.
        episodes: clean ones that did not train it.
        false_alarms: α.
        generator: of the draws.

    Raises:
        ValueError: α is not in (0, 1), or there are too few episodes to promise it.
    """
    usual, rest = episodes[::2], episodes[1::2]
    check_promise(len(episodes), false_alarms)
    found, _ = _fares(denoiser, torch.cat(list(usual)))
    critic = Critic(denoiser, found.mean(0), found.std(0).clamp(min=1e-6), math.inf)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in rest]
    scores = critic.score(torch.stack(drawn))
    return critic._replace(threshold=conformal_threshold(scores, false_alarms))


def check_promise(episodes: int, false_alarms: float) -> None:
    """Whether so many episodes are enough for a `conformal_threshold` from every other one.

    Raises:
        ValueError: they are not, or α is not in (0, 1).
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms: got {false_alarms}, allowed: above 0, below 1")
    least = 2 * (math.ceil(1 / false_alarms - 1e-9) - 1)
    if episodes < least:
        allowed = f"at least {least} for false_alarms = {false_alarms}"
        raise ValueError(f"episodes: got {episodes}, allowed: {allowed}")


def conformal_threshold(scores: Float[Tensor, "M"], false_alarms: float) -> float:  # noqa: F821 - a shape
    """The ⌈(m + 1)(1 − α)⌉-th smallest of m scores: one more lies above it with probability ≤ α.

    Split conformal prediction (arXiv 2107.07511); the m and the one more are exchangeable.
    """
    check_promise(2 * len(scores), false_alarms)
    rank = math.ceil((len(scores) + 1) * (1 - false_alarms) - 1e-9)
    return scores.sort().values[rank - 1].item()


@torch.no_grad()
def _fares(
    denoiser: Denoiser, frames: UInt8[Tensor, "N H W C"], batch: int = 64
) -> tuple[Float[Tensor, "N S 2"], Float[Tensor, "N C H W"]]:
    """Log error and log signal at each level, and x̂_0 at the last; one draw of noise for all frames."""
    levels = torch.tensor([denoiser.schedule.nearest(std) for std in CRITICAL_STDS])
    eps = torch.stack([_fixed_noise(denoiser.shape, number) for number in range(len(levels))])
    numbers, guesses = [], []
    for some in frames.split(batch):
        images = to_images(some)
        repeated = images.repeat(len(levels), 1, 1, 1)  # all levels of all frames in one pass
        n = levels.repeat_interleave(len(images)).to(images.device)
        noise = eps.to(images.device).repeat_interleave(len(images), 0)
        xn = diffusion.diffuse(denoiser.schedule, repeated, n, noise)
        x0 = denoiser(xn, n).clamp(-1, 1)
        apart = torch.stack([x0 - repeated, x0 - denoiser.mean_image])
        energy = apart.square().mean((2, 3, 4)).view(2, len(levels), -1)
        numbers.append((energy + 1e-8).log().permute(2, 1, 0))
        guesses.append(x0[-len(images) :])
    return torch.cat(numbers), torch.cat(guesses)


@lru_cache
def _fixed_noise(shape: tuple[int, int, int], number: int) -> Tensor:
    height, width, channels = shape
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(number))


class Sight(NamedTuple):
    """Frames as the prior gives them back, and what it thinks of them."""

    frames: UInt8[Tensor, "N H W C"]
    score: Float[Tensor, "N"]  # noqa: F821 - the critic's, of `frames`; ∞ where nearly all is made up
    plausible: Bool[Tensor, "N"]  # noqa: F821 - whether the score is below the critic's threshold


@dataclass(frozen=True)
class ObservationPrior:
    """What control asks about a frame before it believes it.

    Made by `agent.calibration.calibrate_prior`.
    """

    critic: Critic
    """Holds the denoiser too."""
    innovation_threshold: float
    """Above it a frame contradicts the world model's prediction, see `agent.belief`."""
    purifies: bool = True
    """Whether noise is removed, and what cannot be is mended."""
    gates: bool = True
    """Whether control may leave a frame out and trust the transition instead."""
    calibrated_on: str = ""
    """Which agent, after how many steps: for another one the thresholds say nothing."""
    plan_weight: float = 0.0
    """Of the critic's opinion about imagined frames, in the choice among the best plans; 0: not asked
    (see `agent.control`)."""

    def look(self, frames: UInt8[Tensor, "N H W C"]) -> Sight:
        """Clean and mend frames, and judge what has come out."""
        if self.purifies:
            frames = purify(self.critic.denoiser, frames).frames
        score, guesses = self.critic.judge(frames)
        odd = score > self.critic.threshold
        if self.purifies and odd.any():
            frames, score = frames.clone(), score.clone()
            frames[odd], replaced = mend(self.critic.denoiser, frames[odd], guesses[odd])
            score[odd] = self.critic.score(frames[odd])
            score[odd] = score[odd].masked_fill(replaced > MOST, math.inf)
        return Sight(frames, score, score <= self.critic.threshold)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint directory; see `agent.checkpoint`.

        Raises:
            ValueError: there is something else at `path`. It is left as it was.
        """
        denoiser = self.critic.denoiser
        config = {
            "shape": denoiser.shape,
            "denoiser": dataclasses.asdict(denoiser.config),
            "critic_mean": self.critic.mean.tolist(),
            "critic_std": self.critic.std.tolist(),
            "critic_threshold": self.critic.threshold,
            "innovation_threshold": self.innovation_threshold,
            "calibrated_on": self.calibrated_on,
        }
        save_checkpoint(Path(path), Checkpoint(config, dict(denoiser.state_dict()), {}, {}))

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "ObservationPrior":
        """A prior as it was saved, with everything switched on that is on by default.

        Raises:
            ValueError: not a whole checkpoint of a prior.
        """
        checkpoint = load_checkpoint(Path(path))
        config = checkpoint.config
        try:
            height, width, channels = config["shape"]
            denoiser = Denoiser((height, width, channels), DenoiserConfig(**config["denoiser"]))
            denoiser.load_state_dict(checkpoint.model)
            mean, std = (torch.tensor(config[f"critic_{name}"]).to(device) for name in ("mean", "std"))
            critic = Critic(denoiser.to(device), mean, std, config["critic_threshold"])
            return cls(critic, config["innovation_threshold"], calibrated_on=config["calibrated_on"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: got no observation prior ({problem})") from error
