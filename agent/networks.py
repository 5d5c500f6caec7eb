"""The networks: an MLP, a keypoint encoder and a decoder whose loss is cheap to compute.

Both image networks are made for small objects on a static background, whose positions matter.
The encoder outputs the positions of its features (spatial softmax, arXiv 1509.06113). The decoder
outputs a sum of K products (row profile) × (column profile with colour): a square is one such
product. A randomly initialised encoder already encodes positions, but weakly and correlated, so
`initialise` scales and whitens it on the first frames, which avoids an initial plateau.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PATCH = 4  # pixels; downsampling factor of the encoder's maps
PATCH_WIDTH = 32  # channels per patch
SHARPNESS = 4.0  # std of a map's logits at initialisation: sharpness of the softmax


class MLP(nn.Sequential):
    """Linear layers with SiLU units between them.

    Its forward pass calls the operations, not the modules, which take longer than small operations.
    """

    def forward(self, input: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        """The output of the last layer."""
        first, *others = (layer for layer in self if isinstance(layer, nn.Linear))
        x = F.linear(input, first.weight, first.bias)
        for layer in others:
            x = F.linear(F.silu(x), layer.weight, layer.bias)
        return x


def mlp(size_in: int, width: int, size_out: int, layers: int = 2) -> MLP:
    """An MLP with `layers` hidden layers of `width` units."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [nn.Linear(size_in, width), nn.SiLU()]
        size_in = width
    return MLP(*modules, nn.Linear(size_in, size_out))


def ridge(
    inputs: Float[Tensor, "N P"], targets: Float[Tensor, "N Q"], strength: float = 1e-4
) -> Float[Tensor, "P Q"]:
    """Least squares weights, penalised by `strength` times the inputs' mean square."""
    gram = inputs.T @ inputs / len(inputs)
    penalty = (strength * gram.diagonal().mean() + 1e-9) * torch.eye(len(gram), device=gram.device)
    return torch.linalg.solve(gram + penalty, inputs.T @ targets / len(inputs))


