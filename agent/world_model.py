"""The sequential VAE: a latent state-space model of frames and rewards, trained on its ELBO.

Generative model, Gaussian:

    p(x, r, z | a) = p(z_1) ∏_t p(x_t | z_t) p(r_t | z_t) ∏_{t≥2} p(z_t | z_{t−1}, a_{t−1})

With `continuation`, the model also has p(c_t | z_t), a Bernoulli density of whether the episode goes on
after frame t, and the ELBO gains Σ_t E[log p(c_t | z_t)].

ELBO, with the expectation over the joint q(z_{1:T}):

    Σ_t E[log p(x_t | z_t) + log p(r_t | z_t)] − Σ_{t≥2} E KL[q(z_t) ‖ p(z_t | z_{t−1}, a_{t−1})]
    − KL[q(z_1) ‖ p(z_1)]

Frames have values in [0, 1]; the observation model's mean is the mean frame plus the decoder output.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from agent.config import Config, NonNegative, Positive, Width
from agent.distributions import HALF_LOG_2PI, Normal, kl_divergence, standard_normal, varied
from agent.networks import KeypointEncoder, SeparableDecoder, mlp
from agent.posteriors import FilterPosterior, RecurrentPosterior, normal
from agent.types import Batch, Step

PosteriorKind = Literal["filter", "recurrent"]


@dataclass(frozen=True)
class WorldModelConfig(Config):
    """Sizes and scales of the sequential VAE.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    posterior: PosteriorKind = "filter"
    """"filter": q(z_t | x_t, z_{t−1}, a_{t−1}); "recurrent": q(z_t | x_{1:t}, a_{1:t−1}) by a GRU."""
    latent_dim: Width = 8
    """D, dimensions of z."""
    hidden_dim: Width = 128
    """Hidden units of every MLP."""
    num_keypoints: Width = 16
    """Keypoint maps, and features, of the encoder."""
    rank: Width = 8
    """K, outer products summed by the decoder."""
    frame_std: Positive = 0.3
    """σ of p(x | z), in units of a pixel's range. With a smaller σ the posterior encodes detail the
    transition cannot predict, so planning fails even with perfect reconstructions."""
    reward_std: Positive = 0.4
    """σ of p(r | z), in units of the std of the initial rewards."""
    open_loop_weight: NonNegative = 1.0
    """Weight of the open-loop term: the ELBO's reward and KL terms, with z rolled out by the
    transition alone from the first frame. The ELBO trains one-step predictions, but the planner
    rolls out many steps. 0 disables the term."""
    continuation: bool = False
    """Whether p(c_t | z_t), whether the episode goes on after frame t, is part of the model. Then
    imagined returns stop where the model expects the episode to end, and windows of training also
    begin near the ends of episodes."""


