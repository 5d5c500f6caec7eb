"""Planning by sampling: random shooting, CEM, iCEM and MPPI over imagined trajectories.

    argmax over a_{t:t+H−1} of E Σ_{k=1..H} γ^k r(z_{t+k})

A planner knows a `Problem`, which is a function `step` with bounds, and no network: it serves an
analytic model as well. It searches for N environments at once. All share one draw of noise, so that,
where `step` draws nothing itself, a plan does not depend on its neighbours.

A candidate is clipped to the bounds where it is acted out, not where it is proposed. So a proposal
can lie beyond a bound and put nearly all its candidates on it: the best action of a bounded problem is
often the bound itself, which a mean of clipped candidates never reaches.

    problem          what is planned for, and what a candidate is worth in imagination
    planner          what all planners share: settings, a plan, the skeleton of those that refine
    colour           noise whose power falls with its frequency
    random_shooting, cem, icem, mppi     a planner each
"""

from agent.planning.cem import CEM
from agent.planning.icem import ICEM
from agent.planning.mppi import MPPI
from agent.planning.planner import Plan, Planner
from agent.planning.problem import Problem, imagined_return
from agent.planning.random_shooting import RandomShooting

AnyPlanner = CEM | ICEM | MPPI | RandomShooting
PLANNERS: tuple[type[AnyPlanner], ...] = (ICEM, CEM, MPPI, RandomShooting)
"""Those that a configuration may name, the agent's first."""

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PLANNERS",
    "AnyPlanner",
    "Plan",
    "Planner",
    "Problem",
    "RandomShooting",
    "imagined_return",
]
