"""Denoising diffusion: schedules, bound, parameterisations, samplers, scores.

    q(x_n | x_0) = N(√ᾱ_n x_0, (1 − ᾱ_n) I),   n = 1..N                 (arXiv 2006.11239)

Pure functions of a `Schedule` and of a network's predictions. Diffusion steps n count from 1, as an
integer or a tensor (B,) of integers; images are (B, …). The schedule and all coefficients are in
float64; results have the dtype of the images. Everything is in nats.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from agent.distributions import HALF_LOG_2PI

Parameterisation = Literal["eps", "x0", "mean", "v"]
Weighting = Literal["simple", "bound", "min-snr"]
Variance = Literal["beta", "beta_tilde"]
Steps = int | Tensor

LEVELS = 256


@dataclass(frozen=True)
class Schedule:
    """A noise schedule.

    Raises:
        ValueError: beta is not a float64 vector with values in (0, 1).
    """

    beta: Tensor
    """β_n = 1 − α_n, (N,) float64; step n is at index n − 1."""

    def __post_init__(self) -> None:
        beta = self.beta
        inside = beta.numel() > 0 and bool(((beta > 0) & (beta < 1)).all())
        if beta.ndim != 1 or beta.dtype != torch.float64 or not inside:
            extent = f" in [{beta.min():g}, {beta.max():g}]" if beta.numel() else ""
            got = f"{beta.dtype} {tuple(beta.shape)}{extent}"
            raise ValueError(f"beta: got {got}, allowed: a float64 vector with values in (0, 1)")

    @classmethod
    def linear(cls, steps: int, first: float = 1e-4, last: float = 0.02) -> Self:
        """β linear from `first` to `last`, both given for N = 1000 and scaled by 1000 / N.

        Without the scaling, a shorter schedule would end far from N(0, I).

        Raises:
            ValueError: too few steps, so that a scaled β is 1 or more.
        """
        if steps < 1 or 1000 / max(steps, 1) * last >= 1:
            least = math.floor(1000 * last) + 1
            raise ValueError(f"steps: got {steps}, allowed: at least {least} with last = {last}")
        return cls(1000 / steps * torch.linspace(first, last, steps, dtype=torch.float64))

    @classmethod
    def cosine(cls, steps: int, offset: float = 0.008, largest: float = 0.999) -> Self:
        """ᾱ_n ∝ cos²(π/2 · (n/N + s)/(1 + s)), β at most `largest` (arXiv 2102.09672, eq. 17).

        Raises:
            ValueError: steps is below 1.
        """
        if steps < 1:
            raise ValueError(f"steps: got {steps}, allowed: at least 1")
        time = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        alpha_bar = ((time + offset) / (1 + offset) * math.pi / 2).cos().square()
        return cls((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=largest))

    @property
    def steps(self) -> int:
        """N, the number of steps."""
        return len(self.beta)

    @property
    def alpha(self) -> Tensor:
        """α_n, (N,)."""
        return 1 - self.beta

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ_n = ∏_{i ≤ n} α_i for n = 0..N, (N + 1,); ᾱ_0 = 1: no noise."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha.log().cumsum(0).exp()])

    @property
    def snr(self) -> Tensor:
        """ᾱ_n / (1 − ᾱ_n) for n = 0..N, (N + 1,); infinite at n = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def beta_tilde(self) -> Tensor:
        """Variance of q(x_{n−1} | x_n, x_0): β_n (1 − ᾱ_{n−1}) / (1 − ᾱ_n), (N,); 0 at n = 1."""
        remaining = 1 - self.alpha_bar
        return self.beta * remaining[:-1] / remaining[1:]

    def nearest(self, noise_std: float) -> int:
        """The step whose noise std in x_n / √ᾱ_n, √((1 − ᾱ_n)/ᾱ_n), is nearest to `noise_std`."""
        distance = (-self.snr[1:].log() - 2 * math.log(noise_std)).abs()
        return int(distance.argmin()) + 1


def at(values: Tensor, n: Steps, like: Tensor) -> Tensor:
    """Gather entries of a schedule's vector at index n, broadcastable to images (B, …).

    Raises:
        ValueError: an index is negative or beyond the schedule.
    """
    index = torch.as_tensor(n).cpu()
    if index.min() < 0 or index.max() >= len(values):
        extent = f"{int(index.min())} to {int(index.max())}"
        raise ValueError(f"n: got steps at index {extent}, allowed: 0 to {len(values) - 1}")
    found = values[index].to(like.device)
    return found if found.ndim == 0 else found.view(-1, *[1] * (like.ndim - 1))


# ---- forward -------------------------------------------------------------------------------------


