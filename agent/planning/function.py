"""A planner that is a function."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.config import Size
from agent.planning.planner import Plan, Planner
from agent.planning.problem import Problem

PlanFunction = Callable[[Problem, Tensor, torch.Generator], Tensor]
"""(problem, z, generator) ↦ the actions to take: (N, H, A), or only the first of each, (N, A).
`problem.step(z, a)` returns the next z and the reward there; `problem.low` and `problem.high` are the
bounds, which all actions must keep."""


@dataclass(frozen=True)
class FunctionPlanner(Planner):
    """Any function over `step(z, a)` as a planner. It plans anew at each step, without a warm start."""

    function: PlanFunction | None = None
    """The function."""
    candidates: Size = 1

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"function: got {self.function!r}, allowed: a callable")

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        z: Float[Tensor, "N D"],
        warm_start: Float[Tensor, "N W H A"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `Planner.plan`.

        Raises:
            ValueError: the function returns something else than a plan.
        """
        assert self.function is not None
        problem, _ = self.start(problem, z, None)
        actions = self.function(problem, z, generator or torch.Generator(z.device))
        shape = tuple(actions.shape) if isinstance(actions, Tensor) else type(actions).__name__
        size = len(problem.low)
        if not isinstance(actions, Tensor) or shape not in (
            (len(z), size),
            (len(z), self.horizon, size),
        ):
            allowed = f"actions {(len(z), self.horizon, size)} or {(len(z), size)}"
            raise ValueError(f"planner: {described(self)}: got {shape}, allowed: {allowed}")
        if actions.ndim == 2:
            actions = actions[:, None].expand(-1, self.horizon, -1)
        return Plan(actions, actions[:, None], actions.new_zeros(len(z), 1))


def described(planner: Planner) -> str:
    """A planner's name, for messages."""
    named = planner.function if isinstance(planner, FunctionPlanner) else type(planner)
    return getattr(named, "__name__", repr(named))
