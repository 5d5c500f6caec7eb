"""The improved cross-entropy method, the agent's default planner."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from jaxtyping import Float
from torch import Tensor

from agent.config import Size
from agent.planning.cem import CEM
from agent.planning.planner import Plan
from agent.planning.problem import Problem


@dataclass(frozen=True)
class ICEM(CEM):
    """The improved cross-entropy method (arXiv 2008.06389): fewer samples, elites reused.

    The number of candidates shrinks over iterations. A fraction of the elites is kept for the next
    iteration and, shifted, for the next plan. The last iteration also tries the mean. The plan is the
    best candidate.
    """

    candidates: Size = 75
    """K, candidates of the first iteration."""
    shrink: Annotated[float, Ge(1)] = 1.25
    """The number of candidates is divided by this each iteration, down to 2 × elites."""
    kept: Annotated[float, Ge(0), Le(1)] = 0.3
    """Fraction of the elites kept for the next iteration and, shifted, for the next plan."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Weight of the old mean and std in the new ones."""

    @property
    def alternatives(self) -> int:
        """See `Planner.alternatives`."""
        return round(self.kept * self.elites)

    def competing(
        self, iteration: int, mean: Float[Tensor, "N H A"], kept: Float[Tensor, "N W H A"]
    ) -> tuple[int, Float[Tensor, "N V H A"]]:
        """See `RefiningPlanner.competing`."""
        size = max(int(self.candidates / self.shrink**iteration), 2 * self.elites)
        if 0 < iteration == self.iterations - 1:
            kept = torch.cat([mean[:, None], kept], 1)
        return min(size, self.candidates), kept  # which is more than are kept

    def refit(
        self, plan: Plan, mean: Float[Tensor, "N H A"], std: Tensor
    ) -> tuple[Float[Tensor, "N H A"], Tensor, Float[Tensor, "N W H A"]]:
        """See `RefiningPlanner.refit`."""
        elite_mean, elite_std, elites = super().refit(plan, mean, std)
        mean = torch.lerp(elite_mean, mean, self.momentum)
        std = torch.lerp(elite_std, std, self.momentum)
        return mean, std, elites[:, : self.alternatives]

    def taken(self, problem: Problem, plan: Plan, mean: Float[Tensor, "N H A"]) -> Plan:
        """See `RefiningPlanner.taken`."""
        return plan