class KeypointEncoder(nn.Module):
    """Frames → features: each of `maps` maps is reduced to its expected position and activation.

    Two convolutions (4×4 patches, then 3×3) give the maps; a softmax over the positions of a map
    gives expected row, expected column and expected activation; a linear layer mixes these.

    Args:
        shape: (H, W, C) of a frame.
        maps: number of maps.
        features: number of features.
    """

    grid: Tensor

    def __init__(self, shape: tuple[int, int, int], maps: int, features: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.pad = (0, -width % PATCH, 0, -height % PATCH)
        self.patches = nn.Conv2d(channels, PATCH_WIDTH, PATCH, stride=PATCH)
        self.maps = nn.Conv2d(PATCH_WIDTH, maps, 3, padding=1, bias=False)
        self.mix = nn.Linear(3 * maps, features)
        rows = torch.linspace(-1, 1, math.ceil(height / PATCH))
        columns = torch.linspace(-1, 1, math.ceil(width / PATCH))
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        self.register_buffer("grid", grid.flatten(1))  # row and column of every cell

    def forward(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """Features of centred frames, in which the mean frame is all zeros."""
        return self.mix(self._keypoints(self._logits(frames)))

    def _logits(self, frames: Tensor) -> Tensor:
        images = frames.permute(0, 3, 1, 2)  # a view in channels-last layout
        if any(self.pad):
            images = F.pad(images, self.pad)
        return self.maps(F.silu(self.patches(images)))

    def _keypoints(self, logits: Tensor) -> Tensor:
        logits = logits.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H · W, maps), contiguous in memory
        weights = logits.softmax(1)
        positions = self.grid @ weights  # (N, 2, maps)
        # Activations are about SHARPNESS times larger than positions; bring them to one scale.
        activations = (weights * logits).sum(1) / (2 * SHARPNESS)
        return torch.cat([positions.flatten(1), activations], dim=-1)

    @torch.no_grad()
    def initialise(
        self, frames: Float[Tensor, "N H W C"], known: Float[Tensor, "N P"] | None = None
    ) -> None:
        """Scale the maps and make the features the whitened principal components on `frames`.

        Args:
            frames: centred frames.
            known: numbers that are known already. What a linear function of them explains of the
                keypoints is left out of the components.
        """
        keypoints = self._scaled_keypoints(frames)
        centre = keypoints.mean(0)
        rest = keypoints - centre
        if known is not None:
            known = known - known.mean(0)
            rest = rest - known @ ridge(known, rest)
        whiten = _whitening(rest, len(self.mix.weight))
        self.mix.weight.zero_()
        self.mix.bias.zero_()
        self.mix.weight[: len(whiten)] = whiten
        self.mix.bias[: len(whiten)] = -whiten @ centre

    def _scaled_keypoints(self, frames: Tensor) -> Tensor:
        """Scale the maps by their logits on frames, and return the keypoints."""
        scale = SHARPNESS / (self._logits(frames).std((0, 2, 3)) + 1e-6)
        self.maps.weight.mul_(scale[:, None, None, None])
        return self._keypoints(self._logits(frames))


def _whitening(keypoints: Float[Tensor, "N P"], most: int) -> Float[Tensor, "F P"]:
    """Principal components of centred keypoints, scaled to unit variance, `most` at most."""
    _, singular, components = torch.linalg.svd(keypoints, full_matrices=False)
    std = singular / math.sqrt(len(keypoints))
    count = min(most, len(std))
    # The floor keeps components of pure rounding error from being scaled to unit variance.
    return components[:count] / (std[:count, None] + 0.02)


class SeparableDecoder(nn.Module):
    """z → image, a sum of K outer products u_k ⊗ v_k of a row profile and a column profile.

    u_k ∈ R^H; v_k ∈ R^(W·C) includes colour. The profiles are the output of a network with one hidden
    layer on z and sinusoids of z: an edge is a sharp function of position, which a plain MLP learns
    slowly (arXiv 2006.10739). The squared error to a frame needs only K × K and H × K products and
    never forms the image, the main cost of most pixel models (`squared_error`).

    Args:
        shape: (H, W, C) of a frame.
        latents: D.
        rank: K.
        width: hidden units.
    """

    def __init__(
        self, shape: tuple[int, int, int], latents: int, rank: int, width: int, sinusoids: int = 64
    ) -> None:
        super().__init__()
        self.shape, self.rank = shape, rank
        self.waves = nn.Linear(latents, sinusoids)
        nn.init.normal_(self.waves.weight, std=1.5)
        nn.init.uniform_(self.waves.bias, -math.pi, math.pi)
        height, columns, channels = shape
        self.profiles = mlp(latents + sinusoids, width, rank * (height + columns * channels), 1)

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N H W C"]:
        """Images of z, in the units of `squared_error`'s frames."""
        rows, columns = self._profiles(z)
        return (rows.transpose(1, 2) @ columns).view(-1, *self.shape)

    def squared_error(
        self, z: Float[Tensor, "N D"], frames: Float[Tensor, "N H W C"]
    ) -> Float[Tensor, "N"]:  # noqa: F821 - a shape, not a name
        """‖frame − image(z)‖² = ‖x‖² − 2 Σ_k u_kᵀ X v_k + Σ_kl (u_kᵀu_l)(v_kᵀv_l), exactly."""
        rows, columns = self._profiles(z)
        images = frames.flatten(2)  # (N, H, W·C)
        cross = ((images @ columns.transpose(1, 2)) * rows.transpose(1, 2)).sum((1, 2))
        gram = (rows @ rows.transpose(1, 2)) * (columns @ columns.transpose(1, 2))
        norm = torch.linalg.vector_norm(images, dim=(1, 2)).square()
        return norm - 2 * cross + gram.sum((1, 2))

    def _profiles(self, z: Tensor) -> tuple[Tensor, Tensor]:
        profiles = self.profiles(torch.cat([z, self.waves(z).sin()], dim=-1))
        rows, columns = profiles.view(len(z), self.rank, -1).split(
            [self.shape[0], self.shape[1] * self.shape[2]], dim=-1
        )
        return rows, columns
