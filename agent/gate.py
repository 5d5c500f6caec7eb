"""The gate decides how much the filter believes a frame.

It sees the restorer's doubt and the filter's innovation, and gives each frame a weight w in [0, 1],
the power to which the frame's evidence is raised: the frame's variance is divided by w. With w = 0
the belief is propagated by the transition alone. Two consecutive sound frames that are consistent
under the transition override the belief, which is reset to the second.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agent.types import SOUND_DOUBT


class GateDecision(NamedTuple):
    """The decision for each frame."""

    weight: Float[Tensor, "N"]  # noqa: F821 - of the frame's evidence, 0 to 1
    reset: Bool[Tensor, "N"]  # noqa: F821 - whether the belief is reset to the frame


@runtime_checkable
class Gate(Protocol):
    """Interface of a gate."""

    def decide(
        self,
        doubt: Float[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """Decide how much to believe each frame.

        Args:
            doubt: the restorer's; the frame's variance should be 1 + doubt times as large.
            innovation: d² between the frame, with that variance, and the filter's prediction.
            single_frame_innovation: d² between the frame, with that variance, and the prediction from
                the last frame alone; NaN where that was not sound.
            initialised: whether a frame of the episode has been used before.
        """
        ...


@dataclass(frozen=True)
class AcceptAll:
    """The gate that believes every frame."""

    def decide(
        self,
        doubt: Float[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """See `Gate`."""
        return GateDecision(torch.ones_like(doubt), torch.zeros_like(initialised))


@dataclass(frozen=True)
class SoftGate:
    """Inflates a frame's variance by its doubt, and if asked to by its surprise.

    The weight is w = min(1, τ/d²)/(1 + h), h the doubt. With τ the influence of a frame that
    contradicts the prediction is bounded, as under Huber's loss. It is never nothing, so a belief
    that is wrong is found out, but until then a frame pays for the transition's mistakes, and so
    there is no τ by default.
    """

    innovation_threshold: float = math.inf
    """τ, see `agent.calibration.innovation_threshold`; infinite: contradiction alone is no reason to
    doubt a frame."""

    def decide(
        self,
        doubt: Float[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """See `Gate`. Before a frame has been used, nothing is surprising."""
        limit = self.innovation_threshold
        surprising = initialised & (innovation > limit)
        weight = torch.where(surprising, limit / innovation, 1.0) / (1 + doubt)
        agreed = single_frame_innovation <= limit
        return GateDecision(weight, surprising & (doubt <= SOUND_DOUBT) & agreed)


@dataclass(frozen=True)
class ConformalGate:
    """Believes a frame fully if it is sound and its d² is at most a threshold, and else not at all."""

    innovation_threshold: float
    """Conformal threshold on d², see `agent.calibration`."""

    def decide(
        self,
        doubt: Float[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """See `Gate`. The first sound frame is always believed."""
        limit, sound = self.innovation_threshold, doubt <= SOUND_DOUBT
        accepted = sound & ((innovation <= limit) | ~initialised)
        reset = sound & ~accepted & (single_frame_innovation <= limit)
        return GateDecision(accepted.to(doubt.dtype), reset)
