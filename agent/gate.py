"""The gate decides whether the filter uses a frame.

It sees the restorer's plausibility verdict and the filter's innovation. If a frame is rejected, the
belief is propagated by the transition alone. Two consecutive plausible frames that are consistent
under the transition override the belief, which is reset to the second.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class GateDecision(NamedTuple):
    """The decision for each frame; if neither holds, the frame is rejected."""

    accepted: Bool[Tensor, "N"]  # noqa: F821 - the filter updates on it
    reset: Bool[Tensor, "N"]  # noqa: F821 - the belief is reset to it


@runtime_checkable
class Gate(Protocol):
    """Interface of a gate."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """Decide whether to use each frame.

        Args:
            plausible: the restorer's verdict.
            innovation: d² between the frame and the filter's prediction.
            single_frame_innovation: d² between the frame and the prediction from the last frame
                alone; NaN where that was implausible.
            initialised: whether a frame of the episode has been used before.
        """
        ...


@dataclass(frozen=True)
class AcceptAll:
    """The gate that accepts every frame."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """See `Gate`."""
        return GateDecision(torch.ones_like(plausible), torch.zeros_like(plausible))


@dataclass(frozen=True)
class ConformalGate:
    """Accepts a frame that is plausible and whose d² is at most a threshold."""

    innovation_threshold: float
    """Conformal threshold on d², see `agent.calibration`."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        single_frame_innovation: Float[Tensor, "N"],  # noqa: F821
        initialised: Bool[Tensor, "N"],  # noqa: F821
    ) -> GateDecision:
        """See `Gate`. The first plausible frame is always accepted."""
        limit = self.innovation_threshold
        accepted = plausible & ((innovation <= limit) | ~initialised)
        return GateDecision(accepted, plausible & ~accepted & (single_frame_innovation <= limit))
