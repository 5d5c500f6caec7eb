"""Positions: linear functions of an image's moments, identified in closed form.

x_t are the means of each channel and of its products with row and column, and the centres of the pixels
of each typical colour (`agent.things`). The first are exactly linear functions of the things' centres,
where things of constant colours move in front of a constant background; the second tell apart what
overlaps. Let S be the covariance of x_t, and N that of what a linear function of x_{t−1} and x_{t−2}
does not predict of it. The positions are

    y_t = W (x_t − x̄),    where the rows of W solve  S w = λ N w  with the largest λ, and var y = 1

so that y_t tells most relative to what could not be foreseen: two things that always move together give
one position, and what flickers gives none, nor what shows only the last action. This is subspace
identification (Van Overschee and De Moor, 1996) with two past steps in place of many.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from agent.networks import ridge
from agent.things import Things

COLOURS = 6  # typical ones, at most
MOST_FRAMES = 300  # whose pixels are looked at for colours
LEAST_SPREAD = 1e-3  # std of a moment, relative to the largest: less is rounding
LEAST_RATIO = 15.0  # λ of a position; noise alone has about 1
DIFFERENCES = math.sqrt(70.0)  # std of a fourth difference of independent numbers of unit variance
MEDIAN = 0.6745  # of the absolute value of a normal number of unit variance
LEAST_READ = 2e-3  # std with which a position is read, at least


class Identified(NamedTuple):
    """The positions of a batch of sequences."""

    positions: Float[Tensor, "B T K"]
    used: Bool[Tensor, "K"]  # noqa: F821 - shapes, not names
    """Which of the positions there are; the others are always 0."""
    read_std: Float[Tensor, "K"]  # noqa: F821
    """How exactly they are read from a frame."""


class Positions(nn.Module):
    """Reads the positions of frames.

    Args:
        shape: (H, W, C) of a frame.
        count: K.
    """

    rows: Tensor
    columns: Tensor
    floor: Tensor
    offset: Tensor
    weight: Tensor

    def __init__(self, shape: tuple[int, int, int], count: int) -> None:
        super().__init__()
        height, width, channels = shape
        moments = 3 * channels + 2 * COLOURS
        self.things = Things(shape, COLOURS)
        self.register_buffer("rows", torch.linspace(-1, 1, height), persistent=False)
        self.register_buffer("columns", torch.linspace(-1, 1, width), persistent=False)
        self.register_buffer("floor", torch.zeros(channels))  # the colour of most pixels
        self.register_buffer("offset", torch.zeros(moments))
        self.register_buffer("weight", torch.zeros(count, moments))

    def forward(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N K"]:
        """Positions of frames in [0, 1]."""
        return (self.moments(frames) - self.offset) @ self.weight.T

    def moments(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N M"]:
        """The moments x, see the module's docstring."""
        by_row, by_column = frames.mean(2), frames.mean(1)
        first = (by_row * self.rows[:, None]).mean(1), (by_column * self.columns[:, None]).mean(1)
        centres, _ = self.things(frames - self.floor)
        return torch.cat([by_row.mean(1), *first, centres.flatten(1)], -1)

    @torch.no_grad()
    def identify(self, frames: Float[Tensor, "B T H W C"], mask: Bool[Tensor, "B T"]) -> Identified:
        """Find colours and positions in sequences of frames in [0, 1]; `mask` tells real frames."""
        shown = frames[mask]
        some = shown[:: 1 + len(shown) // MOST_FRAMES]
        self.floor.copy_(some.flatten(0, 2).median(0).values)
        self.things.initialise(some - self.floor)
        # In double precision, which not every device has.
        device, known = mask.device, mask.cpu()
        x = torch.zeros(*mask.shape, len(self.offset), dtype=torch.double)
        x[known] = self.moments(shown).cpu().double()
        mean = x[known].mean(0)
        x = x - mean
        std = x[known].std(0, correction=0)
        chosen = (std > LEAST_SPREAD * std.max()).nonzero().flatten()
        rows = _most_predictable(x[..., chosen] / std[chosen], known, len(self.weight))
        weight = torch.zeros(self.weight.shape, dtype=torch.double)
        weight[: len(rows), chosen] = rows / std[chosen]
        self.offset.copy_(mean)
        self.weight.copy_(weight)
        positions = (x @ weight.T).float().to(device)
        used = torch.arange(len(weight), device=device) < len(rows)
        return Identified(positions, used, _read_std(positions, mask))


def _most_predictable(x: Float[Tensor, "B T M"], mask: Tensor, count: int) -> Float[Tensor, "K M"]:
    """W of the module's docstring, `count` rows at most; none from too few frames."""
    triples = mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2]
    if x.shape[-1] == 0 or triples.sum() <= 2 * x.shape[-1]:
        return x.new_zeros(0, x.shape[-1])
    past = torch.cat([x[:, 1:-1], x[:, :-2]], -1)[triples]
    now, eye = x[:, 2:][triples], torch.eye(x.shape[-1]).to(x)
    left = now - past @ ridge(past, now)
    noise = left.T @ left / len(left) + 1e-4 * eye
    whitener = torch.linalg.solve_triangular(torch.linalg.cholesky(noise), eye, upper=False)
    total = x[mask].T @ x[mask] / mask.sum()
    ratios, vectors = torch.linalg.eigh(whitener @ total @ whitener.T)
    best = ratios.argsort(descending=True)[:count]
    best = best[ratios[best] > LEAST_RATIO]
    return vectors[:, best].T @ whitener / ratios[best].sqrt()[:, None]


def _read_std(positions: Float[Tensor, "B T K"], mask: Tensor) -> Float[Tensor, "K"]:  # noqa: F821
    """How exactly positions are read, from fourth differences, in which smooth courses cancel."""
    least = torch.full_like(positions[0, 0], LEAST_READ)
    if mask.shape[1] < 5 or not (five := mask.unfold(1, 5, 1).all(-1)).any():
        return least
    # The median, as courses are not smooth where something is hit or an action begins.
    median = positions.diff(n=4, dim=1)[five].abs().median(0).values
    return torch.maximum(median / (MEDIAN * DIFFERENCES), least)
