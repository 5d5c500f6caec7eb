"""The sequential VAE with rewards that are told apart by whether the episode ends.

    p(r_t, c_t | z_t) = p(c_t | z_t) p(r_t | c_t, z_t)

A plan then cannot stay where the reward of the end is given and the end does not come.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from agent.distributions import Normal, returns_vary
from agent.types import Batch
from agent.world_model import WorldModel, WorldModelConfig


class EpisodicWorldModel(WorldModel):
    """A base class: `reward_net` has two outputs, the reward if the episode goes on and if it ends."""

    rewarded: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: WorldModelConfig | None = None,
    ) -> None:
        super().__init__(frame_shape, action_size, config)
        self.register_buffer("rewarded", torch.tensor(False))  # whether returns vary

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """See `WorldModel.initialise`; and whether returns vary."""
        super().initialise(batch)
        rewards = batch.rewards[batch.reward_mask.bool()]
        self.rewarded.fill_(returns_vary(rewards, bool((batch.continues == 0).any())))

    @torch.no_grad()
    def refit(self, batch: Batch, rewards: Tensor, returns_vary: bool) -> None:
        """Fit the scale of rewards to all of them."""
        self.rescale_rewards(rewards)
        self.rewarded.fill_(returns_vary)

    def _reward(self, inputs: Tensor) -> Tensor:
        if self.continuation_net is None:
            return self._expected(inputs, None)
        return self._expected(inputs, self._continuation_logit(inputs).sigmoid())

    def _expected(self, inputs: Tensor, goes_on: Tensor | None) -> Tensor:
        """The mean of p(r | z), given p(c = 1 | z); None: 1."""
        later, last = self._rewards(inputs).unbind(-1)
        return later if goes_on is None else torch.lerp(last, later, goes_on)

    def _rewards(self, inputs: Tensor) -> Tensor:
        """Rewards if the episode goes on and if it ends."""
        return self.reward_offset + self.reward_scale * self.reward_net(inputs)

    def log_p_rewards(self, told: Tensor, batch: Batch, times: slice) -> Tensor:
        """The log-density log p(r_t | c_t, z_t), (B, T), 0 where there is no reward; nats."""
        rewards = self._rewards(told)
        mean = torch.where(batch.continues[:, times] > 0, rewards[..., 0], rewards[..., 1])
        std = (self.config.reward_std * self.reward_scale).expand(*mean.shape, 1)
        density = Normal(mean[..., None], std)
        return density.log_prob(batch.rewards[:, times, None]) * batch.reward_mask[:, times]

    def outcome_loss(
        self,
        inputs: Float[Tensor, "N I"],
        reward: Float[Tensor, "N 1"],
        continues: Float[Tensor, "N 1"],
    ) -> Float[Tensor, "N"]:  # noqa: F821 - a shape, not a name
        """−log p(r, c | z) without constants, nats."""
        reward_std = self.config.reward_std * self.reward_scale
        mean = torch.where(continues > 0, *self._rewards(inputs).chunk(2, -1))
        loss = ((mean - reward) / reward_std)[:, 0].square() / 2
        if self.continuation_net is not None:
            loss = loss + F.softplus((1 - 2 * continues[:, 0]) * self._continuation_logit(inputs))
        return loss

    def rescale_rewards(self, rewards: Float[Tensor, "N"]) -> None:  # noqa: F821 - a shape
        """Fit the scale of rewards to all of them, and keep the predictions as they are.

        The last layer is changed with the scale (PopArt, arXiv 1602.07714).
        """
        offset, scale = self.reward_offset.clone(), self.reward_scale.clone()
        self.fit_reward_scale(rewards)
        last = self.reward_net[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(scale / self.reward_scale)
        last.bias.copy_((offset + scale * last.bias - self.reward_offset) / self.reward_scale)
