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

REACH = 9
SPACING = 1.6
"""Surroundings are REACH × REACH points around a place, `SPACING` pixels apart."""
LEAST_VARIANCE = 3e-3
"""Variance of a patch, summed over its pixels, below which a component is not drawn."""
LEAST_SEEN = 5e-5
"""The same, where things that move are known and left out."""
FILLING = 5
"""Iterations of filling in hidden pixels."""
MOST_HIDDEN = 0.6
"""Fraction of a cell's pixels; if more are hidden the cell is not known."""
RARE = 2e-3
"""Fraction of all cells whose values are too rare, on either side, to be taken for background."""


class StaticMap(nn.Module):
    """Reads and draws maps s, (N, C · rows · columns), and tells what surrounds a point on them.

    Args:
        shape: (H, W, C) of a frame.
        channels: numbers of a cell.
    """

    offsets: Tensor
    extent: Tensor
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
        offsets = SPACING * (torch.arange(REACH) - (REACH - 1) / 2)
        self.register_buffer("offsets", torch.cartesian_prod(offsets, offsets))
        extent = (torch.tensor(shape[:2]) - 1) / 2  # pixels of a unit of grid_sample, per axis
        self.register_buffer("extent", extent, persistent=False)
        self.patches = nn.Conv2d(colours, PATCH_WIDTH, PATCH, stride=PATCH)
        self.motion = nn.Conv2d(PATCH_WIDTH, 1, 3, padding=1, bias=False)
        self.requires_grad_(False)

    @property
    def num_surroundings(self) -> int:
        """Numbers that `surroundings` returns for a point."""
        return (self.shape[2] + 1) * len(self.offsets)

    def moving(self, frames: Float[Tensor, "N H W C"]) -> Bool[Tensor, "N H W"]:
        """Whether something moves near a pixel of centred frames."""
        moving = F.max_pool2d(self.motion(self._responses(frames)), 3, 1, 1) >= self.threshold
        height, width, _ = self.shape
        near = moving[:, 0].repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
        return near[:, :height, :width]

    def read(
        self, frames: Float[Tensor, "N H W C"], hidden: Bool[Tensor, "N H W"]
    ) -> tuple[Float[Tensor, "N S"], Bool[Tensor, "N S"]]:
        """The map that centred frames show, and whether each of its numbers is known.

        Hidden pixels are filled in by the map that the other pixels of their cell show, which is the
        EM algorithm for principal components with missing data. A cell with many is not known.

        Args:
            frames: centred frames.
            hidden: pixels where something is in front of the map.
        """
        missing = self._cut(hidden.float()[..., None])  # (N, rows, columns, pixels of a patch)
        pixels, share = self._cut(frames), missing.mean(-1, keepdim=True)
        found = (pixels @ self.components).clamp(self.lowest, self.highest)
        partly = share[..., 0].nonzero(as_tuple=True)
        if len(partly[0]) > 0:
            gaps, drawn = missing[partly].repeat_interleave(self.shape[2], 1), self.scales > 0
            some = pixels[partly] * (1 - gaps)
            values = torch.zeros_like(found[partly])
            for _ in range(FILLING):
                filled = some + gaps * (values @ self.components.T)
                values = (filled @ self.components).clamp(self.lowest, self.highest) * drawn
            found = found.index_put(partly, values)
        known = (share < MOST_HIDDEN) & (self.scales > 0)
        s = torch.where(known, found / self.scales.clamp(min=1e-9), 0.0)
        return s.permute(0, 3, 1, 2).flatten(1), known.permute(0, 3, 1, 2).flatten(1)

    def draw(self, s: Float[Tensor, "N S"]) -> Float[Tensor, "N H W C"]:
        """The image of a map, in the units of centred frames."""
        cells = s.view(-1, self.channels, self.rows, self.columns).permute(0, 2, 3, 1)
        height, width, colours = self.shape
        patches = cells @ (self.components * self.scales).T
        patches = patches.view(-1, self.rows, self.columns, PATCH, PATCH, colours)
        image = patches.transpose(2, 3).reshape(-1, self.rows * PATCH, self.columns * PATCH, colours)
        return image[:, :height, :width]

    def surroundings(
        self, image: Float[Tensor, "N H W C"], where: Float[Tensor, "M 2"]
    ) -> Float[Tensor, "M R"]:
        """What images show around places, by bilinear interpolation, and whether it is inside, 1 or 0.

        Args:
            image: static images, from `draw`.
            where: rows and columns in pixels, M a multiple of N: M / N places in each image in turn.
        """
        scaled = where / self.extent - 1, self.offsets / self.extent
        centres, offsets = (each.flip(-1) for each in scaled)  # grid_sample takes x before y
        points = centres.view(len(image), -1, 1, 2) + offsets  # (N, M / N, R, 2)
        sampled = F.grid_sample(image.permute(0, 3, 1, 2), points, align_corners=True)
        # What it gives for an image of ones: outside there are zeros.
        across, down = (1 + (1 - points.abs()) * self.extent.flip(-1)).clamp(0, 1).unbind(-1)
        shown = torch.cat([sampled, (across * down)[:, None]], 1)  # (N, C + 1, M / N, R)
        return shown.transpose(1, 2).flatten(0, 1).flatten(1)

    @torch.no_grad()
    def initialise(
        self, frames: Float[Tensor, "B T H W C"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H W C"]:
        """Find out what stays and what moves in the first episodes.

        The background of frames is their median. The components are those of the covariance of an
        episode's early and late background, so that something slow does not count; each is drawn if it
        varies in the typical episode, the median of all. What moves is learned by ridge regression
        onto each pixel's distance from the background.

        Args:
            frames: centred frames of episodes.
            mask: which of them are not padding.

        Returns:
            How far pixels are from the background of their episode; 0 where padded.
        """
        moved = torch.zeros_like(frames)
        halves = []
        for episode, (images, kept) in enumerate(zip(frames, mask, strict=True)):
            images = images[kept]
            half = len(images) // 2
            if half >= 2:
                halves.append((images[:half].median(0).values, images[half:].median(0).values))
            moved[episode, kept] = images - images.median(0).values
        if halves:
            early, late = (self._cut(torch.stack(each)) for each in zip(*halves, strict=True))
            self._fit_components(early, late, LEAST_VARIANCE)
        self._fit_motion(frames[mask], moved[mask].abs().mean(-1))
        return moved

    @torch.no_grad()
    def fit(
        self,
        frames: Float[Tensor, "B T H W C"],
        hidden: Bool[Tensor, "B T H W"],
        mask: Bool[Tensor, "B T"],
    ) -> None:
        """Fit the components anew, to backgrounds without what is in front of them.

        A component is drawn if it varies in the typical episode and is as strong late in an episode as
        it was early. The median of a pixel that is always hidden is that of the mean frame, 0.

        Args:
            frames: centred frames of episodes.
            hidden: pixels where something is in front of the map.
            mask: which frames are not padding.
        """
        halves = []
        for images, covered, kept in zip(frames, hidden, mask, strict=True):
            images = images[kept].masked_fill(covered[kept][..., None], torch.nan)
            half = len(images) // 2
            if half >= 2:
                parts = images[:half], images[half:]
                halves.append([part.nanmedian(0).values.nan_to_num(0) for part in parts])
        if halves:
            early, late = (self._cut(torch.stack(each)) for each in zip(*halves, strict=True))
            self._fit_components(early, late, LEAST_SEEN)

    def _fit_components(self, early: Tensor, late: Tensor, least: float) -> None:
        a, b = early.flatten(0, 2), late.flatten(0, 2)
        components = torch.linalg.eigh((a.T @ b + b.T @ a) / (2 * len(a))).eigenvectors
        components = components.flip(1)[:, : self.channels]
        count = components.shape[1]
        before, after = early @ components, late @ components
        variances = (before * after).mean((1, 2)).median(0).values
        self.components[:, :count] = components
        self.scales[:count] = torch.where(variances > least, variances, 0.0).sqrt()
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
        colours = frames.shape[-1]
        patches = frames.reshape(-1, self.rows, PATCH, self.columns, PATCH, colours)
        return patches.transpose(2, 3).flatten(3)
