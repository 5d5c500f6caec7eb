"""Posterior families of the sequential VAE, one interface for all.

A   q(z_t): one Gaussian for every t and trajectory
B   q(z_t^i): a Gaussian for each trajectory i and time t, optimised itself
C   q(z_t | x_{1:t}, a_{1:t−1}): a recurrent network
D   q(z_t | x_t, z_{t−1}, a_{t−1}): a filter

A, B and C are products over t, A ≤ C ≤ B in the ELBO that they can reach. D is a chain: z_t depends on
the z_{t−1} that was drawn, so its joint is no product, and it can be above B. C and D serve control;
A and B are what they are measured against (`benchmarks.model.posteriors`).

Each is called once for a time step, with
    features (N, F) of the frame, the prior p(z_t | z_{t−1}, a_{t−1}), the action (N, A) that led here
    (zeros at first), the memory (N, memory_size) that the last call returned (zeros at first)
and returns q(z_t) and its memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.distributions import Normal, product

MIN_STD = 0.05  # of the latent densities that networks give; the latents' own scale is 1


class SharedPosterior(nn.Module):
    """Posterior A: q(z_t) = N(m, s²), whatever the frame, the time and the trajectory."""

    memory_size = 0

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latents))
        self.log_std = nn.Parameter(torch.zeros(latents))

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        density = Normal(self.mean, self.log_std.exp())
        return Normal(*(each.expand(len(features), -1) for each in density)), memory


class TrajectoryPosterior(nn.Module):
    """Posterior B: q(z_t^i) = N(m_t^i, (s_t^i)²), parameters of their own for each i and t.

    It knows a fixed batch of trajectories: row i of what it is called with is trajectory i.
    Its memory is the time.
    """

    memory_size = 1

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Start at means and stds (N, T, D), such as another posterior's."""
        super().__init__()
        self.mean = nn.Parameter(mean.clone())
        self.log_std = nn.Parameter(std.log())

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        t = int(memory[0, 0])
        return Normal(self.mean[:, t], self.log_std[:, t].exp()), memory + 1


class FilterPosterior(nn.Module):
    """Posterior D: q(z_t | x_t, z_{t−1}, a_{t−1}) ∝ p(z_t | z_{t−1}, a_{t−1}) N(z_t; m(x_t), s(x_t)²).

    The transition's prediction is corrected by what the frame says, each weighted by its precision:
    a Kalman update whose observation factor is learned.
    """

    memory_size = 0

    def __init__(self, features: int, latents: int, action_size: int) -> None:
        super().__init__()
        self.evidence = nn.Linear(features, 2 * latents)
        with torch.no_grad():  # z starts as the leading features, sharp enough to be worth decoding
            self.evidence.weight[:latents] = torch.eye(latents, features)
            self.evidence.weight[latents:] *= 0.1
            self.evidence.bias[:latents] = 0
            self.evidence.bias[latents:] = -3

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        return product(prior, normal(self.evidence(features))), memory


class RecurrentPosterior(nn.Module):
    """Posterior C: q(z_t | g(x_{1:t}, a_{1:t−1})) with a GRU for g; z_{t−1} plays no part."""

    def __init__(self, features: int, latents: int, action_size: int) -> None:
        super().__init__()
        self.memory_size = 4 * features
        self.recurrence = nn.GRUCell(features + action_size, self.memory_size)
        self.head = nn.Linear(self.memory_size + features, 2 * latents)
        with torch.no_grad():
            self.head.weight *= 0.1
            self.head.weight[:latents, self.memory_size :] = torch.eye(latents, features)
            self.head.bias[:latents] = 0
            self.head.bias[latents:] = -3

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        memory = self.recurrence(torch.cat([features, action], -1), memory)
        return normal(self.head(torch.cat([memory, features], -1))), memory


def normal(raw: Tensor, bias: float = 0.0) -> Normal:
    """A Gaussian from a network's output: means, then what softplus turns into stds."""
    mean, raw_std = raw.chunk(2, -1)
    return Normal(mean, F.softplus(raw_std + bias) + MIN_STD)