class WorldModel(nn.Module):
    """A sequential VAE of frames (H, W, C) uint8, actions in [−1, 1]^A and rewards.

    `initialise` must be called on the first data before training.
    """

    config_type = WorldModelConfig
    """The class of its settings."""
    initial_length = 1
    """Frames that a window for `initialise` should have at least."""
    training_buffers: tuple[str, ...] = ()
    """Names of buffers that only learning needs."""
    mean_frame: Tensor
    reward_offset: Tensor
    reward_scale: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: WorldModelConfig | None = None,
    ) -> None:
        super().__init__()
        config = config or WorldModelConfig()
        self.config, self.action_size, self.latent_dim = config, action_size, config.latent_dim
        latents, width = config.latent_dim, config.hidden_dim
        self.encoder = KeypointEncoder(frame_shape, config.num_keypoints, config.num_keypoints)
        posterior = {"filter": FilterPosterior, "recurrent": RecurrentPosterior}[config.posterior]
        self.posterior = posterior(config.num_keypoints, latents, action_size)
        self.decoder = SeparableDecoder(frame_shape, latents, config.rank, width)
        self.transition_net = mlp(latents + action_size, width, 2 * latents)
        self.reward_net = mlp(latents, width, 1)
        self.continuation_net = mlp(latents, width, 1) if config.continuation else None
        self.register_buffer("mean_frame", torch.full(frame_shape, 0.5))
        self.register_buffer("reward_offset", torch.zeros(()))
        self.register_buffer("reward_scale", torch.ones(()))

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Set the mean frame, reward scale and whitening from the first data."""
        frames = batch.frames[batch.mask.bool()]
        self.mean_frame.copy_(frames.float().mean(0) / 255)
        self.fit_reward_scale(batch.rewards[batch.reward_mask.bool()])
        self.initialise_encoder(self._centred(frames))

    def fit_reward_scale(self, rewards: Float[Tensor, "N"]) -> None:  # noqa: F821 - a shape
        """Set the mean and the std of rewards. A constant reward has no scale."""
        if len(rewards) > 0:
            self.reward_offset.copy_(rewards.mean())
        if varied(rewards):
            self.reward_scale.copy_(rewards.std())

    def refit(
        self,
        batch: Batch,
        rewards: Float[Tensor, "N"],  # noqa: F821 - a shape
        returns_vary: bool,
    ) -> None:
        """Nothing: all but the first scales is trained by gradients."""

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """None: see `agent.protocols.Model`."""
        return None

    def initialise_encoder(self, frames: Float[Tensor, "N H W C"]) -> None:
        """Whiten the encoder's features on the first, centred frames."""
        self.encoder.initialise(frames)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameters, in groups with a `rate` relative to the learning rate each."""
        return [{"params": list(self.parameters()), "rate": 1.0}]

    @property
    def reach_ends(self) -> bool:
        """Whether windows of training should also begin near the ends of episodes."""
        return self.config.continuation

    # ---- the densities -------------------------------------------------------------------------

    def features(self, frames: UInt8[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """Features of frames, the posterior's input."""
        return self._features(self._centred(frames))

    def _features(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """Features of centred frames."""
        return self.encoder(frames)

    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1}): the mean is z_{t−1} plus a learned change."""
        density = normal(self.transition_net(torch.cat([z, action], -1)), bias=-1.0)
        return Normal(z + density.mean, density.std)

    def reward(self, z: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Mean of p(r_t | z_t), in the environment's units."""
        return self._reward(self.outcome_inputs(z))

    def _reward(self, inputs: Tensor) -> Tensor:
        return self.reward_offset + self.reward_scale * self.reward_net(inputs)[..., 0]

    def continuation(self, z: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """p(c_t = 1 | z_t), the probability that the episode goes on after frame t.

        Raises:
            ValueError: it is not part of the model.
        """
        return self._continuation_logit(self.outcome_inputs(z)).sigmoid()

    def _continuation_logit(self, inputs: Tensor) -> Tensor:
        if self.continuation_net is None:
            raise ValueError("continuation: got False in the configuration, allowed: True for this")
        return self.continuation_net(inputs)[..., 0]

    def outcome_inputs(self, z: Tensor) -> Tensor:
        """What the networks of rewards and continuation are given."""
        return z

    def decode(self, z: Float[Tensor, "N D"]) -> UInt8[Tensor, "N H W C"]:
        """Mean of p(x_t | z_t) as frames."""
        return ((self.mean_frame + self.decoder(z)) * 255 + 0.5).clamp(0, 255).to(torch.uint8)

    def initial(self, batch: int) -> tuple[Normal, Tensor]:
        """p(z_1) = N(0, I) and the posterior's initial memory, for `batch` sequences."""
        memory = self.mean_frame.new_zeros(batch, self.posterior.memory_size)
        return standard_normal(batch, self.latent_dim, self.mean_frame), memory

    def imagine(
        self, z: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N M"], Step, Callable[[Tensor], Tensor] | None]:
        """How to roll out plans from z: its first part, which changes, its `Step` and continuation."""
        return z, self.step, None if self.continuation_net is None else self.continuation

    @torch.no_grad()
    def step(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """The planner's `Step`: the transition's mean, and the expected reward there."""
        z = self.transition(z, action).mean
        return z, self.reward(z)

    def sampled_step(self, generator: torch.Generator | None = None) -> Step:
        """A `Step` that samples from the transition, for planning with several particles."""

        @torch.no_grad()
        def step(z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            z = self.transition(z, action).sample(generator)
            return z, self.reward(z)

        return step

    # ---- learning ------------------------------------------------------------------------------

    def loss(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """−ELBO (one sample of the expectation) plus the weighted open-loop term, in nats per step.

        Returns:
            The loss to minimise, and metrics: `elbo` and its terms `log_p_frames`,
            `log_p_rewards`, `log_p_continues` (if modelled) and `kl`, and those of the open-loop term,
            `open_loop_log_p_rewards` and `open_loop_kl`, all unweighted and in nats per step.
        """
        mask, steps = batch.mask, batch.mask.sum()
        frames = self._centred(batch.frames.flatten(0, 1))
        features = self._features(frames)
        q, p, z = self.follow(features, batch, generator)
        told = self.outcome_inputs(z)

        terms = {
            "log_p_frames": (self._log_p_frames(z, frames) * mask).sum() / steps,
            "log_p_rewards": self.log_p_rewards(told, batch, slice(None)).sum() / steps,
            "kl": (self.divergence(q, p) * mask).sum() / steps,
        }
        elbo = terms["log_p_frames"] + terms["log_p_rewards"] - terms["kl"]
        if self.continuation_net is not None:
            terms["log_p_continues"] = self._log_p_continues(told, batch).sum() / steps
            elbo = elbo + terms["log_p_continues"]
        log_p, kl = (term / steps for term in self.open_loop(q, p, z, batch, generator))
        loss = -elbo - self.config.open_loop_weight * (log_p - kl)
        if (further := self.further_loss(features, q, batch, generator)) is not None:
            loss = loss + further
        return loss, {**terms, "open_loop_log_p_rewards": log_p, "open_loop_kl": kl, "elbo": elbo}

    def further_loss(
        self, features: Tensor, q: Normal, batch: Batch, generator: torch.Generator | None
    ) -> Tensor | None:
        """A term of subclasses that is added to the loss; None: none.

        Args:
            features: the features of the batch's frames, (B · T, F).
            q: their posteriors, (B, T, D).
            batch: the batch.
            generator: as for `loss`.
        """
        return None

    @torch.no_grad()
    def log_weights(
        self, batch: Batch, samples: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "K B"]:
        """The log-weights log p(x, r, z_k | a) − log q(z_k | ·) of K samples z_k ~ q, per window; nats.

        Their mean estimates the window's ELBO, and log (1/K) Σ_k exp(·) is the importance-weighted
        bound (arXiv 1509.00519), which increases with K from the ELBO to log p(x, r | a).
        q is the joint density of z_{1:T}; with posterior D it is a chain, not a product.
        """
        frames = self._centred(batch.frames.flatten(0, 1))
        features = self._features(frames)
        rows = []
        for _ in range(samples):
            q, p, z = self.follow(features, batch, generator)
            told = self.outcome_inputs(z)
            log_weight = (p.log_prob(z) - q.log_prob(z) + self._log_p_frames(z, frames)) * batch.mask
            if self.continuation_net is not None:
                log_weight = log_weight + self._log_p_continues(told, batch)
            rows.append((log_weight + self.log_p_rewards(told, batch, slice(None))).sum(1))
        return torch.stack(rows)

    def follow(
        self, features: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> tuple[Normal, Normal, Tensor]:
        """Posteriors q(z_t), priors p(z_t | z_{t−1}, a_{t−1}) and samples z_t, (B, T, D) each."""
        B, T = batch.mask.shape
        features_at = features.view(B, T, -1).unbind(1)
        actions = batch.actions.unbind(1)
        p, memory = self.initial(B)
        action = torch.zeros_like(batch.rewards[:, :1]).expand(B, self.action_size)
        qs: list[Normal] = []
        ps: list[Normal] = []
        zs: list[Tensor] = []
        for t in range(T):
            if t > 0:
                action = actions[t - 1]
                p = self.transition(zs[-1], action)
            q, memory = self.posterior(features_at[t], p, action, memory)
            qs.append(q)
            ps.append(p)
            zs.append(q.sample(generator))
        return _stack(qs), _stack(ps), torch.stack(zs, 1)

    def open_loop(
        self, q: Normal, p: Normal, z: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Σ_t≥2 log p(r_t | z̃_t) and Σ_t≥3 KL[q(z_t) ‖ p(z_t | z̃_{t−1}, a_{t−1})], nats over the batch.

        z̃ is rolled out by the transition alone from z_1. (The KL at t = 2 is already in the ELBO.)
        """
        if self.config.open_loop_weight == 0 or batch.mask.shape[1] < 2:
            return batch.mask.new_zeros(()), batch.mask.new_zeros(())
        rolled = [Normal(p.mean[:, 1], p.std[:, 1])]
        zs = [rolled[0].sample(generator)]
        for action in batch.actions.unbind(1)[1:]:
            rolled.append(self.transition(zs[-1], action))
            zs.append(rolled[-1].sample(generator))
        kl = self.divergence(Normal(q.mean[:, 1:], q.std[:, 1:]), _stack(rolled))
        kl = (kl * batch.mask[:, 1:])[:, 1:].sum()
        told = self.outcome_inputs(torch.stack(zs, 1))
        return self.log_p_rewards(told, batch, slice(1, None)).sum(), kl

    def divergence(self, q: Normal, p: Normal) -> Tensor:
        """The training divergence KL[q ‖ p] between posterior and prediction."""
        return kl_divergence(q, p)

    def _log_p_frames(self, z: Tensor, frames: Tensor) -> Tensor:
        """The log-density log p(x_t | z_t), (B, T), of centred frames (B · T, H, W, C); nats."""
        squared = self.decoder.squared_error(z.flatten(0, 1), frames).view(z.shape[:-1])
        std, pixels = self.config.frame_std, frames[0].numel()
        return -squared / (2 * std**2) - pixels * (math.log(std) + HALF_LOG_2PI)

    def log_p_rewards(self, told: Tensor, batch: Batch, times: slice) -> Tensor:
        """The log-density log p(r_t | z_t), (B, T), 0 where there is no reward; nats.

        Args:
            told: the `outcome_inputs` of z at these times.
            batch: the batch.
            times: of the window, at which z is.
        """
        std = (self.config.reward_std * self.reward_scale)[None]
        rewards = Normal(self._reward(told)[..., None], std.expand(*told.shape[:-1], 1))
        return rewards.log_prob(batch.rewards[:, times, None]) * batch.reward_mask[:, times]

    def _log_p_continues(self, told: Tensor, batch: Batch) -> Tensor:
        """The log-probability log p(c_t | z_t), (B, T), 0 where padded; nats."""
        logits = self._continuation_logit(told)
        signs = 2 * batch.continues - 1
        return F.logsigmoid(signs * logits) * batch.mask

    def _centred(self, frames: Tensor) -> Tensor:
        """Frames as floats in [0, 1], minus the mean frame."""
        return (frames - 255 * self.mean_frame).mul_(1 / 255)


def _stack(densities: list[Normal]) -> Normal:
    means, stds = zip(*densities, strict=True)
    return Normal(torch.stack(means, 1), torch.stack(stds, 1))
