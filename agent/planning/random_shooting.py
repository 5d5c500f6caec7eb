"""Random shooting, the simplest planner and a baseline for the others."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.planning.planner import Plan, Planner
from agent.planning.problem import Problem


@dataclass(frozen=True)
class RandomShooting(Planner):
    """The best of K action sequences: the warm start, and samples uniform within the bounds.

    It has nothing to tune but K, and returns grow at best with log K: good sequences become rarer
    with each added action dimension and step.
    """

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
        shape = (self.candidates - kept.shape[1], *kept.shape[2:])
        uniform = torch.rand(shape, generator=generator, device=z.device, dtype=z.dtype)
        fresh = problem.low + uniform * (problem.high - problem.low)
        return self.ranked(problem, z, torch.cat([fresh.expand(len(z), *shape), kept], 1))
