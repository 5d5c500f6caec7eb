"""Planning by sampling: random shooting, CEM, iCEM and MPPI over imagined trajectories.

    argmax over a_{t:t+H−1} of E Σ_{k=1..H} γ^k r(z_{t+k})

A planner depends only on a `Problem`, a function `step` with bounds, so it also works with analytic
models. It plans for N environments at once. They share one draw of noise: if `step` is deterministic,
a plan does not depend on the rest of the batch.

Candidates are clipped to the bounds when rolled out, not when sampled: the proposal mean may leave
the bounds, so an optimum on a bound, which is common, can be reached. A mean of clipped candidates
never gets there.

    problem          the planning problem, and the imagined return of a candidate
    planner          the base classes: settings, plans, iterative refinement
    colour           noise whose power falls with frequency
    random_shooting, cem, icem, mppi     one planner each
    function         any function as a planner
    value            a value of the states beyond a planner's horizon
"""

from agent.planning.cem import CEM
from agent.planning.function import FunctionPlanner, PlanFunction
from agent.planning.icem import ICEM
from agent.planning.mppi import MPPI
from agent.planning.planner import Plan, Planner
from agent.planning.problem import Problem, imagined_return
from agent.planning.random_shooting import RandomShooting

OwnPlanner = CEM | ICEM | MPPI | RandomShooting
PLANNERS: tuple[type[OwnPlanner], ...] = (ICEM, CEM, MPPI, RandomShooting)
"""The planners that a configuration can name; the default comes first."""

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PLANNERS",
    "FunctionPlanner",
    "OwnPlanner",
    "Plan",
    "PlanFunction",
    "Planner",
    "Problem",
    "RandomShooting",
    "imagined_return",
]