def diffuse(schedule: Schedule, x0: Tensor, n: Steps, eps: Tensor) -> Tensor:
    """The forward process: x_n = √ᾱ_n x_0 + √(1 − ᾱ_n) ε."""
    alpha_bar = at(schedule.alpha_bar, n, x0)
    return (alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps).to(x0.dtype)


def posterior_mean(schedule: Schedule, x0: Tensor, xn: Tensor, n: Steps) -> Tensor:
    """Mean of q(x_{n−1} | x_n, x_0), whose variance is `Schedule.beta_tilde`.

    μ̃ = [√α_n (1 − ᾱ_{n−1}) x_n + √ᾱ_{n−1} β_n x_0] / (1 − ᾱ_n)
    """
    of_x0, of_xn = _posterior_coefficients(schedule, n, xn)
    return (of_x0 * x0 + of_xn * xn).to(xn.dtype)


def _posterior_coefficients(schedule: Schedule, n: Steps, like: Tensor) -> tuple[Tensor, Tensor]:
    before = at(schedule.alpha_bar[:-1], torch.as_tensor(n) - 1, like)
    beta = at(schedule.beta, torch.as_tensor(n) - 1, like)
    remaining = 1 - at(schedule.alpha_bar, n, like)
    return before.sqrt() * beta / remaining, (1 - beta).sqrt() * (1 - before) / remaining


# ---- parameterisations ---------------------------------------------------------------------------


