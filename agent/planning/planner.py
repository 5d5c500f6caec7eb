"""What all planners share, and the skeleton of those that refine a proposal."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from agent.planning.colour import coloured_noise
from agent.planning.problem import Problem, imagined_return


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


@dataclass(frozen=True)
class Planner(ABC):
    """A planner: settings, and a search that depends on nothing else.

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
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("discount", 0 < self.discount <= 1, "above 0, at most 1")

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
            problem: the world and the bounds.
            z: where each environment is now.
            warm_start: plans that compete, `Plan.shifted` of the last; None: standing still. Planners
                that refine a proposal start it at the first of them.
            generator: of the noise.

        Raises:
            ValueError: the warm start has another shape; see also `imagined_return`.
        """

    @property
    def alternatives(self) -> int:
        """Candidates that are worth keeping from one plan to the next, for `Plan.shifted`."""
        return 0

    @property
    def num_elites(self) -> int:
        """How many of the last candidates count as good ones; for those who look at a plan."""
        return max(self.candidates // 10, 1)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"{name}: got {getattr(self, name)}, allowed: {allowed}")

    def _start(
        self, problem: Problem, z: Tensor, warm_start: Tensor | None
    ) -> tuple[Problem, Float[Tensor, "N W H A"]]:
        """The problem in z's precision, and the plans that the search starts from."""
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
        # A shifted plan ends in zeros, which the bounds need not allow.
        centre = warm_start[:, :1].to(z).clamp(problem.low, problem.high)
        plans = torch.cat([centre, warm_start[:, 1:].to(z)], 1)
        return problem, plans

    def _ranked(self, problem: Problem, z: Tensor, candidates: Tensor) -> Plan:
        """The candidates, the best first, and the best as the plan."""
        returns = imagined_return(problem, z, candidates, self.discount, self.particles)
        returns, order = returns.sort(1, descending=True)
        candidates = candidates.gather(1, order[..., None, None].expand_as(candidates))
        return Plan(candidates[:, 0].clamp(problem.low, problem.high), candidates, returns)


@dataclass(frozen=True)
class RefiningPlanner(Planner):
    """A planner that proposes candidates around a mean, and improves on its proposal.

    One skeleton serves all: in each iteration candidates are drawn from N(mean, std²) in the noise's
    colour, some kept ones compete with them, all are ranked by imagination, and the proposal is
    fitted anew. A planner says how many compete (`_competing`), how it fits (`_refit`) and which
    actions it takes in the end (`_taken`).
    """

    iterations: int = 3
    """Proposals; an action costs candidates × iterations rollouts, or fewer where they shrink."""
    proposal_std: float = 1.0
    """Std of the first proposal, in half-widths of the action bounds."""
    colour: float = 2.0
    """β: the noise along a plan has the power spectrum 1 / frequency^β. 0 is white; plans worth having
    rarely zigzag (arXiv 2008.06389)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("iterations", self.iterations >= 1, "at least 1")
        self._require("proposal_std", self.proposal_std > 0, "more than 0")
        self._require("colour", self.colour >= 0, "0 or more")

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        z: Float[Tensor, "N D"],
        warm_start: Float[Tensor, "N W H A"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        problem, kept = self._start(problem, z, warm_start)
        mean, std = kept[:, 0], self.proposal_std * (problem.high - problem.low) / 2
        plan = None
        for iteration in range(self.iterations):
            size, kept = self._competing(iteration, mean, kept)
            noise = coloured_noise(size - kept.shape[1], mean, self.colour, generator)
            plan = self._ranked(problem, z, torch.cat([mean[:, None] + std * noise, kept], 1))
            mean, std, kept = self._refit(plan, mean, std)
        assert plan is not None  # iterations is at least 1
        return self._taken(problem, plan, mean)

    def _competing(
        self, iteration: int, mean: Float[Tensor, "N H A"], kept: Float[Tensor, "N W H A"]
    ) -> tuple[int, Float[Tensor, "N V H A"]]:
        """How many candidates an iteration has in all, and those of them that are not drawn."""
        return self.candidates, kept

    @abstractmethod
    def _refit(
        self, plan: Plan, mean: Float[Tensor, "N H A"], std: Tensor
    ) -> tuple[Float[Tensor, "N H A"], Tensor, Float[Tensor, "N W H A"]]:
        """The next proposal's mean and std, and the candidates that compete again."""

    def _taken(self, problem: Problem, plan: Plan, mean: Float[Tensor, "N H A"]) -> Plan:
        """What is done: the proposal's last mean, within the bounds."""
        return plan._replace(actions=mean.clamp(problem.low, problem.high))
