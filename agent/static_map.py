"""The static map: the part of a latent state that says what stays in its place during an episode.

Walls, a door or a whole maze are too much for a small vector, but they do not move. The map s is a
grid of cells, one for each patch of 4 × 4 pixels, with C numbers each. All cells share the same
linear maps, which are principal components, so what is learned from one place or layout holds in all
others:

    image(s) = W s                   drawn over the mean frame, a patch for each cell
    s(x) = W⁺ (x − mean frame)       read from a frame, where nothing moves

Nothing here is trained by gradients: `StaticMap.initialise` computes it from the first episodes.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from agent.networks import PATCH, PATCH_WIDTH, ridge

REACH = (-1.5, -0.5, 0.5, 1.5)
"""Offsets, in cells and on both axes, at which surroundings are sampled."""
LEAST_VARIANCE = 3e-3
"""Variance of a patch, summed over its pixels, below which a component is not drawn."""
RARE = 2e-3
"""Fraction of all cells whose values are too rare, on either side, to be taken for background."""


class StaticMap(nn.Module):
    """Reads and draws maps s, (N, C · rows · columns), and tells what surrounds a point on them.

    Args:
        shape: (H, W, C) of a frame.
        channels: numbers of a cell.
    """

    offsets: Tensor
    components: Tensor
    scales: Tensor
    lowest: Tensor
    highest: Tensor
    threshold: Tensor

    def __init__(self, shape: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        height, width, colours = shape
        self.shape, self.channels = shape, channels
        self.pad = (0, -width % PATCH, 0, -height % PATCH)
        self.rows, self.columns = math.ceil(height / PATCH), math.ceil(width / PATCH)
        self.size = channels * self.rows * self.columns
        self.register_buffer("components", torch.zeros(PATCH * PATCH * colours, channels))
        self.register_buffer("scales", torch.zeros(channels))  # 0: a component that is not drawn
        self.register_buffer("lowest", torch.zeros(channels))
        self.register_buffer("highest", torch.zeros(channels))
        self.register_buffer("threshold", torch.tensor(0.0))
        self.register_buffer("offsets", torch.cartesian_prod(torch.tensor(REACH), torch.tensor(REACH)))
        self.patches = nn.Conv2d(colours, PATCH_WIDTH, PATCH, stride=PATCH)
        self.motion = nn.Conv2d(PATCH_WIDTH, 1, 3, padding=1, bias=False)
        self.requires_grad_(False)

    @property
    def num_surroundings(self) -> int:
        """Numbers that `surroundings` returns for a point."""
        return self.channels * len(self.offsets)

    def read(self, frames: Float[Tensor, "N H W C"]) -> tuple[Tensor, Tensor]:
        """The map (N, S) that centred frames show, and whether each of its numbers is known, (N, S).

        Cells that show something moving are not known, and 0 is read there.
        """
        found = (self._cut(frames) @ self.components).clamp(self.lowest, self.highest)
        s = torch.where(self.scales > 0, found / self.scales, 0.0).permute(0, 3, 1, 2)
        moving = F.max_pool2d(self.motion(self._responses(frames)), 3, 1, 1)
        known = (moving < self.threshold) & (self.scales > 0)[:, None, None]
        return (s * known).flatten(1), known.flatten(1)

    def draw(self, s: Float[Tensor, "N S"]) -> Float[Tensor, "N H W C"]:
        """The image of a map, in the units of centred frames."""
        cells = s.view(-1, self.channels, self.rows, self.columns).permute(0, 2, 3, 1)
        height, width, colours = self.shape
        patches = cells @ (self.components * self.scales).T
        patches = patches.view(-1, self.rows, self.columns, PATCH, PATCH, colours)
        image = patches.transpose(2, 3).reshape(-1, self.rows * PATCH, self.columns * PATCH, colours)
        return image[:, :height, :width]

    def surroundings(
        self, s: Float[Tensor, "N S"], where: Float[Tensor, "M 2"]
    ) -> Float[Tensor, "M R"]:
        """The maps around points, by bilinear interpolation; 0 beyond the edge.

        Args:
            s: the maps.
            where: rows and columns in cells, M a multiple of N: M / N points on each map in turn.
        """
        cells = s.view(-1, self.channels, self.rows, self.columns)
        points = where.view(len(cells), -1, 1, 2) + self.offsets  # (N, M / N, 16, 2)
        extent = points.new_tensor([self.rows - 1, self.columns - 1])
        grid = (2 * points / extent - 1).flip(-1)  # grid_sample takes x before y
        sampled = F.grid_sample(cells, grid, align_corners=True)  # (N, channels, M / N, 16)
        return sampled.transpose(1, 2).flatten(0, 1).flatten(1)

    @torch.no_grad()
    def initialise(
        self, frames: Float[Tensor, "B T H W C"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H W"]:
        """Find out what stays and what moves in the first episodes.

        The background of frames is their median. The components are those of the covariance of an
        episode's early and late background, so that something slow does not count; each is drawn if it
        varies in the typical episode, the median of all. What moves is learned by ridge regression
        onto each pixel's distance from the background.

        Args:
            frames: centred frames of episodes.
            mask: which of them are not padding.

        Returns:
            How far pixels are from the background of their episode, mean over colours; 0 where padded.
        """
        moving = torch.zeros(frames.shape[:-1])
        halves = []
        for episode, (images, kept) in enumerate(zip(frames, mask, strict=True)):
            images = images[kept]
            half = len(images) // 2
            if half >= 2:
                halves.append((images[:half].median(0).values, images[half:].median(0).values))
            moving[episode, kept] = (images - images.median(0).values).abs().mean(-1)
        if halves:
            self._fit_components(*(self._cut(torch.stack(each)) for each in zip(*halves, strict=True)))
        self._fit_motion(frames[mask], moving[mask])
        return moving

    def _fit_components(self, early: Tensor, late: Tensor) -> None:
        a, b = early.flatten(0, 2), late.flatten(0, 2)
        components = torch.linalg.eigh((a.T @ b + b.T @ a) / (2 * len(a))).eigenvectors
        components = components.flip(1)[:, : self.channels]
        count = components.shape[1]
        before, after = early @ components, late @ components
        variances = (before * after).mean((1, 2)).median(0).values
        self.components[:, :count] = components
        self.scales[:count] = torch.where(variances > LEAST_VARIANCE, variances, 0.0).sqrt()
        values = torch.stack([before, after]).flatten(0, 3)
        rare = round(RARE * len(values))
        self.lowest[:count] = values.kthvalue(1 + rare, 0).values
        self.highest[:count] = values.kthvalue(len(values) - rare, 0).values

    def _fit_motion(self, frames: Tensor, moving: Tensor) -> None:
        responses = F.unfold(self._responses(frames), 3, padding=1).transpose(1, 2).flatten(0, 1)
        target = F.avg_pool2d(F.pad(moving, self.pad)[:, None], PATCH).flatten()
        weights = ridge(responses, target[:, None])[:, 0]
        self.motion.weight.copy_(weights.view_as(self.motion.weight))
        strongly = target >= target.max() / 2
        self.threshold.copy_((responses @ weights)[strongly].median() / 3)

    def _responses(self, frames: Tensor) -> Tensor:
        return F.silu(self.patches(F.pad(frames.permute(0, 3, 1, 2), self.pad)))

    def _cut(self, frames: Tensor) -> Tensor:
        """Frames as (N, rows, columns, pixels and colours of a patch)."""
        frames = F.pad(frames, (0, 0, *self.pad))
        colours = self.shape[2]
        patches = frames.reshape(-1, self.rows, PATCH, self.columns, PATCH, colours)
        return patches.transpose(2, 3).flatten(3)
