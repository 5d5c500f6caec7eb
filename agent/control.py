"""Receding-horizon control: filter, plan from the belief, act, repeat."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from agent.belief import Belief, BeliefState, advance, observe
from agent.exploration import Exploration
from agent.gate import AcceptAll, Gate
from agent.planning import Plan, Planner, Problem
from agent.planning.function import described
from agent.planning.value import StateValues, state_values
from agent.protocols import Model
from agent.restoration.restorer import Identity, Restorer
from agent.types import Step

REFRESH = 20  # steps for which the values of states are used before they are computed anew


class ControlState(NamedTuple):
    """The controller's state for N environments between two frames."""

    belief: BeliefState
    plans: Float[Tensor, "N W H A"]  # the last plan and its runner-up candidates, shifted by one step
    values: StateValues  # of states beyond the horizon, S of them
    age: Int[Tensor, "N"]  # noqa: F821 - steps since these were computed; -1: never

    @classmethod
    def initial(cls, world_model: Model, planner: Planner, num_envs: int) -> "ControlState":
        """The state before the first frame of an episode."""
        belief = BeliefState.initial(world_model, num_envs)
        size = (num_envs, 1 + planner.alternatives, planner.horizon, world_model.action_size)
        plans = belief.action.new_zeros(size)
        width = 0
        if planner.states > 0:
            start, _, _ = _imagination(world_model, planner, belief.predicted.mean[:1], None)
            width = start.shape[1]
        values = StateValues(
            plans.new_zeros(num_envs, planner.states, width),
            plans.new_zeros(num_envs, planner.states),
            plans.new_ones(num_envs),
        )
        return cls(belief, plans, values, torch.full((num_envs,), -1, device=plans.device))

    def repeated(self, count: int) -> "ControlState":
        """This state, of one environment, for `count` of them."""
        return _mapped(lambda tensor: tensor.expand(count, *tensor.shape[1:]), self)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of all tensors."""
        return [tuple(tensor.shape) for _, tensor in _leaves(self)]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All tensors, by their path of fields; see `replaced`."""
        return {name: tensor.cpu().numpy() for name, tensor in _leaves(self)}

    def replaced(self, arrays: Mapping[str, NDArray[np.generic]]) -> "ControlState":
        """This state with the numbers of another's `arrays`.

        Raises:
            KeyError: an array is missing.
            ValueError: one has another shape or type, or numbers that are not finite.
        """
        for name, tensor in _leaves(self):
            like, got = tensor.cpu().numpy(), arrays[name]
            if got.shape != like.shape or got.dtype != like.dtype:
                found = f"{got.dtype} {got.shape}"
                raise ValueError(f"{name}: got {found}, allowed: {like.dtype} {like.shape}")
            may_be_nan = name.startswith("belief_single_frame_prediction")
            if not may_be_nan and not np.isfinite(got).all():
                raise ValueError(f"{name}: got NaN or infinity, allowed: finite numbers")
        values = iter([torch.from_numpy(np.array(arrays[name])) for name, _ in _leaves(self)])
        return _mapped(lambda tensor: next(values).to(tensor.device), self)


class Decision(NamedTuple):
    """The actions for N environments, with the belief and plan behind them."""

    action: Float[Tensor, "N A"]
    belief: Belief
    plan: Plan  # `action` is its first action, plus any exploration noise


