"""Where things are: the centres of coloured things in front of a background.

    w_k(pixel) = clip(((r∥ − r⊥) / |c_k| − t) / (1 − t), 0, 1) where something may be, 0 elsewhere
    centre_k   = Σ w_k · (row, column) / Σ w_k

r is a pixel minus its background, r∥ and r⊥ are the lengths of its parts along and across c_k, and t is
a threshold. c_k is one of K typical colours of r, the cluster centres of K-means (`Things.initialise`).
Nothing here is trained by gradients, and the centre of a thing of one colour is exact to a fraction of
a pixel.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

LEAST_MASS = 0.5  # pixels; with fewer a thing is not seen
LEAST_CONTRAST = 0.12  # norm of a colour, in units of a pixel's range
STRONG = 0.3  # of a frame's largest difference from the background: pixels that are clustered
THRESHOLD = 0.25
MOST_VARIATION = 0.5  # std of a thing's mass over its mean; what varies more is no thing
MOST_PIXELS = 20_000


class Things(nn.Module):
    """Finds K things by their colours.

    Args:
        shape: (H, W, C) of a frame.
        count: K.
    """

    colours: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, int, int], count: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.count = count
        self.register_buffer("colours", torch.zeros(count, channels))
        self.register_buffer("rows", torch.linspace(-1, 1, height), persistent=False)
        self.register_buffer("columns", torch.linspace(-1, 1, width), persistent=False)

    def forward(
        self,
        frames: Float[Tensor, "N H W C"],
        where: Bool[Tensor, "N H W"] | None = None,
        only: int | None = None,
    ) -> tuple[Float[Tensor, "N K 2"], Float[Tensor, "N K"]]:
        """Centres, rows and columns from −1 to 1 (0 if not seen), and masses in pixels.

        Args:
            frames: frames minus their background.
            where: where the things may be; None: anywhere.
            only: the one thing to look for; None: all.
        """
        chosen = self._known() if only is None else [only]
        if where is None:  # a pixel this near to its background belongs to nothing
            where = frames.square().sum(-1) > self._weakest(chosen)
        places = where.nonzero(as_tuple=True)  # often few: only these are looked at
        weights = frames.new_zeros(*where.shape, len(chosen))
        weights[places] = self._weights(frames[places], chosen)
        by_row, by_column = weights.sum(2), weights.sum(1)
        mass = by_row.sum(1)
        moments = (by_row * self.rows[:, None]).sum(1), (by_column * self.columns[:, None]).sum(1)
        seen = mass >= LEAST_MASS
        centres = torch.stack(moments, -1) / mass.clamp(min=LEAST_MASS)[..., None] * seen[..., None]
        if only is not None:
            return centres, mass * seen
        all_centres, all_masses = (
            mass.new_zeros(len(mass), self.count, 2),
            mass.new_zeros(len(mass), self.count),
        )
        all_centres[:, chosen], all_masses[:, chosen] = centres, mass * seen
        return all_centres, all_masses

    def _known(self) -> list[int]:
        """The things that have been found: the others have no colour."""
        return (self.colours != 0).any(1).nonzero().flatten().tolist()

    def _weakest(self, chosen: list[int]) -> Tensor:
        """The largest ‖r‖² for which all weights are 0, as r∥ ≤ ‖r‖."""
        norms = self.colours[chosen].norm(dim=1)
        return (THRESHOLD * norms).square().amin() if chosen else norms.new_zeros(())

    def _weights(
        self, pixels: Float[Tensor, "*batch C"], chosen: list[int]
    ) -> Float[Tensor, "*batch K"]:
        """How much pixels, minus their background, belong to each of the chosen things, 0 to 1."""
        colours = self.colours[chosen]
        norms = colours.norm(dim=1).clamp(min=1e-3)
        along = pixels @ (colours / norms[:, None]).T  # the pixel's part along each colour
        across = (pixels.square().sum(-1, keepdim=True) - along.square()).clamp(min=0).sqrt()
        return (((along - across) / norms - THRESHOLD) / (1 - THRESHOLD)).clamp(0, 1)

    def hidden(
        self, frames: Float[Tensor, "N H W C"], where: Bool[Tensor, "N H W"]
    ) -> Bool[Tensor, "N H W"]:
        """Whether any of the things is in front of a pixel."""
        found = torch.zeros_like(where, dtype=torch.bool)
        places = where.nonzero(as_tuple=True)  # few, so that only these are looked at
        chosen = self._known()
        if len(places[0]) > 0 and chosen:
            found[places] = self._weights(frames[places], chosen).amax(-1) > 0
        return found

    @torch.no_grad()
    def initialise(
        self, frames: Float[Tensor, "N H W C"], where: Bool[Tensor, "N H W"] | None = None
    ) -> None:
        """Find the colours of pixels that differ strongly from the background, by K-means.

        The first clusters are begun at the pixels farthest from each other.
        """
        size = frames.norm(dim=-1)
        if where is not None:
            size = size * where
        strongest = size.flatten(1).amax(1)[:, None, None]
        pixels = frames[(size > STRONG * strongest) & (size > LEAST_CONTRAST)]
        pixels = pixels[:: 1 + len(pixels) // MOST_PIXELS]
        if len(pixels) == 0:
            return
        colours = pixels[:1]
        for _ in range(self.count):
            apart = torch.cdist(pixels, colours).amin(1)
            colours = torch.cat([colours, pixels[apart.argmax()][None]])
        colours = colours[1:]
        for _ in range(10):
            nearest = torch.cdist(pixels, colours).argmin(1)
            for k in range(self.count):
                if (nearest == k).any():
                    colours[k] = pixels[nearest == k].mean(0)
        self.colours.copy_(colours)

    @torch.no_grad()
    def forget_unsteady(self, frames: Float[Tensor, "N H W C"], where: Bool[Tensor, "N H W"]) -> None:
        """Forget colours whose mass varies so much that no thing has them, unless all do."""
        _, masses = self(frames, where)
        steady = masses.std(0) < MOST_VARIATION * masses.mean(0)
        if steady.any():
            self.colours.mul_(steady[:, None])
