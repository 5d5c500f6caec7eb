"""Base classes of all planners, and of those that iteratively refine a proposal."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from torch import Tensor

from agent.config import Config, NonNegative, Positive, Size
from agent.planning.colour import coloured_noise
from agent.planning.problem import Problem, imagined_return

MOST_ACTIONS = 10**7
"""Largest candidates × horizon; a copy of as many actions in two dimensions takes 80 MB."""
MOST_ROLLOUTS = 10**6
"""Largest candidates × particles, which are rolled out at the same time."""


class Plan(NamedTuple):
    """Plans for N environments."""

    actions: Float[Tensor, "N H A"]
    """The actions to take, within the bounds."""
    candidates: Float[Tensor, "N K H A"]
    """The candidates of the last iteration, best first; not clipped."""
    returns: Float[Tensor, "N K"]
    """The imagined return of each candidate."""

    def shifted(self, alternatives: int = 0) -> Float[Tensor, "N W H A"]:
        """Shift the plan, and the best `alternatives` candidates, by one step for a warm start."""
        plans = self.kept(alternatives)
        return torch.cat([plans[:, :, 1:], torch.zeros_like(plans[:, :, :1])], 2)

    def kept(self, alternatives: int = 0) -> Float[Tensor, "N W H A"]:
        """The plan, and the best `alternatives` candidates."""
        return torch.cat([self.actions[:, None], self.candidates[:, :alternatives]], 1)


@dataclass(frozen=True)
class Planner(Config, ABC):
    """A stateless planner.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    horizon: Annotated[int, Ge(1), Le(1000)] = 6
    """H, planning horizon in steps."""
    discount: Annotated[float, Gt(0), Le(1)] = 0.95
    """γ; the first reward counted is γ¹ r(z_{t+1})."""
    candidates: Size = 100
    """K, action sequences evaluated per iteration."""
    particles: Size = 1
    """Rollouts per candidate, whose returns are averaged; useful if `step` is stochastic."""
    states: Annotated[int, Ge(0), Le(10_000)] = 0
    """States sampled in imagination, whose values count beyond the horizon; see `agent.planning.value`.
    0: nothing beyond the horizon counts."""
    first_searches: Annotated[int, Ge(1), Le(100)] = 1
    """Searches for the first plan of an episode, each from what the last one has found: there is no
    earlier plan to begin from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Memory grows with the product of sizes.
        for name, most in (("horizon", MOST_ACTIONS), ("particles", MOST_ROLLOUTS)):
            if getattr(self, name) * self.candidates > most:
                allowed = f"at most {most // self.candidates} with {self.candidates} candidates"
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed: {allowed}")

    @abstractmethod
    def plan(
        self,
        problem: Problem,
        z: Float[Tensor, "N D"],
        warm_start: Float[Tensor, "N W H A"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Search for the best sequence of actions.

        Args:
            problem: the dynamics and the bounds.
            z: the current latent states.
            warm_start: initial candidates, from `Plan.shifted` or `Plan.kept`; None: zero actions.
                Planners that refine a proposal use the first one as its initial mean.
            generator: generator of the noise.

        Raises:
            ValueError: the warm start has another shape; see also `imagined_return`.
        """

    @property
    def alternatives(self) -> int:
        """Number of candidates to carry over to the next plan, for `Plan.shifted`."""
        return 0

    @property
    def num_elites(self) -> int:
        """Number of the last candidates that count as elites, for visualisation."""
        return max(self.candidates // 10, 1)

    def start(
        self, problem: Problem, z: Tensor, warm_start: Tensor | None
    ) -> tuple[Problem, Float[Tensor, "N W H A"]]:
        """Convert the problem to z's dtype and device, and return the initial candidates."""
        if z.ndim != 2 or not torch.isfinite(z).all():
            raise ValueError(f"z: got shape {tuple(z.shape)}, allowed: finite numbers (N, D)")
        problem = replace(problem, low=problem.low.to(z), high=problem.high.to(z))
        num_envs, horizon, size = len(z), self.horizon, len(problem.low)
        if warm_start is None:
            warm_start = z.new_zeros(num_envs, 1, horizon, size)
        got = tuple(warm_start.shape)
        if (*got[:1], *got[2:]) != (num_envs, horizon, size) or not 1 <= got[1] <= self.candidates:
            allowed = f"({num_envs}, 1 to {self.candidates}, {horizon}, {size})"
            raise ValueError(f"warm_start: got shape {got}, allowed: {allowed}")
        # A shifted plan ends in zeros, which may be out of bounds.
        centre = warm_start[:, :1].to(z).clamp(problem.low, problem.high)
        plans = torch.cat([centre, warm_start[:, 1:].to(z)], 1)
        return problem, plans

    def ranked(self, problem: Problem, z: Tensor, candidates: Tensor) -> Plan:
        """Sort the candidates by return, best first, and take the best as the plan.

        Those of discrete actions become valid before, so that the mean of a refitted proposal tells how
        often each action was among the best: a categorical proposal.
        """
        if problem.discrete:
            candidates = problem.valid(candidates)
        returns = imagined_return(problem, z, candidates, self.discount, self.particles)
        returns, order = returns.sort(1, descending=True)
        candidates = candidates.gather(1, order[..., None, None].expand_as(candidates))
        return Plan(problem.valid(candidates[:, 0]), candidates, returns)


@dataclass(frozen=True)
class RefiningPlanner(Planner):
    """A planner that samples candidates around a mean and iteratively refines this proposal.

    Each iteration samples candidates from N(mean, std²) with coloured noise, adds those kept from the
    last iteration, ranks all by imagined return and updates the proposal. Subclasses define the
    number of candidates (`competing`), the update (`refit`) and the final actions (`taken`).
    """

    iterations: Size = 3
    """Iterations; planning costs candidates × iterations rollouts, or fewer if candidates shrink."""
    proposal_std: Positive = 1.0
    """Std of the first proposal, in half-widths of the action bounds."""
    colour: NonNegative = 2.0
    """β: the noise along a plan has the power spectrum 1 / frequency^β. 0 is white noise; smooth plans
    are usually better (arXiv 2008.06389)."""

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        z: Float[Tensor, "N D"],
        warm_start: Float[Tensor, "N W H A"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        problem, kept = self.start(problem, z, warm_start)
        mean, std = kept[:, 0], self.proposal_std * (problem.high - problem.low) / 2
        plan = None
        for iteration in range(self.iterations):
            size, kept = self.competing(iteration, mean, kept)
            noise = coloured_noise(size - kept.shape[1], mean, self.colour, generator)
            plan = self.ranked(problem, z, torch.cat([mean[:, None] + std * noise, kept], 1))
            mean, std, kept = self.refit(plan, mean, std)
        assert plan is not None  # iterations is at least 1
        return self.taken(problem, plan, mean)

    def competing(
        self, iteration: int, mean: Float[Tensor, "N H A"], kept: Float[Tensor, "N W H A"]
    ) -> tuple[int, Float[Tensor, "N V H A"]]:
        """The total number of candidates of an iteration, and the candidates that are not sampled."""
        return self.candidates, kept

    @abstractmethod
    def refit(
        self, plan: Plan, mean: Float[Tensor, "N H A"], std: Tensor
    ) -> tuple[Float[Tensor, "N H A"], Tensor, Float[Tensor, "N W H A"]]:
        """The mean and std of the next proposal, and the candidates to keep."""

    def taken(self, problem: Problem, plan: Plan, mean: Float[Tensor, "N H A"]) -> Plan:
        """The final plan: by default the valid actions nearest to the proposal's last mean."""
        return plan._replace(actions=problem.valid(mean))
