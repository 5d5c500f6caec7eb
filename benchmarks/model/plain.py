"""A naive implementation of the agent's world model, in eager float32 torch.

It has the same architecture, loss and parameters, but works frame by frame with `torch.distributions`,
and renders every reconstruction to compare it pixel by pixel. It is the reference for speed in
`benchmarks.model.throughput`, and for the loss in a test.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from agent.types import Batch
from agent.world_model import WorldModel


def plain_loss(model: WorldModel, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
    """The same as `WorldModel.loss`, for posterior D."""
    windows, length = batch.mask.shape
    frames = batch.frames.float() / 255
    total = torch.zeros(())
    reward_std = model.config.reward_std * model.reward_scale
    prior = Normal(torch.zeros(windows, model.latent_dim), torch.ones(windows, model.latent_dim))
    posteriors: list[Normal] = []
    z_first = z = torch.zeros(windows, model.latent_dim)
    for t in range(length):
        if t > 0:
            prior = _transition(model, z, batch.actions[:, t - 1])
        posteriors.append(_posterior(model, frames[:, t], prior))
        z = _sample(posteriors[-1], generator)
        z_first = z if t == 0 else z_first
        image = model.mean_frame + _painted(model, z)
        seen = Normal(image, model.config.frame_std).log_prob(frames[:, t]).sum((1, 2, 3))
        came = Normal(model.reward(z), reward_std).log_prob(batch.rewards[:, t])
        divergence = kl_divergence(posteriors[-1], prior).sum(-1)
        elbo = batch.mask[:, t] * (seen - divergence) + batch.reward_mask[:, t] * came
        total = total - elbo.sum()
    z = z_first
    for t in range(1, length):
        prior = _transition(model, z, batch.actions[:, t - 1])
        z = _sample(prior, generator)
        came = Normal(model.reward(z), reward_std).log_prob(batch.rewards[:, t])
        open_loop = batch.reward_mask[:, t] * came
        if t > 1:
            open_loop = open_loop - batch.mask[:, t] * kl_divergence(posteriors[t], prior).sum(-1)
        total = total - model.config.open_loop_weight * open_loop.sum()
    return total / batch.mask.sum()


def _transition(model: WorldModel, z: Tensor, action: Tensor) -> Normal:
    change, raw_std = model.transition_net(torch.cat([z, action], -1)).chunk(2, -1)
    return Normal(z + change, F.softplus(raw_std - 1) + 0.05)


def _posterior(model: WorldModel, frames: Tensor, prior: Normal) -> Normal:
    encoder = model.encoder
    images = (frames - model.mean_frame).permute(0, 3, 1, 2)
    maps = encoder.maps(F.silu(encoder.patches(images)))
    weights = maps.flatten(2).softmax(-1).view(maps.shape)
    row_of, column_of = encoder.grid.view(2, *maps.shape[2:])
    rows, columns = ((weights * place).sum((2, 3)) for place in (row_of, column_of))
    activations = (weights * maps).sum((2, 3)) / 8
    features = encoder.mix(torch.cat([rows, columns, activations], -1))
    mean, raw_std = model.posterior.evidence(features).chunk(2, -1)
    precision = 1 / (F.softplus(raw_std) + 0.05) ** 2
    prior_precision = 1 / prior.scale**2
    variance = 1 / (prior_precision + precision)
    mean = (prior_precision * prior.loc + precision * mean) * variance
    return Normal(mean, variance.sqrt())


def _painted(model: WorldModel, z: Tensor) -> Tensor:
    decoder = model.decoder
    height, width, channels = decoder.shape
    profiles = decoder.profiles(torch.cat([z, torch.sin(decoder.waves(z))], -1))
    profiles = profiles.view(len(z), decoder.rank, -1)
    rows, columns = profiles[..., :height], profiles[..., height:]
    image = torch.einsum("nkh,nkw->nhw", rows, columns)
    return image.view(len(z), height, width, channels)


def _sample(density: Normal, generator: torch.Generator | None) -> Tensor:
    return density.loc + density.scale * torch.randn(density.loc.shape, generator=generator)
