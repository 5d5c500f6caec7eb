"""Posterior families of the sequential VAE, with one interface.

A   q(z_t): one Gaussian shared by all t and trajectories
B   q(z_t^i): a free Gaussian for each trajectory i and time t
C   q(z_t | x_{1:t}, a_{1:t−1}): a recurrent network
D   q(z_t | x_t, z_{t−1}, a_{t−1}): a filter

A, B and C factorise over t; their best achievable ELBOs satisfy A ≤ C ≤ B. D is a chain: z_t depends
on the sampled z_{t−1}, so its joint does not factorise, and it can exceed B. C and D can be used for
control; A and B are for comparison (`benchmarks.model.posteriors`).

Each is called once per time step, with
    features (N, F) of the frame, the prior p(z_t | z_{t−1}, a_{t−1}), the previous action (N, A)
    (zeros at first), the memory (N, memory_size) returned by the last call (zeros at first)
and returns q(z_t) and its memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.distributions import Normal, product

MIN_STD = 0.05  # floor of the stds that networks output; latents have unit scale


class SharedPosterior(nn.Module):
    """Posterior A: q(z_t) = N(m, s²), independent of frame, time and trajectory."""

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
    """Posterior B: q(z_t^i) = N(m_t^i, (s_t^i)²), with separate parameters for each i and t.

    It is tied to a fixed batch of trajectories: row i of its inputs is trajectory i.
    Its memory is the time index.
    """

    memory_size = 1

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Initialise from means and stds (N, T, D), such as another posterior's."""
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

    The transition's prediction is combined with the frame's estimate, each weighted by its precision:
    a Kalman update with a learned observation factor.
    """

    memory_size = 0

    def __init__(self, features: int, latents: int, action_size: int) -> None:
        super().__init__()
        self.evidence = nn.Linear(features, 2 * latents)
        with torch.no_grad():  # z starts as the leading features, with a small std
            self.evidence.weight[:latents] = torch.eye(latents, features)
            self.evidence.weight[latents:] *= 0.1
            self.evidence.bias[:latents] = 0
            self.evidence.bias[latents:] = -3

    @torch.no_grad()
    def start_std(self, raw: float) -> None:
        """Begin with another std of the frame's estimate, given before softplus."""
        self.evidence.bias[len(self.evidence.bias) // 2 :] = raw

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        return product(prior, normal(self.evidence(features))), memory


class RecurrentPosterior(nn.Module):
    """Posterior C: q(z_t | g(x_{1:t}, a_{1:t−1})) with a GRU for g, independent of z_{t−1}."""

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

    @torch.no_grad()
    def start_std(self, raw: float) -> None:
        """Begin with another std, given before softplus."""
        self.head.bias[len(self.head.bias) // 2 :] = raw

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See the module's docstring."""
        memory = self.recurrence(torch.cat([features, action], -1), memory)
        return normal(self.head(torch.cat([memory, features], -1))), memory


def inverse_softplus(value: Tensor) -> Tensor:
    """The raw number of a positive one: softplus(raw) = value."""
    return value + torch.log(-torch.expm1(-value))


def normal(raw: Tensor, bias: float = 0.0) -> Normal:
    """A Gaussian from a network's output: means, then stds before softplus."""
    mean, raw_std = raw.chunk(2, -1)
    return Normal(mean, F.softplus(raw_std + bias) + MIN_STD)
