"""The gate: is a frame believed? It knows what the restorer says and what the filter expected.

A frame that is not believed is left out, and belief coasts on the transition. Two frames that agree
with each other, the second with what the transition makes of the first, may outvote belief, which then
starts anew from them.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Verdict(NamedTuple):
    """What becomes of each frame; where neither holds it is left out."""

    followed: Bool[Tensor, "N"]  # noqa: F821 - the filter takes it in
    outvoted: Bool[Tensor, "N"]  # noqa: F821 - belief starts anew from it


@runtime_checkable
class Gate(Protocol):
    """What the filter needs of a gate."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        rival_innovation: Float[Tensor, "N"],  # noqa: F821
        located: Bool[Tensor, "N"],  # noqa: F821
    ) -> Verdict:
        """Whether to believe each frame.

        Args:
            plausible: what the restorer says.
            innovation: d² of what the frame tells from what was predicted.
            rival_innovation: d² from what the last frame alone predicted; NaN where it was implausible.
            located: whether any frame of the episode was believed before.
        """
        ...


@dataclass(frozen=True)
class AcceptAll:
    """The gate that believes every frame."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        rival_innovation: Float[Tensor, "N"],  # noqa: F821
        located: Bool[Tensor, "N"],  # noqa: F821
    ) -> Verdict:
        """See `Gate`."""
        return Verdict(torch.ones_like(plausible), torch.zeros_like(plausible))


@dataclass(frozen=True)
class ConformalGate:
    """Believes a frame that is plausible and was to be expected: its d² is at most a threshold."""

    innovation_threshold: float
    """Conformal, see `agent.calibration`."""

    def decide(
        self,
        plausible: Bool[Tensor, "N"],  # noqa: F821
        innovation: Float[Tensor, "N"],  # noqa: F821
        rival_innovation: Float[Tensor, "N"],  # noqa: F821
        located: Bool[Tensor, "N"],  # noqa: F821
    ) -> Verdict:
        """See `Gate`. Nothing can surprise a belief that has seen nothing yet."""
        limit = self.innovation_threshold
        followed = plausible & ((innovation <= limit) | ~located)
        return Verdict(followed, plausible & ~followed & (rival_innovation <= limit))
