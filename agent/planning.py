"""Planning by sampling: random shooting, CEM, iCEM and MPPI over imagined trajectories.

    argmax over a_{t:t+H−1} of E Σ_{k=1..H} γ^k r(z_{t+k})

A planner knows a `Problem`, which is a function `step` with bounds, and no network: it serves an
analytic model as well. It searches for N environments at once. All share one draw of noise, so that,
where `step` draws nothing itself, a plan does not depend on its neighbours.

A candidate is clipped to the bounds where it is acted out, not where it is proposed. So a proposal
can lie beyond a bound and put nearly all its candidates on it: the best action of a bounded problem is
often the bound itself, which a mean of clipped candidates never reaches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from agent.types import Step


@dataclass(frozen=True)
class Problem:
    """What is planned for: a world, the actions that are allowed in it, and what else counts.

    Raises:
        ValueError: the bounds are no two finite vectors of one size, low below high.
    """

    step: Step
    """(z, a) ↦ (next z, the reward that arrives with it), for rows of z and a."""
    low: Float[Tensor, "A"]  # noqa: F821 - a shape, not a name
    """Smallest action."""
    high: Float[Tensor, "A"]  # noqa: F821 - a shape, not a name
    """Largest action."""
    terminal_value: Callable[[Tensor], Tensor] | None = None
    """z_{t+H} ↦ the value of going on from there; it counts with γ^H."""
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None
    """(z, a) ↦ what is taken from the step's reward, such as the model's uncertainty there."""

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if (
            not (isinstance(low, Tensor) and isinstance(high, Tensor))
            or low.ndim != 1
            or low.shape != high.shape
            or not (torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()
        ):
            allowed = "two finite vectors (tensors) of one size, low below high"
            raise ValueError(f"low, high: got {low}, {high}, allowed: {allowed}")


@dataclass(frozen=True)
class Search:
    """Settings that all planners share.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    horizon: int = 6
    """H, steps imagined."""
    discount: float = 0.95
    """γ; the first reward counted is γ¹ r(z_{t+1})."""
    candidates: int = 100
    """K, action sequences tried in an iteration."""
    particles: int = 1
    """Rollouts of each candidate, of which the mean counts: the expectation, where `step` draws."""

    def __post_init__(self) -> None:
        for name in ("horizon", "candidates", "particles"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        _require(self, "discount", 0 < self.discount <= 1, "above 0, at most 1")


@dataclass(frozen=True)
class ShootingConfig(Search):
    """Settings of random shooting."""


@dataclass(frozen=True)
class Refining(Search):
    """Settings of the planners that propose, and improve on their proposal."""

    iterations: int = 3
    """Proposals; an action costs candidates × iterations rollouts, or fewer where they shrink."""
    proposal_std: float = 1.0
    """Std of the first proposal, in half-widths of the action bounds."""
    colour: float = 2.0
    """β: the noise along a plan has the power spectrum 1 / frequency^β. 0 is white; plans worth having
    rarely zigzag (arXiv 2008.06389)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, "iterations", self.iterations >= 1, "at least 1")
        _require(self, "proposal_std", self.proposal_std > 0, "more than 0")
        _require(self, "colour", self.colour >= 0, "0 or more")


@dataclass(frozen=True)
class CEMConfig(Refining):
    """Settings of the cross-entropy method."""

    elites: int = 10
    """How many of the best the next proposal is fitted to; these compete again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = f"at least 2, fewer than candidates (={self.candidates})"
        _require(self, "elites", 2 <= self.elites < self.candidates, allowed)


@dataclass(frozen=True)
class ICEMConfig(CEMConfig):
    """Settings of the improved cross-entropy method."""

    candidates: int = 75
    """K, of the first proposal."""
    shrink: float = 1.25
    """Each proposal has so many times fewer candidates than the one before, at least 2 × elites."""
    kept: float = 0.3
    """Share of the elites that compete again, in the next iteration and, shifted, in the next plan."""
    momentum: float = 0.1
    """Share of the old mean and std in the new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, "shrink", self.shrink >= 1, "at least 1")
        _require(self, "kept", 0 <= self.kept <= 1, "0 to 1")
        _require(self, "momentum", 0 <= self.momentum < 1, "0 up to below 1")


@dataclass(frozen=True)
class MPPIConfig(Refining):
    """Settings of model-predictive path integral control."""

    temperature: float = 0.1
    """λ, in units of the std of the candidates' returns, so that it fits rewards of any scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, "temperature", self.temperature > 0, "more than 0")


class Plan(NamedTuple):
    """What a planner found for N environments."""

    actions: Float[Tensor, "N H A"]
    """What to do, within the bounds."""
    candidates: Float[Tensor, "N K H A"]
    """The last proposal's candidates, the best first; not clipped."""
    returns: Float[Tensor, "N K"]
    """What each of them was worth in imagination."""

    def shifted(self, alternatives: int = 0) -> Float[Tensor, "N W H A"]:
        """The next plan's warm start: this one a step later, and as many of the best candidates."""
        plans = torch.cat([self.actions[:, None], self.candidates[:, :alternatives]], 1)
        return torch.cat([plans[:, :, 1:], torch.zeros_like(plans[:, :, :1])], 2)


@torch.no_grad()
def imagined_return(
    problem: Problem,
    z: Float[Tensor, "N D"],
    actions: Float[Tensor, "N K H A"],
    discount: float,
    particles: int = 1,
) -> Float[Tensor, "N K"]:
    """Σ_{k=1..H} γ^k r(z_{t+k}) along each candidate, the mean over `particles` rollouts.

    Raises:
        ValueError: `step` or a hook returns another shape, or returns are not finite.
    """
    num_envs, candidates = actions.shape[:2]
    z = z.repeat_interleave(candidates * particles, 0)
    actions = actions.clamp(problem.low, problem.high).flatten(0, 1).repeat_interleave(particles, 0)
    total = z.new_zeros(len(z))
    weight = 1.0
    for action in actions.unbind(1):
        weight *= discount
        if problem.penalty is not None:
            total = total - weight * _shaped("penalty", problem.penalty(z, action), total)
        following, reward = problem.step(z, action)
        z = _shaped("step", following, z)
        total = total + weight * _shaped("step", reward, total)
    if problem.terminal_value is not None:
        total = total + weight * _shaped("terminal_value", problem.terminal_value(z), total)
    if not torch.isfinite(total).all():
        hooks = {"penalty": problem.penalty, "terminal_value": problem.terminal_value}
        names = ", ".join(["step", *(name for name, hook in hooks.items() if hook is not None)])
        raise ValueError(f"{names}: got returns that are not finite, allowed: finite numbers")
    return total.view(num_envs, candidates, particles).mean(2)


@torch.no_grad()
def random_shooting(
    problem: Problem,
    z: Float[Tensor, "N D"],
    config: ShootingConfig,
    warm_start: Float[Tensor, "N W H A"] | None = None,
    generator: torch.Generator | None = None,
) -> Plan:
    """The best of K action sequences: the warm start's, the others uniform.

    Args:
        problem: the world and the bounds.
        z: where each environment is now.
        config: how hard to search.
        warm_start: plans that compete, `Plan.shifted` of the last; None: standing still. The other
            planners start their proposal at the first of them.
        generator: of the noise.

    Raises:
        ValueError: the warm start has another shape; see also `imagined_return`.
    """
    problem, plan = _start(problem, z, config, warm_start)
    kept = plan.candidates
    shape = (config.candidates - kept.shape[1], *kept.shape[2:])
    uniform = torch.rand(shape, generator=generator, device=z.device, dtype=z.dtype)
    fresh = problem.low + uniform * (problem.high - problem.low)
    candidates = torch.cat([fresh.expand(len(z), *shape), kept], 1)
    return _ranked(problem, z, candidates, config)


@torch.no_grad()
def cem(
    problem: Problem,
    z: Float[Tensor, "N D"],
    config: CEMConfig,
    warm_start: Float[Tensor, "N W H A"] | None = None,
    generator: torch.Generator | None = None,
) -> Plan:
    """The cross-entropy method: a Gaussian proposal, fitted again and again to its best candidates.

    The plan is the mean of the last elites. Arguments and errors as for `random_shooting`.
    """
    problem, plan = _start(problem, z, config, warm_start)
    kept = plan.candidates
    mean, std = kept[:, 0], _first_std(problem, config)
    for _ in range(config.iterations):
        noise = _noise(config.candidates - kept.shape[1], mean, config.colour, generator)
        candidates = torch.cat([mean[:, None] + std * noise, kept], 1)
        plan = _ranked(problem, z, candidates, config)
        kept = plan.candidates[:, : config.elites]
        mean, std = kept.mean(1), kept.std(1, keepdim=True)
    return plan._replace(actions=mean.clamp(problem.low, problem.high))


@torch.no_grad()
def icem(
    problem: Problem,
    z: Float[Tensor, "N D"],
    config: ICEMConfig,
    warm_start: Float[Tensor, "N W H A"] | None = None,
    generator: torch.Generator | None = None,
) -> Plan:
    """The improved cross-entropy method (arXiv 2008.06389): fewer candidates, better kept.

    The proposal shrinks, keeps a share of its elites and, at the end, tries its mean; the plan is
    the best candidate of the last proposal. Arguments and errors as for `random_shooting`.
    """
    problem, plan = _start(problem, z, config, warm_start)
    kept = plan.candidates
    mean, std = kept[:, 0], _first_std(problem, config)
    for iteration in range(config.iterations):
        size = max(int(config.candidates / config.shrink**iteration), 2 * config.elites)
        size = max(min(size, config.candidates), kept.shape[1])
        if iteration > 0 and iteration == config.iterations - 1:
            kept = torch.cat([mean[:, None], kept], 1)[:, :size]
        noise = _noise(size - kept.shape[1], mean, config.colour, generator)
        candidates = torch.cat([mean[:, None] + std * noise, kept], 1)
        plan = _ranked(problem, z, candidates, config)
        elites = plan.candidates[:, : config.elites]
        kept = elites[:, : alternatives(config)]
        mean = torch.lerp(elites.mean(1), mean, config.momentum)
        std = torch.lerp(elites.std(1, keepdim=True), std, config.momentum)
    return plan


@torch.no_grad()
def mppi(
    problem: Problem,
    z: Float[Tensor, "N D"],
    config: MPPIConfig,
    warm_start: Float[Tensor, "N W H A"] | None = None,
    generator: torch.Generator | None = None,
) -> Plan:
    """Model-predictive path integral control: the mean of all candidates, exp(return / λ) weighted.

    The proposal's std stays as it is. Arguments and errors as for `random_shooting`; Williams et
    al. 2017 (arXiv 1509.01149).
    """
    problem, plan = _start(problem, z, config, warm_start)
    kept = plan.candidates
    mean, std = kept[:, 0], _first_std(problem, config)
    for _ in range(config.iterations):
        noise = _noise(config.candidates - kept.shape[1], mean, config.colour, generator)
        plan = _ranked(problem, z, torch.cat([mean[:, None] + std * noise, kept], 1), config)
        scale = plan.returns.std(1, keepdim=True).nan_to_num(0).clamp(min=1e-12)
        weights = ((plan.returns - plan.returns[:, :1]) / (config.temperature * scale)).softmax(1)
        mean = (weights[..., None, None] * plan.candidates).sum(1)
        kept = mean[:, None]
    return plan._replace(actions=mean.clamp(problem.low, problem.high))


PlannerConfig = CEMConfig | ICEMConfig | MPPIConfig | ShootingConfig
PLANNERS: dict[type[PlannerConfig], Callable[..., Plan]] = {
    CEMConfig: cem,
    ICEMConfig: icem,
    MPPIConfig: mppi,
    ShootingConfig: random_shooting,
}


def alternatives(config: Search) -> int:
    """Candidates that are worth keeping from one plan to the next, for `Plan.shifted`."""
    return round(config.kept * config.elites) if isinstance(config, ICEMConfig) else 0


def _require(config: Search, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name}: got {getattr(config, name)}, allowed: {allowed}")


def _shaped(name: str, got: Tensor, like: Tensor) -> Tensor:
    if got.shape != like.shape:
        shapes = f"got shape {tuple(got.shape)}, allowed: {tuple(like.shape)}"
        raise ValueError(f"{name}: {shapes}; it takes z (N, D) and returns z (N, D), values (N,)")
    return got


def _start(
    problem: Problem, z: Tensor, config: Search, warm_start: Tensor | None
) -> tuple[Problem, Plan]:
    """The problem in z's precision, and the warm start as a plan that nobody has tried yet."""
    if z.ndim != 2 or not torch.isfinite(z).all():
        raise ValueError(f"z: got shape {tuple(z.shape)}, allowed: finite numbers (N, D)")
    problem = replace(problem, low=problem.low.to(z), high=problem.high.to(z))
    num_envs, horizon, size = len(z), config.horizon, len(problem.low)
    if warm_start is None:
        warm_start = z.new_zeros(num_envs, 1, horizon, size)
    got = tuple(warm_start.shape)
    if (*got[:1], *got[2:]) != (num_envs, horizon, size) or not 1 <= got[1] <= config.candidates:
        allowed = f"({num_envs}, 1 to {config.candidates}, {horizon}, {size})"
        raise ValueError(f"warm_start: got shape {got}, allowed: {allowed}")
    # A shifted plan ends in zeros, which the bounds need not allow.
    centre = warm_start[:, :1].to(z).clamp(problem.low, problem.high)
    plans = torch.cat([centre, warm_start[:, 1:].to(z)], 1)
    return problem, Plan(plans[:, 0], plans, plans.new_full(got[:2], math.nan))


def _first_std(problem: Problem, config: Refining) -> Float[Tensor, "A"]:  # noqa: F821 - a shape
    return config.proposal_std * (problem.high - problem.low) / 2


def _ranked(problem: Problem, z: Tensor, candidates: Tensor, config: Search) -> Plan:
    """The candidates, the best first, and the best as the plan."""
    returns = imagined_return(problem, z, candidates, config.discount, config.particles)
    returns, order = returns.sort(1, descending=True)
    candidates = candidates.gather(1, order[..., None, None].expand_as(candidates))
    return Plan(candidates[:, 0].clamp(problem.low, problem.high), candidates, returns)


def _noise(
    count: int, like: Float[Tensor, "N H A"], colour: float, generator: torch.Generator | None
) -> Float[Tensor, "count H A"]:
    """Gaussian noise of unit variance, white over candidates and actions, coloured over H."""
    shape = (count, *like.shape[1:])
    white = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    return _colouring(shape[1], colour).to(like) @ white


@lru_cache
def _colouring(horizon: int, colour: float) -> Float[Tensor, "H H"]:
    """A root of the covariance of noise with the spectrum 1 / frequency^β, its period H.

    Frequency 0 counts as the lowest that fits, 1 / H.
    """
    frequency = torch.arange(horizon // 2 + 1, dtype=torch.float64).clamp(min=1)
    twice = torch.full_like(frequency, 2.0)  # a frequency and its negative
    twice[0] = 1
    if horizon % 2 == 0:
        twice[-1] = 1
    power = twice * frequency**-colour
    lag = torch.arange(horizon, dtype=torch.float64)
    waves = (2 * math.pi / horizon * lag[:, None] * torch.arange(len(power))).cos()
    correlation = (waves @ (power / power.sum()))[(lag[:, None] - lag).abs().long()]
    values, vectors = torch.linalg.eigh(correlation)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT
