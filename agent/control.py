"""Control: keep a belief over z from the frames, plan from it, act, repeat (receding horizon)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.planning import PLANNERS, Plan, PlannerConfig, Problem, alternatives
from agent.world_model import WorldModel


class ControlState(NamedTuple):
    """What control remembers of N rooms between two frames."""

    predicted_mean: Float[Tensor, "N D"]
    predicted_std: Float[Tensor, "N D"]  # the transition's prediction of the z to come
    memory: Float[Tensor, "N M"]  # the posterior's
    action: Float[Tensor, "N A"]  # the last one
    plans: Float[Tensor, "N W H A"]  # the last one and its best rivals, a step later

    @classmethod
    def initial(cls, world_model: WorldModel, planner: PlannerConfig, rooms: int) -> "ControlState":
        """Before the first frame of an episode."""
        prior, memory = world_model.initial(rooms)
        size = (rooms, 1 + alternatives(planner), planner.horizon, world_model.action_size)
        plans = prior.mean.new_zeros(size)
        return cls(prior.mean, prior.std, memory, plans[:, 0, 0], plans)


class Decision(NamedTuple):
    """What control decided in N rooms, and why."""

    action: Float[Tensor, "N A"]
    belief: Normal  # q(z_t), after the frame
    plan: Plan  # its first action, before any exploration, is `action`


@torch.no_grad()
def decide(
    world_model: WorldModel,
    planner: PlannerConfig,
    frames: UInt8[Tensor, "N H W C"],
    state: ControlState,
    episode_start: Bool[Tensor, "N"],  # noqa: F821 - a shape, not a name
    generator: torch.Generator,
    exploration_std: float = 0.0,
) -> tuple[Decision, ControlState]:
    """Take a frame of each room in, and give each its next action in [−1, 1]^A.

    Args:
        world_model: the belief's and the plan's model.
        planner: settings of the search.
        frames: what the cameras see now.
        state: what the last call returned.
        episode_start: rooms whose episode starts with this frame; their state is forgotten.
        generator: of the search's noise and the exploration's.
        exploration_std: std of Gaussian noise on the action.
    """
    fresh = ControlState.initial(world_model, planner, len(frames))
    state = ControlState(
        *(_where(episode_start, new, old) for new, old in zip(fresh, state, strict=True))
    )
    predicted = Normal(state.predicted_mean, state.predicted_std)
    features = world_model.features(frames)
    belief, memory = world_model.posterior(features, predicted, state.action, state.memory)

    bound = state.action.new_ones(world_model.action_size)
    step = world_model.step if planner.particles == 1 else world_model.sampled_step(generator)
    problem = Problem(step, -bound, bound)
    plan = PLANNERS[type(planner)](problem, belief.mean, planner, state.plans, generator)
    action = plan.actions[:, 0]
    if exploration_std > 0:
        noise = torch.randn(action.shape, generator=generator, device=action.device)
        action = (action + exploration_std * noise).clamp(-1, 1)

    predicted = world_model.transition(belief.mean, action)
    plans = plan.shifted(alternatives(planner))
    state = ControlState(predicted.mean, predicted.std, memory, action, plans)
    return Decision(action, belief, plan), state


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)