def to_x0(
    schedule: Schedule, prediction: Tensor, xn: Tensor, n: Steps, kind: Parameterisation
) -> Tensor:
    """Convert a prediction to x_0; `kind` is the noise ε, x_0 itself, the posterior mean, or v.

    v = √ᾱ ε − √(1 − ᾱ) x_0 (arXiv 2202.00512).
    """
    _check_kind(kind)
    alpha_bar = at(schedule.alpha_bar, n, xn)
    if kind == "x0":
        return prediction
    if kind == "eps":
        x0 = (xn - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()
    elif kind == "v":
        x0 = alpha_bar.sqrt() * xn - (1 - alpha_bar).sqrt() * prediction
    else:
        of_x0, of_xn = _posterior_coefficients(schedule, n, xn)
        x0 = (prediction - of_xn * xn) / of_x0
    return x0.to(xn.dtype)


def from_x0(schedule: Schedule, x0: Tensor, xn: Tensor, n: Steps, kind: Parameterisation) -> Tensor:
    """The inverse of `to_x0`: convert x_0 to another parameterisation."""
    _check_kind(kind)
    alpha_bar = at(schedule.alpha_bar, n, xn)
    if kind == "x0":
        return x0
    if kind == "eps":
        prediction = (xn - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
    elif kind == "v":
        prediction = (alpha_bar.sqrt() * xn - x0) / (1 - alpha_bar).sqrt()
    else:
        prediction = posterior_mean(schedule, x0, xn, n)
    return prediction.to(xn.dtype)


def _check_kind(kind: str) -> None:
    if kind not in get_args(Parameterisation):
        raise ValueError(f"parameterisation: got {kind!r}, allowed: {get_args(Parameterisation)}")


def loss_weight(
    schedule: Schedule, weighting: Weighting, kind: Parameterisation, gamma: float = 5.0
) -> Tensor:
    """Weights of the squared error of a prediction at n = 1..N, (N,).

    "simple": 1 on the error of ε. "bound": the weight in the bound's terms L_{n−1} with σ² = β̃, for
    n ≥ 2 (½ (SNR_{n−1} − SNR_n) on the error of x_0); L_0 is not a squared error, so its weight is 0.
    "min-snr": min(SNR, γ) on the error of x_0 (arXiv 2303.09556).

    Raises:
        ValueError: an unknown weighting or parameterisation.
    """
    _check_kind(kind)
    snr = schedule.snr[1:]
    if weighting == "simple":
        of_x0 = snr
    elif weighting == "bound":
        of_x0 = 0.5 * torch.cat([torch.zeros(1, dtype=torch.float64), -snr.diff()])
    elif weighting == "min-snr":
        of_x0 = snr.clamp(max=gamma)
    else:
        raise ValueError(f"weighting: got {weighting!r}, allowed: {get_args(Weighting)}")
    # Multiply by the ratio of x_0's squared error to the prediction's.
    remaining = 1 - schedule.alpha_bar[1:]
    if kind == "mean":
        of_mean, _ = _posterior_coefficients(schedule, torch.arange(1, schedule.steps + 1), snr)
        return of_x0 / of_mean.square()
    return of_x0 * {"x0": 1.0, "eps": 1 / snr, "v": remaining}[kind]


# ---- the bound -----------------------------------------------------------------------------------


def prior_matching(schedule: Schedule, x0: Tensor) -> Tensor:
    """L_N = KL[q(x_N | x_0) ‖ N(0, I)], (B,)."""
    alpha_bar = schedule.alpha_bar[-1]
    squared = x0.double().flatten(1).square()
    rest = 1 - alpha_bar
    return 0.5 * (alpha_bar * squared + rest - 1 - rest.log()).sum(1)


def denoising_term(
    schedule: Schedule,
    x0: Tensor,
    xn: Tensor,
    n: Steps,
    x0_hat: Tensor,
    variance: Variance = "beta_tilde",
) -> Tensor:
    """L_{n−1} = KL[q(x_{n−1} | x_n, x_0) ‖ N(μ̂_n, σ_n² I)] for n ≥ 2, (B,).

    The model's mean is the posterior mean with x̂_0 for x_0; σ² is β̃ or β, chosen by `variance`.

    Raises:
        ValueError: a step below 2; the term of step 1 is `decoder_term`.
    """
    if int(torch.as_tensor(n).min()) < 2:
        raise ValueError("n: got a step below 2, allowed: 2 to N (L_0 is the decoder's term)")
    index = torch.as_tensor(n) - 1
    ours = at(variances(schedule, variance), index, xn)
    exact = at(schedule.beta_tilde, index, xn)
    of_x0, _ = _posterior_coefficients(schedule, n, xn)
    apart = of_x0 * (x0.double() - x0_hat.double())
    spread = 0.5 * (exact / ours - 1 - (exact / ours).log())
    return (apart.square() / (2 * ours) + spread).flatten(1).sum(1)


def variances(schedule: Schedule, variance: Variance) -> Tensor:
    """σ_n² of the reverse process, (N,). At n = 1, where β̃ is 0, both choices give β_1.

    Raises:
        ValueError: an unknown name.
    """
    if variance == "beta":
        return schedule.beta
    if variance != "beta_tilde":
        raise ValueError(f"variance: got {variance!r}, allowed: {get_args(Variance)}")
    return torch.cat([schedule.beta[:1], schedule.beta_tilde[1:]])


def decoder_log_prob(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The log-probability of pixels under N(mean, std²) over 256 levels from −1 to 1 (2006.11239, 13).

    Each level has the mass of its cell of width 2/255; the outermost cells extend to infinity.
    Computed elementwise from differences of the log normal CDF, in the tail where it does not saturate,
    so it is accurate for any mean.
    """
    half = 1 / (LEVELS - 1)
    x0, mean = x0.double(), mean.double()
    right, left = (x0 + half - mean) / std, (x0 - half - mean) / std
    flip = (right + left) > 0  # the mirrored cell has the same mass, in the accurate tail
    upper = torch.where(flip, -left, right)
    lower = torch.where(flip, -right, left)
    top, bottom = x0 > 1 - half, x0 < -1 + half
    lowest = torch.where(flip, top, bottom)  # cells that extend to −∞ after the flip
    highest = torch.where(flip, bottom, top)
    log_upper = torch.special.log_ndtr(upper)
    log_lower = torch.special.log_ndtr(lower)
    inside = log_upper + torch.log1p(-(log_lower - log_upper).exp())
    outside = torch.special.log_ndtr(-lower)
    return torch.where(lowest, log_upper, torch.where(highest, outside, inside))


def decoder_term(schedule: Schedule, x0: Tensor, x1: Tensor, x0_hat: Tensor) -> Tensor:
    """L_0 = −log p(x_0 | x_1), (B,): the discretised decoder around the mean of step 1, σ² = β_1.

    At n = 1 the posterior mean is x̂_0 itself.
    """
    std = variances(schedule, "beta_tilde")[0].sqrt()
    return -decoder_log_prob(x0, x0_hat, std).flatten(1).sum(1)


def bits_per_dimension(nats: Tensor, x0: Tensor) -> Tensor:
    """Convert nats per image to bits per dimension of images (B, …)."""
    return nats / (x0[0].numel() * math.log(2))


# ---- samplers ------------------------------------------------------------------------------------


def ancestral_step(
    schedule: Schedule,
    xn: Tensor,
    x0_hat: Tensor,
    n: int,
    noise: Tensor,
    variance: Variance = "beta_tilde",
) -> Tensor:
    """One step x_n → x_{n−1} ~ N(μ̂_n, σ_n² I); the last step, to x_0, returns the mean."""
    mean = posterior_mean(schedule, x0_hat, xn, n)
    if n == 1:
        return mean
    return (mean + variances(schedule, variance)[n - 1].sqrt() * noise).to(xn.dtype)


def ddim_step(
    schedule: Schedule, xn: Tensor, x0_hat: Tensor, n: int, m: int, eta: float, noise: Tensor
) -> Tensor:
    """One step x_n → x_m, m < n, of DDIM (arXiv 2010.02502, eq. 12).

    η = 0 is deterministic; η = 1 with m = n − 1 is the ancestral step with σ² = β̃.

    Raises:
        ValueError: m is not below n, or eta is not in [0, 1].
    """
    if not 0 <= m < n:
        raise ValueError(f"m: got {m}, allowed: 0 up to below n (={n})")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta: got {eta}, allowed: 0 to 1")
    here, there = schedule.alpha_bar[n], schedule.alpha_bar[m]
    std = eta * ((1 - there) / (1 - here) * (1 - here / there)).sqrt()
    eps = from_x0(schedule, x0_hat, xn, n, "eps")
    direction = (1 - there - std.square()).clamp(min=0).sqrt()
    return (there.sqrt() * x0_hat + direction * eps + std * noise).to(xn.dtype)


def sample(
    schedule: Schedule,
    denoise: Callable[[Tensor, int], Tensor],
    start: Tensor,
    steps: Sequence[int],
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run DDIM through a decreasing sequence of steps, and from the last one to x_0.

    With all steps from N to 1 and η = 1 this is ancestral sampling.

    Args:
        schedule: the noise schedule.
        denoise: (x_n, n) ↦ an estimate of x_0.
        start: x at the first step; a sample of N(0, I) if that is N.
        steps: decreasing, N ≥ n_1 > n_2 > … ≥ 1.
        eta: 0 is deterministic, 1 has the full noise.
        generator: generator of the noise.

    Raises:
        ValueError: the steps do not decrease, or are not in the schedule.
    """
    down = [*steps, 0]
    if not steps or steps[0] > schedule.steps or not all(n > m for n, m in pairwise(down)):
        raise ValueError(f"steps: got {list(steps)}, allowed: falling, from {schedule.steps} to 1")
    x = start
    for n, m in pairwise(down):
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = ddim_step(schedule, x, denoise(x, n), n, m, eta, noise)
    return x


def sub_sequence(schedule: Schedule, count: int) -> list[int]:
    """`count` evenly spaced steps from N to 1, for `sample`.

    Raises:
        ValueError: count is below 1 or above N.
    """
    if not 1 <= count <= schedule.steps:
        raise ValueError(f"count: got {count}, allowed: 1 to {schedule.steps}")
    spread = torch.linspace(schedule.steps, 1, count, dtype=torch.float64) if count > 1 else None
    return [schedule.steps] if spread is None else [round(n) for n in spread.tolist()]


# ---- scores --------------------------------------------------------------------------------------


def score(schedule: Schedule, eps: Tensor, n: Steps) -> Tensor:
    """The score ∇ log q(x_n) = −ε̂ / √(1 − ᾱ_n) implied by a noise prediction."""
    return (-eps / (1 - at(schedule.alpha_bar, n, eps)).sqrt()).to(eps.dtype)


def to_ncsn(schedule: Schedule, xn: Tensor, n: Steps) -> tuple[Tensor, Tensor]:
    """Convert x_n to NCSN's parameterisation: y = x_n / √ᾱ_n = x_0 + σ ε, and σ = √((1 − ᾱ_n) / ᾱ_n).

    In these coordinates the score is −ε̂ / σ.
    """
    alpha_bar = at(schedule.alpha_bar, n, xn)
    return (xn / alpha_bar.sqrt()).to(xn.dtype), ((1 - alpha_bar) / alpha_bar).sqrt()


def langevin(
    score_of: Callable[[Tensor], Tensor],
    x: Tensor,
    step_size: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Langevin dynamics, x ← x + η s(x) + √(2η) ξ, `steps` times."""
    for _ in range(steps):
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = x + step_size * score_of(x) + math.sqrt(2 * step_size) * noise
    return x


def score_matching_loss(predicted: Tensor, x: Tensor, noisy: Tensor, std: float) -> Tensor:
    """Denoising score matching: ½ ‖s(x̃) − ∇ log N(x̃; x, σ²)‖², (B,) (Vincent 2011).

    Its gradient equals that of the explicit objective, ½ E ‖s(x̃) − ∇ log q_σ(x̃)‖².
    """
    target = (x - noisy) / std**2
    return 0.5 * (predicted - target).square().flatten(1).sum(1)


def gaussian_log_prob(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log-density of N(mean, variance · I), (B,)."""
    squared = (x - mean).double().square() / (2 * variance)
    return -(squared + 0.5 * variance.log() + HALF_LOG_2PI).flatten(1).sum(1)
