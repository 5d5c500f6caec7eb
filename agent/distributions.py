"""Diagonal Gaussians: log-density, KL divergence, product, in nats; and whether numbers vary."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-5  # relative to the largest number; float32 has 24 bits
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Normal(NamedTuple):
    """N(mean, diag(std²)) over the last axis, D dimensions."""

    mean: Float[Tensor, "*batch D"]
    std: Float[Tensor, "*batch D"]

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*batch D"]:
        """A reparameterised sample: mean + std · eps, eps ~ N(0, I)."""
        eps = torch.randn(
            self.mean.shape,
            generator=generator,
            device=self.mean.device,
            dtype=self.mean.dtype,
        )
        return self.mean + self.std * eps

    def log_prob(self, value: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Log-density ln N(value; mean, diag(std²)), summed over the D dimensions."""
        scaled = (value - self.mean) / self.std
        return -(0.5 * scaled.square() + self.std.log() + HALF_LOG_2PI).sum(-1)


def standard_normal(batch: int, size: int, like: Tensor) -> Normal:
    """N(0, I) of shape (batch, size), on the device and in the precision of `like`."""
    return Normal(like.new_zeros(batch, size), like.new_ones(batch, size))


def kl_divergence(q: Normal, p: Normal) -> Float[Tensor, "*batch"]:
    """KL[q ‖ p] = Σ ln(σ_p/σ_q) + (σ_q² + (μ_q − μ_p)²)/(2σ_p²) − ½, over the D dimensions."""
    ratio = q.std / p.std
    shift = (q.mean - p.mean) / p.std
    return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)


def product(p: Normal, q: Normal) -> Normal:
    """The normalised product of two densities: precisions add, and weight the means."""
    p_precision, q_precision = p.std.pow(-2), q.std.pow(-2)
    variance = 1 / (p_precision + q_precision)
    return Normal((p_precision * p.mean + q_precision * q.mean) * variance, variance.sqrt())


def varied(values: Float[Tensor, "N"]) -> bool:  # noqa: F821 - a shape, not a name
    """Whether numbers differ by more than rounding errors."""
    return len(values) > 1 and bool(values.std() > ROUNDING * values.abs().max())


def returns_vary(rewards: Float[Tensor, "N"], ended: bool) -> bool:  # noqa: F821 - a shape, not a name
    """Whether one course of an episode may be better than another, as far as has been seen.

    Either rewards differ, or they are constant but not 0, and an episode has ended.

    Args:
        rewards: all rewards.
        ended: whether an episode has terminated.
    """
    return varied(rewards) or (ended and bool((rewards != 0).any()))
