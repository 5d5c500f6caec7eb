"""A value beyond the planning horizon: dynamic programming on states sampled in imagination.

From the current state, the model is rolled out with a fixed set of actions, each held for some steps,
and the states that are reached farthest from all others are expanded next, until there are S of them.
On these states, fitted value iteration solves

    V(z_i) = max_a [ Σ_{k=1..m} γ^k C_k r(z_{i,k}) + γ^m C_{m+1} Σ_j w_j(z_{i,m}) V(z_j) ],

where z_{i,k} is reached from z_i after k steps of a, C_k is the probability that the episode has not
ended before, and w_j(z) are the weights of the states nearest to z. Weights that are positive and sum
to one make the operator a contraction, so that the sweeps converge (Gordon, 1995). Sampling the states
breaks the curse of the grid: S does not grow with the dimension of z, only with what can be reached
(Rust, 1997).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agent.planning.problem import Problem, rollout

ACTIONS = 8  # tried in each state
HELD = 2  # m, steps for which each is held
NEAREST = 4  # states whose values are averaged
EXPANDED = 64  # states expanded together
CONSIDERED = 256  # of the states that could be expanded, the farthest
MOST_SWEEPS = 500
TOLERANCE = 1e-3  # of the largest change in a sweep, relative to the largest value


class StateValues(NamedTuple):
    """States and their values, for N environments."""

    states: Float[Tensor, "N S D"]
    values: Float[Tensor, "N S"]
    spacing: Float[Tensor, "N"]  # noqa: F821 - how far apart they are

    def __call__(self, z: Float[Tensor, "M D"]) -> Float[Tensor, "M"]:  # noqa: F821 - a shape
        """The value of M / N states of each environment in turn, averaged over the nearest states."""
        rows = z.view(len(self.states), -1, z.shape[-1])
        near, weights = _nearest(rows, self.states, self.spacing)
        gathered = self.values.gather(1, near.flatten(1)).view_as(weights)
        return (gathered * weights).sum(-1).flatten()


@torch.no_grad()
def state_values(problem: Problem, z: Float[Tensor, "1 D"], discount: float, count: int) -> StateValues:
    """`count` states that can be reached from z, z among them, and their values.

    Raises:
        ValueError: `step` or a hook returns a wrong shape.
    """
    actions = _directions(problem, ACTIONS)
    states = frontier = z
    pool, apart = z[:0], z.new_zeros(0)  # states to choose from, and how far they are from all chosen
    outcomes: list[tuple[Tensor, Tensor, Tensor]] = []
    while True:
        reached, rewards, remaining = _held(problem, frontier, actions, discount, HELD)
        outcomes.append((reached, rewards, remaining))
        if len(states) >= count:
            break
        distance = torch.cdist(reached, states).amin(1) * (remaining > 0.5 * discount**HELD)
        pool, apart = torch.cat([pool, reached]), torch.cat([apart, distance])
        frontier = _farthest(pool, apart, min(EXPANDED, count - len(states)))
        apart = torch.minimum(apart, torch.cdist(pool, frontier).amin(1))
        states = torch.cat([states, frontier])
    reached, rewards, remaining = (torch.cat(each) for each in zip(*outcomes, strict=True))
    spacing = apart.max() if len(apart) > 0 else z.new_zeros(())
    near, weights = _nearest(reached[None], states[None], spacing[None])
    near, weights = near[0], weights[0]
    values = z.new_zeros(len(states))
    for _ in range(MOST_SWEEPS):
        returns = rewards + remaining * (values[near] * weights).sum(1)
        improved = returns.view(-1, len(actions)).amax(1)
        change, values = (improved - values).abs().max(), improved
        if change <= TOLERANCE * values.abs().max():
            break
    return StateValues(states[None], values[None], spacing[None])


def _farthest(pool: Tensor, apart: Tensor, count: int) -> Tensor:
    """States far from those chosen before, and from each other, one after the other, `count` at most.

    Only the `CONSIDERED` farthest of the pool are looked at, and all that are chosen are at least half
    as far as the first.
    """
    apart, order = apart.topk(min(CONSIDERED, len(pool)))
    pool = pool[order]
    between, far = torch.cdist(pool, pool).numpy(force=True), apart.numpy(force=True)
    chosen, least = [], far.max() / 2
    while len(chosen) < count and far.max() >= least:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, between[chosen[-1]])
    return pool[chosen]


def _held(
    problem: Problem, states: Tensor, actions: Tensor, discount: float, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each action leads from each state, (S · A, …): states, returns and γ^m C_{m+1}."""
    z = states.repeat_interleave(len(actions), 0)
    sequences = actions.repeat(len(states), 1)[:, None].expand(-1, steps, -1)
    return rollout(problem, z, sequences, discount)


def _directions(problem: Problem, count: int) -> Tensor:
    """All discrete actions, or actions on the boundary of the box.

    These are evenly spaced if it is a square, else drawn at random.
    """
    if problem.discrete:
        return problem.valid(torch.eye(len(problem.low), device=problem.low.device))
    low, high = problem.low, problem.high
    if len(low) == 1:
        unit = torch.linspace(-1, 1, count)[:, None]
    elif len(low) == 2:
        angles = 2 * torch.pi * torch.arange(count) / count
        unit = torch.stack([angles.cos(), angles.sin()], 1)
        unit = unit / unit.abs().amax(1, keepdim=True)
    else:
        generator = torch.Generator().manual_seed(0)
        unit = torch.randn(count, len(low), generator=generator)
        unit = unit / unit.abs().amax(1, keepdim=True)
    return low + (unit.to(low) + 1) / 2 * (high - low)


def _nearest(z: Tensor, states: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest states of each environment, and their weights by a Gaussian kernel."""
    count = min(NEAREST, states.shape[1])
    distances, near = torch.cdist(z, states).topk(count, largest=False)
    width = (spacing / 2).clamp(min=1e-6).view(-1, 1, 1)
    excess = distances.square() - distances[..., :1].square()
    weights = (-excess / (2 * width.square())).exp()
    return near, weights / weights.sum(-1, keepdim=True)
