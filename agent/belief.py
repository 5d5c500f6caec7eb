"""Belief: a density over z, kept from the frames; and the gate, which may leave a frame out.

Without an observation prior every frame is believed. With one, a frame x_t is believed where it can be
(the prior's critic finds it plausible) and where it was to be expected: its innovation

    d² = Σ_i (m_i − μ_i)² / (s_i² + σ_i²)

is below a threshold, z ~ N(m, s²) what the frame alone tells and N(μ, σ²) what the transition
predicts. Else belief coasts on the transition, and the variances of its steps add up, so that it
becomes ever easier to convince. Two plausible frames that agree with each other, the second with what
the transition makes of the first, outvote it: belief starts anew from them.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.observation_prior import ObservationPrior, Sight
from agent.world_model import WorldModel


class BeliefState(NamedTuple):
    """What the filter remembers of N rooms between two frames."""

    predicted: Normal  # the transition's prediction of the z to come
    memory: Float[Tensor, "N M"]  # the posterior's
    action: Float[Tensor, "N A"]  # the last one
    rival: Normal  # what the last frame alone predicts; NaN where it was not plausible
    located: Bool[Tensor, "N"]  # noqa: F821 - whether any frame of the episode was believed

    @classmethod
    def initial(cls, world_model: WorldModel, rooms: int) -> "BeliefState":
        """Before the first frame of an episode."""
        prior, memory = world_model.initial(rooms)
        nothing = torch.full_like(prior.mean, torch.nan)
        action = prior.mean.new_zeros(rooms, world_model.action_size)
        located = torch.zeros(rooms, dtype=torch.bool, device=prior.mean.device)
        return cls(prior, memory, action, Normal(nothing, nothing), located)


class Belief(NamedTuple):
    """What is believed of N rooms after a frame, and why."""

    density: Normal  # q(z_t), or where the frame was left out p(z_t | z_{t−1}, a_{t−1})
    memory: Float[Tensor, "N M"]
    trusted: Bool[Tensor, "N"]  # noqa: F821 - whether the frame was believed
    located: Bool[Tensor, "N"]  # noqa: F821 - see `BeliefState`
    alone: Normal | None = None  # what the frame alone tells; None where no prior asks
    innovation: Float[Tensor, "N"] | None = None  # noqa: F821 - d²
    sight: Sight | None = None  # what the prior made of the frame


def observe(
    world_model: WorldModel,
    prior: ObservationPrior | None,
    frames: UInt8[Tensor, "N H W C"],
    state: BeliefState,
) -> Belief:
    """Take a frame of each room in."""
    sight = None if prior is None else prior.look(frames)
    features = world_model.features(frames if sight is None else sight.frames)
    density, memory = world_model.posterior(features, state.predicted, state.action, state.memory)
    everywhere = torch.ones_like(state.located)
    if prior is None or sight is None:
        return Belief(density, memory, everywhere, everywhere)

    start, empty = world_model.initial(len(frames))
    alone, restarted = world_model.posterior(features, start, torch.zeros_like(state.action), empty)
    surprise = innovation(alone, state.predicted)
    if not prior.gates:
        return Belief(density, memory, everywhere, everywhere, alone, surprise, sight)

    limit = prior.innovation_threshold
    followed = sight.plausible & ((surprise <= limit) | ~state.located)
    outvoted = sight.plausible & ~followed & (innovation(alone, state.rival) <= limit)
    density = _choose(followed, density, _choose(outvoted, alone, state.predicted))
    memory = torch.where(
        followed[:, None], memory, torch.where(outvoted[:, None], restarted, state.memory)
    )
    trusted = followed | outvoted
    return Belief(density, memory, trusted, state.located | trusted, alone, surprise, sight)


def advance(world_model: WorldModel, belief: Belief, action: Float[Tensor, "N A"]) -> BeliefState:
    """What to remember when `action` is taken."""
    predicted = world_model.transition(belief.density.mean, action)
    if belief.alone is None or belief.sight is None:
        nothing = torch.full_like(predicted.mean, torch.nan)
        return BeliefState(predicted, belief.memory, action, Normal(nothing, nothing), belief.located)
    # While coasting the transition's variances add up; what a frame has confirmed starts from 0.
    carried = torch.where(belief.trusted[:, None], 0.0, belief.density.std)
    predicted = Normal(predicted.mean, torch.hypot(predicted.std, carried))
    rival = world_model.transition(belief.alone.mean, action)
    plausible = belief.sight.plausible[:, None]
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