@torch.no_grad()
def decide(
    world_model: Model,
    planner: Planner,
    frames: UInt8[Tensor, "N H W C"],
    state: ControlState,
    episode_start: Bool[Tensor, "N"],  # noqa: F821 - a shape, not a name
    generator: torch.Generator,
    exploration: Exploration | None = None,
    restorer: Restorer = Identity(),  # noqa: B008 - both are frozen and stateless
    gate: Gate = AcceptAll(),  # noqa: B008
    instead: Float[Tensor, "K A"] | None = None,
    discrete: bool = False,
) -> tuple[Decision, ControlState]:
    """Process one frame per environment, and return the next actions in [−1, 1]^A.

    Args:
        world_model: the model used for filtering and planning.
        planner: the planner.
        frames: the current frames.
        state: the state returned by the last call.
        episode_start: whether each frame starts an episode; if so, its state is reset.
        generator: generator of the planner's and the exploration noise.
        exploration: how to explore; None: not at all.
        restorer: preprocesses the frames.
        gate: decides which frames the filter uses.
        instead: what the first K environments do, whatever is planned for them; None: K = 0.
        discrete: whether actions are discrete; see `agent.actions`.

    Raises:
        ValueError: the planner returns actions that are not in [−1, 1]^A, or exploration does.
    """
    if episode_start.any():
        fresh = ControlState.initial(world_model, planner, len(frames))
        state = _where(episode_start, fresh, state)
    belief = observe(world_model, restorer, gate, frames, state.belief)

    z = belief.density.mean
    bound = state.belief.action.new_ones(world_model.action_size)

    def problem_from(z: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Problem]:
        start, step, continuation = _imagination(world_model, planner, z, noise)
        problem = Problem(step, -bound, bound, continuation=continuation, discrete=discrete)
        return start, problem if exploration is None else exploration.problem(problem, world_model)

    values, age = _refreshed(planner, problem_from, z, state)
    start, problem = problem_from(z, generator)
    if planner.states > 0 and problem.terminal_value is None:
        problem = replace(problem, terminal_value=values)
    plans = state.plans
    for _ in range(planner.first_searches - 1 if episode_start.any() else 0):
        found = planner.plan(problem, start, plans, generator).kept(planner.alternatives)
        plans = _where(episode_start, found, plans)
    plan = planner.plan(problem, start, plans, generator)
    if restorer.plan_weight > 0:
        plan = plausible_plan(world_model, restorer, z, plan)
    action = plan.actions[:, 0]
    _require_bounded(described(planner), action)
    if discrete:
        action = problem.valid(action)
    if exploration is not None:
        explore = exploration.switched if discrete else exploration.perturbed
        action = explore(action, generator)
        _require_bounded(type(exploration).__name__, action)
    if instead is not None:
        action = torch.cat([instead, action[len(instead) :]])

    plans = plan.shifted(planner.alternatives)
    state = ControlState(advance(world_model, belief, action), plans, values, age)
    return Decision(action, belief, plan), state


def _imagination(
    world_model: Model, planner: Planner, z: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Step, Callable[[Tensor], Tensor] | None]:
    """How plans are rolled out from z; see `Model.imagine`."""
    start, step, continuation = world_model.imagine(z)
    if planner.particles > 1:
        start, step = z, world_model.sampled_step(generator)
        continuation = world_model.continuation if continuation is not None else None
    return start, step, continuation


def _refreshed(
    planner: Planner,
    problem_from: Callable[[Tensor, torch.Generator | None], tuple[Tensor, Problem]],
    z: Tensor,
    state: ControlState,
) -> tuple[StateValues, Tensor]:
    """The values of states beyond the horizon, computed anew where they are too old, and their age."""
    values, age = state.values, state.age + 1
    due = (state.age < 0) | (age >= REFRESH)
    if planner.states == 0 or not due.any():
        return values, age
    values = StateValues(*(each.clone() for each in values))
    for row in due.nonzero().flatten().tolist():  # one at a time: distances take states² numbers
        start, problem = problem_from(z[row : row + 1], None)
        found = state_values(problem, start, planner.discount, planner.states)
        for old, new in zip(values, found, strict=True):
            old[row] = new[0]
    return values, torch.where(due, 0, age)


def _require_bounded(name: str, action: Tensor) -> None:
    if not (action.abs() <= 1).all():  # NaN is not, either
        bad = action[~(action.abs() <= 1)][0].item()
        raise ValueError(f"{name}: got an action of {bad:g}, allowed: from -1 to 1")


def plausible_plan(
    world_model: Model,
    restorer: Restorer,
    z: Float[Tensor, "N D"],
    plan: Plan,
    best: int = 5,
) -> Plan:
    """Among the best candidates, choose the one with the largest return − w · implausibility.

    Implausibility is the restorer's mean score of the frames imagined along a candidate; w is its
    `plan_weight`. Scoring all candidates would take thousands of denoiser evaluations.
    """
    candidates = plan.candidates[:, :best].clamp(-1, 1)
    num_envs, kept = candidates.shape[:2]
    z = z.repeat_interleave(kept, 0)
    scores = []
    for action in candidates.flatten(0, 1).unbind(1):
        z = world_model.transition(z, action).mean
        scores.append(restorer.implausibility(world_model.decode(z)))
    implausibility = torch.stack(scores).mean(0).view(num_envs, kept)
    chosen = (plan.returns[:, :kept] - restorer.plan_weight * implausibility).argmax(1)
    return plan._replace(actions=candidates[torch.arange(num_envs), chosen])


def _leaves(state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested named tuples, with their paths."""
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, Tensor):
            yield prefix + name, value
        else:
            yield from _leaves(value, f"{prefix}{name}_")


def _mapped(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """The function of every tensor, in the order of `_leaves`."""
    if isinstance(state, Tensor):
        return function(state)
    return type(state)(*(_mapped(function, value) for value in state))


def _where(rows: Tensor, new: Any, old: Any) -> Any:
    """`torch.where` along the rows of tensors or nested tuples of tensors."""
    if isinstance(new, Tensor):
        return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)
    return type(new)(*(_where(rows, a, b) for a, b in zip(new, old, strict=True)))
