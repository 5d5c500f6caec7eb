"""Control: keep a belief over z from the frames, plan from it, act, repeat (receding horizon)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.planning import CEMConfig, cem
from agent.world_model import WorldModel


class ControlState(NamedTuple):
    """What control remembers of N rooms between two frames."""

    predicted_mean: Float[Tensor, "N D"]
    predicted_std: Float[Tensor, "N D"]  # the transition's prediction of the z to come
    memory: Float[Tensor, "N M"]  # the posterior's
    action: Float[Tensor, "N A"]  # the last one
    plan: Float[Tensor, "N H A"]  # the last one, shifted by a step

    @classmethod
    def initial(cls, world_model: WorldModel, horizon: int, rooms: int) -> "ControlState":
        """Before the first frame of an episode."""
        prior, memory = world_model.initial(rooms)
        plan = prior.mean.new_zeros(rooms, horizon, world_model.action_size)
        return cls(prior.mean, prior.std, memory, plan[:, 0], plan)


class Decision(NamedTuple):
    """What control decided in N rooms, and why."""

    action: Float[Tensor, "N A"]
    belief: Normal  # q(z_t), after the frame
    plan: Float[Tensor, "N H A"]  # its first action, before any exploration, is `action`


@torch.no_grad()
def decide(
    world_model: WorldModel,
    planner: CEMConfig,
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
    fresh = ControlState.initial(world_model, planner.horizon, len(frames))
    state = ControlState(
        *(_where(episode_start, new, old) for new, old in zip(fresh, state, strict=True))
    )
    predicted = Normal(state.predicted_mean, state.predicted_std)
    features = world_model.features(frames)
    belief, memory = world_model.posterior(features, predicted, state.action, state.memory)

    plan = cem(world_model.step, belief.mean, state.plan, planner, generator)
    action = plan[:, 0]
    if exploration_std > 0:
        noise = torch.randn(action.shape, generator=generator, device=action.device)
        action = (action + exploration_std * noise).clamp(-1, 1)

    predicted = world_model.transition(belief.mean, action)
    shifted = torch.cat([plan[:, 1:], torch.zeros_like(plan[:, :1])], 1)
    state = ControlState(predicted.mean, predicted.std, memory, action, shifted)
    return Decision(action, belief, plan), state


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)
