"""Noise whose power falls with frequency, since smooth plans are usually better (2008.06389)."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def coloured_noise(
    count: int, like: Float[Tensor, "N H A"], colour: float, generator: torch.Generator | None
) -> Float[Tensor, "count H A"]:
    """Gaussian noise of unit variance, white over candidates and action dimensions, coloured over H."""
    shape = (count, *like.shape[1:])
    white = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    return _colouring(shape[1], colour).to(like) @ white


@lru_cache
def _colouring(horizon: int, colour: float) -> Float[Tensor, "H H"]:
    """A square root of the covariance of noise with spectrum 1 / frequency^β and period H.

    Frequency 0 is treated as the lowest nonzero frequency, 1 / H.
    """
    frequency = torch.arange(horizon // 2 + 1, dtype=torch.float64).clamp(min=1)
    twice = torch.full_like(frequency, 2.0)  # positive and negative frequency
    twice[0] = 1
    if horizon % 2 == 0:
        twice[-1] = 1
    power = twice * frequency**-colour
    lag = torch.arange(horizon, dtype=torch.float64)
    waves = (2 * math.pi / horizon * lag[:, None] * torch.arange(len(power))).cos()
    correlation = (waves @ (power / power.sum()))[(lag[:, None] - lag).abs().long()]
    values, vectors = torch.linalg.eigh(correlation)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT
