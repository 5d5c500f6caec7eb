"""Belief: a filter over z. It takes frames in, knows its innovation, and asks a gate.

With z ~ N(m, s²) what the frame alone tells and N(μ, σ²) what the transition predicts, the innovation

    d² = Σ_i (m_i − μ_i)² / (s_i² + σ_i²).

Where the gate leaves a frame out, belief coasts on the transition, and the variances of its steps add
up, so that it becomes ever easier to convince.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.gate import Gate
from agent.restoration.restorer import Restored, Restorer
from agent.world_model import WorldModel


class BeliefState(NamedTuple):
    """What the filter remembers of N environments between two frames."""

    predicted: Normal  # the transition's prediction of the z to come
    memory: Float[Tensor, "N M"]  # the posterior's
    action: Float[Tensor, "N A"]  # the last one
    rival: Normal  # what the last frame alone predicts; NaN where it was not plausible
    located: Bool[Tensor, "N"]  # noqa: F821 - whether any frame of the episode was believed

    @classmethod
    def initial(cls, world_model: WorldModel, num_envs: int) -> "BeliefState":
        """Before the first frame of an episode."""
        start, memory = world_model.initial(num_envs)
        nothing = torch.full_like(start.mean, torch.nan)
        action = start.mean.new_zeros(num_envs, world_model.action_size)
        located = torch.zeros(num_envs, dtype=torch.bool, device=start.mean.device)
        return cls(start, memory, action, Normal(nothing, nothing), located)


class Belief(NamedTuple):
    """What is believed of N environments after a frame, and why."""

    density: Normal  # q(z_t), or where the frame was left out p(z_t | z_{t−1}, a_{t−1})
    memory: Float[Tensor, "N M"]
    trusted: Bool[Tensor, "N"]  # noqa: F821 - whether the frame was believed
    located: Bool[Tensor, "N"]  # noqa: F821 - see `BeliefState`
    alone: Normal  # what the frame alone tells
    innovation: Float[Tensor, "N"]  # noqa: F821 - d²
    restored: Restored  # what the restorer made of the frame


def observe(
    world_model: WorldModel,
    restorer: Restorer,
    gate: Gate,
    frames: UInt8[Tensor, "N H W C"],
    state: BeliefState,
) -> Belief:
    """Take a frame of each environment in: restore it, filter, and ask the gate."""
    restored = restorer.restore(frames)
    features = world_model.features(restored.frames)
    density, memory = world_model.posterior(features, state.predicted, state.action, state.memory)
    start, empty = world_model.initial(len(frames))
    alone, restarted = world_model.posterior(features, start, torch.zeros_like(state.action), empty)
    surprise = innovation(alone, state.predicted)
    rival_surprise = innovation(alone, state.rival)
    followed, outvoted = gate.decide(restored.plausible, surprise, rival_surprise, state.located)
    density = _choose(followed, density, _choose(outvoted, alone, state.predicted))
    memory = torch.where(
        followed[:, None], memory, torch.where(outvoted[:, None], restarted, state.memory)
    )
    trusted = followed | outvoted
    return Belief(density, memory, trusted, state.located | trusted, alone, surprise, restored)


def advance(world_model: WorldModel, belief: Belief, action: Float[Tensor, "N A"]) -> BeliefState:
    """What to remember when `action` is taken."""
    predicted = world_model.transition(belief.density.mean, action)
    # While coasting the transition's variances add up; what a frame has confirmed starts from 0.
    carried = torch.where(belief.trusted[:, None], 0.0, belief.density.std)
    predicted = Normal(predicted.mean, torch.hypot(predicted.std, carried))
    rival = world_model.transition(belief.alone.mean, action)
    plausible = belief.restored.plausible[:, None]
    rival = Normal(
        torch.where(plausible, rival.mean, torch.nan), torch.hypot(rival.std, belief.alone.std)
    )
    return BeliefState(predicted, belief.memory, action, rival, belief.located)


def innovation(told: Normal, predicted: Normal) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The squared Mahalanobis distance d² of what a frame tells from what was predicted."""
    return ((told.mean - predicted.mean) / torch.hypot(told.std, predicted.std)).square().sum(-1)


def _choose(rows: Tensor, yes: Normal, no: Normal) -> Normal:
    mean, std = (torch.where(rows[:, None], a, b) for a, b in zip(yes, no, strict=True))
    return Normal(mean, std)
