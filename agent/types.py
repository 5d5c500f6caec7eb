"""Types and notation shared by the agent's modules.

Sizes: B sequences, T time steps, N any other batch (frames, environments), H × W × C image,
A action dimensions, D latent dimensions, K candidates.

Alignment within an episode of T frames:

    x[0] ── a[0] ──▶ x[1] ── a[1] ──▶ x[2] … x[T−1]
    (no reward)      r[1]             r[2]   r[T−1]
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


class Batch(NamedTuple):
    """Windows of episodes; `actions[:, t]` follows `frames[:, t]`, `rewards[:, t]` arrives with it.

    Actions are scaled to [−1, 1]. Episodes shorter than T are padded at the end, where `mask` is 0.
    `continues` is 0 on the frame at which an episode terminated, and 1 on all others, also on the last
    one of an episode that was cut off.
    `reward_mask` is also 0 on the first frame of an episode, which has no reward.
    """

    frames: UInt8[Tensor, "B T H W C"]
    actions: Float[Tensor, "B T-1 A"]
    rewards: Float[Tensor, "B T"]
    reward_mask: Float[Tensor, "B T"]
    mask: Float[Tensor, "B T"]
    continues: Float[Tensor, "B T"]

    def to(self, device: torch.device) -> "Batch":
        """The same windows on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""The planner's dynamics: (z, a) ↦ (next z, the reward that arrives with it), one step for each
row. z is (N, D), a is (N, A) within the planner's bounds, the reward is (N,)."""


SOUND_DOUBT = 1.0
"""A frame whose restorer doubts it by at most this is sound: its variance is at most doubled."""
