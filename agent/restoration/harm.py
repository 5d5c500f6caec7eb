"""How far a restored frame will mislead the belief: a model of the error in z, not of style.

A frame tells z ~ N(m, s²). Let m* be what the clean frame would have told. Given the restorer's
summary u of a frame, the error is modelled as

    (m − m*) | u ~ N(0, s² · h(u)),   log h(u) a small network

fitted by maximum likelihood on degraded frames. The filter then weighs the frame with the variance
s² (1 + h): `doubt` is h. A frame that looks odd but tells the right z has h ≈ 0, and one that tells
nothing a large h, so that the belief is left nearly as it was.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.distributions import Normal
from agent.seeded import Seeded

HIDDEN = 64
LOG_LIMITS = -6.0, 10.0  # of log h
WEIGHT_DECAY = 1e-3


class Harm(nn.Module):
    """log h of a restorer's summaries, (N, size)."""

    center: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.net = nn.Sequential(nn.Linear(size, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))

    def forward(self, summary: Float[Tensor, "N S"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """H of each frame."""
        low, high = LOG_LIMITS
        # What is far from all that was fitted to is not extrapolated to.
        scaled = ((summary - self.center) / self.scale).clamp(-5, 5)
        return self.net(scaled)[:, 0].clamp(low, high).exp()


def relative_error(told: Normal, true: Normal) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
    """Σ_i (m_i − m*_i)²/s_i² / D, the error in units of the variance that the frame claims."""
    return ((told.mean - true.mean) / told.std).square().mean(-1)


def fit_harm(
    summary: Float[Tensor, "N S"],
    error: Float[Tensor, "N"],  # noqa: F821 - a shape
    dimensions: int,
    seed: int = 0,
    updates: int = 600,
    batch_size: int = 256,
) -> Harm:
    """Fit h by maximum likelihood.

    Args:
        summary: of degraded frames.
        error: their `relative_error`.
        dimensions: D, dimensions of z.
        seed: seed of parameters and batches.
        updates: steps of Adam.
        batch_size: frames per step.
    """
    with Seeded(seed), torch.enable_grad():
        harm = Harm(summary.shape[1])
        harm.center.copy_(summary.mean(0))
        harm.scale.copy_(summary.std(0).clamp(min=1e-3))
        optimiser = torch.optim.AdamW(harm.parameters(), 3e-3, weight_decay=WEIGHT_DECAY)
        for k in range(updates):
            rows = torch.randint(len(summary), (batch_size,))
            h = harm(summary[rows])
            # −log N(m; m*, s² (1 + h)), without what does not depend on h.
            loss = dimensions / 2 * ((1 + h).log() + error[rows] / (1 + h)).mean()
            optimiser.zero_grad()
            loss.backward()
            for group in optimiser.param_groups:
                group["lr"] = 3e-3 * min(1.0, 2 - 2 * k / updates)
            optimiser.step()
    return harm.requires_grad_(False)
