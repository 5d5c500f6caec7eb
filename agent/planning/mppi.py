"""Model-predictive path integral control."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from agent.config import Positive
from agent.planning.planner import Plan, RefiningPlanner


@dataclass(frozen=True)
class MPPI(RefiningPlanner):
    """Model-predictive path integral control: the mean of all candidates, weighted by exp(return / λ).

    The proposal's std is fixed, and its mean is kept as a candidate (Williams et al. 2017, arXiv
    1509.01149).
    """

    temperature: Positive = 0.1
    """λ, in units of the std of the candidates' returns, so that it is independent of reward scale."""

    def refit(
        self, plan: Plan, mean: Float[Tensor, "N H A"], std: Tensor
    ) -> tuple[Float[Tensor, "N H A"], Tensor, Float[Tensor, "N W H A"]]:
        """See `RefiningPlanner.refit`."""
        scale = plan.returns.std(1, keepdim=True).nan_to_num(0).clamp(min=1e-12)
        weights = ((plan.returns - plan.returns[:, :1]) / (self.temperature * scale)).softmax(1)
        mean = (weights[..., None, None] * plan.candidates).sum(1)
        return mean, std, mean[:, None]
