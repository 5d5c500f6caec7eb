"""The cross-entropy method."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from agent.planning.planner import Plan, RefiningPlanner


@dataclass(frozen=True)
class CEM(RefiningPlanner):
    """The cross-entropy method: a Gaussian proposal, iteratively refitted to its best candidates.

    The elites are kept as candidates of the next iteration, so the best is never lost; the plan is the
    mean of the last elites (Rubinstein and Kroese 2004).
    """

    elites: Annotated[int, Ge(2)] = 10
    """Number of best candidates that the next proposal is fitted to and that are kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elites >= self.candidates:
            allowed = f"fewer than candidates (={self.candidates})"
            raise ValueError(f"elites: got {self.elites}, allowed: {allowed}")

    @property
    def num_elites(self) -> int:
        """See `Planner.num_elites`."""
        return self.elites

    def refit(
        self, plan: Plan, mean: Float[Tensor, "N H A"], std: Tensor
    ) -> tuple[Float[Tensor, "N H A"], Tensor, Float[Tensor, "N W H A"]]:
        """See `RefiningPlanner.refit`."""
        elites = plan.candidates[:, : self.elites]
        return elites.mean(1), elites.std(1, keepdim=True), elites
