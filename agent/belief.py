"""The belief: a filter over z that uses frames subject to a gate.

Let N(m, s²) be the density of z given the frame alone and N(μ, σ²) the transition's prediction. The
squared innovation is

    d² = Σ_i (m_i − μ_i)² / (s_i² + σ_i²).

If the gate rejects a frame, the belief is propagated by the transition alone; its variances add up
over steps, which lowers d² and makes the gate more permissive.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.gate import Gate
from agent.protocols import Model
from agent.restoration.restorer import Restored, Restorer


class BeliefState(NamedTuple):
    """The filter's state for N environments between two frames."""

    predicted: Normal  # the transition's prediction of the next z
    memory: Float[Tensor, "N M"]  # the posterior's hidden state
    action: Float[Tensor, "N A"]  # the last action
    single_frame_prediction: Normal  # from the last frame alone; NaN where it was implausible
    initialised: Bool[Tensor, "N"]  # noqa: F821 - whether a frame of the episode has been used

    @classmethod
    def initial(cls, world_model: Model, num_envs: int) -> "BeliefState":
        """The state before the first frame of an episode."""
        start, memory = world_model.initial(num_envs)
        nothing = torch.full_like(start.mean, torch.nan)
        action = start.mean.new_zeros(num_envs, world_model.action_size)
        initialised = torch.zeros(num_envs, dtype=torch.bool, device=start.mean.device)
        return cls(start, memory, action, Normal(nothing, nothing), initialised)


class Belief(NamedTuple):
    """The belief about N environments after a frame, with the gate's decision."""

    density: Normal  # q(z_t), or p(z_t | z_{t−1}, a_{t−1}) where the frame was rejected
    memory: Float[Tensor, "N M"]
    used: Bool[Tensor, "N"]  # noqa: F821 - whether the frame was used
    initialised: Bool[Tensor, "N"]  # noqa: F821 - see `BeliefState`
    observation_density: Normal  # density of z given the frame alone
    innovation: Float[Tensor, "N"]  # noqa: F821 - d²
    restored: Restored  # the restorer's output


def observe(
    world_model: Model,
    restorer: Restorer,
    gate: Gate,
    frames: UInt8[Tensor, "N H W C"],
    state: BeliefState,
) -> Belief:
    """Process one frame per environment: restore it, gate it, and update the belief."""
    restored = restorer.restore(frames)
    features = world_model.features(restored.frames)
    density, memory = world_model.posterior(features, state.predicted, state.action, state.memory)
    start, empty = world_model.initial(len(frames))
    no_action = torch.zeros_like(state.action)
    observed, restarted = world_model.posterior(features, start, no_action, empty)
    d2 = innovation(observed, state.predicted)
    single_frame_d2 = innovation(observed, state.single_frame_prediction)
    accepted, reset = gate.decide(restored.plausible, d2, single_frame_d2, state.initialised)
    density = _choose(accepted, density, _choose(reset, observed, state.predicted))
    memory = torch.where(
        accepted[:, None], memory, torch.where(reset[:, None], restarted, state.memory)
    )
    used = accepted | reset
    return Belief(density, memory, used, state.initialised | used, observed, d2, restored)


def advance(world_model: Model, belief: Belief, action: Float[Tensor, "N A"]) -> BeliefState:
    """The state after `action` is taken."""
    predicted = world_model.transition(belief.density.mean, action)
    # Without an observation the transition's variances add up; an accepted frame resets them.
    carried = torch.where(belief.used[:, None], 0.0, belief.density.std)
    predicted = Normal(predicted.mean, torch.hypot(predicted.std, carried))
    observed = belief.observation_density
    single_frame = world_model.transition(observed.mean, action)
    plausible = belief.restored.plausible[:, None]
    single_frame = Normal(
        torch.where(plausible, single_frame.mean, torch.nan),
        torch.hypot(single_frame.std, observed.std),
    )
    return BeliefState(predicted, belief.memory, action, single_frame, belief.initialised)


def innovation(observed: Normal, predicted: Normal) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The squared Mahalanobis distance d² between observation and prediction."""
    scaled = (observed.mean - predicted.mean) / torch.hypot(observed.std, predicted.std)
    return scaled.square().sum(-1)


def _choose(rows: Tensor, yes: Normal, no: Normal) -> Normal:
    mean, std = (torch.where(rows[:, None], a, b) for a, b in zip(yes, no, strict=True))
    return Normal(mean, std)
