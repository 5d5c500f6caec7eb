"""The belief: a filter over z that believes each frame as far as its gate does.

Let N(m, s²) be the density of z given the frame alone, N(μ, σ²) the transition's prediction p, q the
posterior, and h the restorer's doubt. The squared innovation that the gate sees is

    d² = Σ_i (m_i − μ_i)² / (s_i² (1 + h) + σ_i²).

With the gate's weight w, the belief is the density ∝ q^w p^(1 − w): for the filter's posterior q ∝
p N(m, s²), this is p N(m, s²/w), the frame with its variance inflated. With w = 1 it is q, and with
w = 0 it is p. The part 1 − w of the belief's variance is carried to the next prediction; so while
frames are not believed variances add up, which lowers d² and raises w.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from agent.distributions import Normal
from agent.gate import Gate
from agent.protocols import Model
from agent.restoration.restorer import Restored, Restorer
from agent.types import SOUND_DOUBT

USED_WEIGHT = 0.5  # a frame counts as used if its variance is at most doubled


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

    density: Normal  # ∝ q(z_t)^w p(z_t | z_{t−1}, a_{t−1})^(1 − w)
    memory: Float[Tensor, "N M"]
    weight: Float[Tensor, "N"]  # noqa: F821 - how far the frame was believed, 0 to 1
    initialised: Bool[Tensor, "N"]  # noqa: F821 - see `BeliefState`
    observation_density: Normal  # density of z given the frame alone
    innovation: Float[Tensor, "N"]  # noqa: F821 - d², with no regard to doubt
    restored: Restored  # the restorer's output

    @property
    def used(self) -> Bool[Tensor, "N"]:  # noqa: F821 - a shape
        """Whether the frame counted at least as much as the prediction, by the gate's weight."""
        return self.weight >= USED_WEIGHT


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
    observed, restarted = _from_features(world_model, features)
    doubted = Normal(observed.mean, observed.std * (1 + restored.doubt[:, None]).sqrt())
    weight, reset = gate.decide(
        restored.doubt,
        innovation(doubted, state.predicted),
        innovation(doubted, state.single_frame_prediction),
        state.initialised,
    )
    density = _choose(reset, observed, _tempered(density, state.predicted, weight))
    weight = torch.where(reset, 1.0, weight)
    used = (weight >= USED_WEIGHT)[:, None]
    memory = torch.where(used, torch.where(reset[:, None], restarted, memory), state.memory)
    initialised = state.initialised | used[:, 0]
    d2 = innovation(observed, state.predicted)
    return Belief(density, memory, weight, initialised, observed, d2, restored)


def advance(world_model: Model, belief: Belief, action: Float[Tensor, "N A"]) -> BeliefState:
    """The state after `action` is taken."""
    predicted = world_model.transition(belief.density.mean, action)
    # Without an observation the transition's variances add up; a frame that is believed resets them.
    carried = belief.density.std * (1 - belief.weight[:, None]).sqrt()
    predicted = Normal(predicted.mean, torch.hypot(predicted.std, carried))
    observed = belief.observation_density
    single_frame = world_model.transition(observed.mean, action)
    sound = (belief.restored.doubt <= SOUND_DOUBT)[:, None]
    single_frame = Normal(
        torch.where(sound, single_frame.mean, torch.nan),
        torch.hypot(single_frame.std, observed.std),
    )
    return BeliefState(predicted, belief.memory, action, single_frame, belief.initialised)


def told_by_frame(world_model: Model, frames: UInt8[Tensor, "N H W C"]) -> Normal:
    """The density of z given each frame alone, at the start of an episode."""
    return _from_features(world_model, world_model.features(frames))[0]


def _from_features(world_model: Model, features: Tensor) -> tuple[Normal, Tensor]:
    start, empty = world_model.initial(len(features))
    no_action = features.new_zeros(len(features), world_model.action_size)
    return world_model.posterior(features, start, no_action, empty)


def innovation(observed: Normal, predicted: Normal) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """The squared Mahalanobis distance d² between observation and prediction."""
    scaled = (observed.mean - predicted.mean) / torch.hypot(observed.std, predicted.std)
    return scaled.square().sum(-1)


def _choose(rows: Tensor, yes: Normal, no: Normal) -> Normal:
    mean, std = (torch.where(rows[:, None], a, b) for a, b in zip(yes, no, strict=True))
    return Normal(mean, std)


def _tempered(q: Normal, p: Normal, weight: Tensor) -> Normal:
    """The density ∝ q^w p^(1 − w), row by row; exactly q where w = 1, and p where w = 0."""
    w = weight[:, None]
    for_q, for_p = w / q.std.square(), (1 - w) / p.std.square()
    precision = for_q + for_p
    mixed = Normal((for_q * q.mean + for_p * p.mean) / precision, precision.rsqrt())
    return _choose(weight == 1, q, _choose(weight == 0, p, mixed))
