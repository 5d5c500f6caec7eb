"""The cross-entropy method over imagined trajectories (seed 000, eq. 18).

    argmax over a_{t:t+H−1} of Σ_{k=1..H} γ^k r(z_{t+k})

The planner knows a `Step`, not a network. It searches for N rooms at once.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.types import Step


@dataclass(frozen=True)
class CEMConfig:
    """Settings of the cross-entropy method; one action costs candidates × iterations rollouts.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    horizon: int = 6
    """H, steps imagined."""
    candidates: int = 100
    """K, action sequences tried in each iteration."""
    elites: int = 10
    """How many of the best the next proposal is fitted to; these compete again."""
    iterations: int = 3
    """Refits of the proposal."""
    discount: float = 0.95
    """γ; the first reward counted is γ¹ r(z_{t+1})."""
    proposal_std: float = 1.0
    """Std of the first proposal, in half-widths of the action bounds."""
    correlation: float = 0.7
    """Correlation of a proposal's noise from one time step to the next: plans worth having rarely
    zigzag (coloured noise, arXiv 2008.06389, here of first order)."""

    def __post_init__(self) -> None:
        for field in ("horizon", "candidates", "iterations"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: got {getattr(self, field)}, allowed: at least 1")
        if not 2 <= self.elites <= self.candidates:
            allowed = f"2 to candidates (={self.candidates})"
            raise ValueError(f"elites: got {self.elites}, allowed: {allowed}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount: got {self.discount}, allowed: above 0, at most 1")
        if not self.proposal_std > 0:
            raise ValueError(f"proposal_std: got {self.proposal_std}, allowed: more than 0")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation: got {self.correlation}, allowed: 0 up to below 1")


@torch.no_grad()
def discounted_return(
    step: Step, z: Float[Tensor, "N D"], actions: Float[Tensor, "N H A"], discount: float
) -> Float[Tensor, "N"]:  # noqa: F821 - a shape, not a name
    """Σ_{k=1..H} γ^k r(z_{t+k}) along each row's actions, from z = z_t."""
    total = z.new_zeros(len(z))
    for k, action in enumerate(actions.unbind(1), start=1):
        z, reward = step(z, action)
        total = total + discount**k * reward
    return total


@torch.no_grad()
def cem(
    step: Step,
    z: Float[Tensor, "N D"],
    warm_start: Float[Tensor, "N H A"],
    config: CEMConfig,
    generator: torch.Generator | None = None,
    low: float = -1.0,
    high: float = 1.0,
) -> Float[Tensor, "N H A"]:
    """Plan H actions for each of N rooms.

    The proposal is a Gaussian over unbounded sequences, and a candidate is clipped where it is
    acted out. So a proposal can lie beyond a bound and put nearly all its candidates on it: the best
    action of a bounded control problem is often the bound itself, which a mean of clipped
    candidates never reaches.

    All rooms share one draw of noise, so that a room's plan does not depend on its neighbours.

    Args:
        step: the world, (z, a) ↦ (next z, reward).
        z: where each room is now.
        warm_start: means of the first proposal, such as the last plan shifted by one step.
        config: how hard to search.
        generator: of the noise.
        low: smallest value of an action.
        high: largest value of an action.

    Returns:
        The mean of the last elites, clipped to [low, high].

    Raises:
        ValueError: the bounds are reversed, the warm start has another shape, or a return is not
            finite.
    """
    if not low < high:
        raise ValueError(f"low, high: got {low}, {high}, allowed: low below high")
    if warm_start.shape[:2] != (len(z), config.horizon):
        expected = (len(z), config.horizon, "A")
        raise ValueError(f"warm_start: got shape {tuple(warm_start.shape)}, allowed: {expected}")
    rooms, candidates = len(z), config.candidates
    mean = warm_start
    std = torch.full_like(mean, config.proposal_std * (high - low) / 2)
    elites = mean[:, None]  # the warm start itself is a candidate
    z_each = z.repeat_interleave(candidates, 0)
    for _ in range(config.iterations):
        fresh = candidates - elites.shape[1]
        noise = _correlated_noise(fresh, mean, config.correlation, generator)
        actions = torch.cat([mean[:, None] + std[:, None] * noise, elites], 1)
        clipped = actions.clamp(low, high).flatten(0, 1)
        returns = discounted_return(step, z_each, clipped, config.discount).view(rooms, candidates)
        if not torch.isfinite(returns).all():
            raise ValueError("step: got returns that are not finite, allowed: finite rewards")
        best = returns.topk(config.elites, dim=1).indices[:, :, None, None]
        elites = actions.gather(1, best.expand(-1, -1, *actions.shape[2:]))
        mean, std = elites.mean(1), elites.std(1)
    return mean.clamp(low, high)


def _correlated_noise(
    count: int, like: Tensor, correlation: float, generator: torch.Generator | None
) -> Tensor:
    """Standard normal noise (count, H, A), a first-order autoregression over H."""
    shape = (count, *like.shape[1:])
    noise = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    fresh = math.sqrt(1 - correlation**2)
    for k in range(1, shape[1]):
        noise[:, k] = correlation * noise[:, k - 1] + fresh * noise[:, k]
    return noise
