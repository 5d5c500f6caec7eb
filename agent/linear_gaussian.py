"""The linear Gaussian special case of the sequential VAE, where everything has a closed form.

    z_1 ~ N(m, P),   z_t = A z_{t−1} + B a_{t−1} + N(0, Q),   x_t = C z_t + N(0, R)

The Kalman filter gives log p(x_{1:T} | a), and the smoother the posterior of z_{1:T}, which is a
Gauss-Markov chain (Kalman 1960; Rauch, Tung and Striebel 1965). With that chain as q the ELBO equals
the log-evidence; with any other q, such as the product of its marginals, it is lower. This is the
reference for bounds and posteriors. All in float64 and nats; time t = 1..T is stored at index t − 1.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal


@dataclass(frozen=True)
class LinearGaussian:
    """The generative model.

    Raises:
        ValueError: inconsistent shapes, or a covariance that is not positive definite.
    """

    transition: Tensor
    """A, (D, D)."""
    control: Tensor
    """B, (D, U)."""
    emission: Tensor
    """C, (X, D)."""
    initial_mean: Tensor
    """m, (D,)."""
    initial_cov: Tensor
    """P, (D, D)."""
    transition_cov: Tensor
    """Q, (D, D)."""
    emission_cov: Tensor
    """R, (X, X)."""

    def __post_init__(self) -> None:
        size, observed, controls = len(self.transition), len(self.emission), self.control.shape[-1]
        shapes = {
            "transition": (size, size),
            "control": (size, controls),
            "emission": (observed, size),
            "initial_mean": (size,),
            "initial_cov": (size, size),
            "transition_cov": (size, size),
            "emission_cov": (observed, observed),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape or value.dtype != torch.float64:
                got = f"{value.dtype} {tuple(value.shape)}"
                raise ValueError(f"{name}: got {got}, allowed: torch.float64 {shape}")
            symmetric = name.endswith("_cov") and torch.equal(value, value.mT)
            if name.endswith("_cov") and not (symmetric and torch.linalg.eigvalsh(value)[0] > 0):
                raise ValueError(f"{name}: got {value}, allowed: symmetric and positive definite")

    def sample(
        self, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample latents (T, D) and observations (T, X) of one trajectory with actions (T − 1, U)."""

        def noise(cov: Tensor) -> Tensor:
            drawn = torch.randn(len(cov), generator=generator, dtype=cov.dtype)
            return torch.linalg.cholesky(cov) @ drawn

        z = [self.initial_mean + noise(self.initial_cov)]
        for action in actions:
            drift = self.transition @ z[-1] + self.control @ action
            z.append(drift + noise(self.transition_cov))
        x = [self.emission @ each + noise(self.emission_cov) for each in z]
        return torch.stack(z), torch.stack(x)

    def log_joint(self, z: Tensor, x: Tensor, actions: Tensor) -> Tensor:
        """The joint density log p(x_{1:T}, z_{1:T} | a), (…,), for z (…, T, D)."""
        drift = z[..., :-1, :] @ self.transition.mT + actions @ self.control.mT
        first = MultivariateNormal(self.initial_mean, self.initial_cov).log_prob(z[..., 0, :])
        transitions = MultivariateNormal(drift, self.transition_cov).log_prob(z[..., 1:, :])
        emissions = MultivariateNormal(z @ self.emission.mT, self.emission_cov).log_prob(x)
        return first + transitions.sum(-1) + emissions.sum(-1)


@dataclass(frozen=True)
class GaussMarkov:
    """A chain q(z_1) ∏ q(z_t | z_{t−1}): z_1 ~ N(m, P), z_t = F_t z_{t−1} + g_t + N(0, S_t)."""

    initial_mean: Tensor
    """m, (D,)."""
    initial_cov: Tensor
    """P, (D, D)."""
    gains: Tensor
    """F, (T − 1, D, D)."""
    offsets: Tensor
    """g, (T − 1, D)."""
    covs: Tensor
    """S, (T − 1, D, D)."""

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Means (T, D) and covariances (T, D, D) of each z_t."""
        means, covs = [self.initial_mean], [self.initial_cov]
        for gain, offset, cov in zip(self.gains, self.offsets, self.covs, strict=True):
            means.append(gain @ means[-1] + offset)
            covs.append(gain @ covs[-1] @ gain.mT + cov)
        return torch.stack(means), torch.stack(covs)

    def product_of_marginals(self) -> Self:
        """The chain with the same marginals, made independent over time.

        This is not the product with the highest ELBO, which has the same means but narrower
        covariances: the inverses of the diagonal blocks of the joint precision.
        """
        means, covs = self.marginals()
        return type(self)(means[0], covs[0], torch.zeros_like(self.gains), means[1:], covs[1:])

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw `count` samples of z_{1:T}, (count, T, D)."""
        shape = (count, len(self.gains) + 1, len(self.initial_mean))
        eps = torch.randn(shape, generator=generator, dtype=self.covs.dtype)
        z = [self.initial_mean + eps[:, 0] @ torch.linalg.cholesky(self.initial_cov).mT]
        roots = torch.linalg.cholesky(self.covs)
        for t, (gain, offset) in enumerate(zip(self.gains, self.offsets, strict=True)):
            z.append(z[-1] @ gain.mT + offset + eps[:, t + 1] @ roots[t].mT)
        return torch.stack(z, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """The density log q(z_{1:T}), (…,), for z (…, T, D)."""
        first = MultivariateNormal(self.initial_mean, self.initial_cov).log_prob(z[..., 0, :])
        mean = (self.gains @ z[..., :-1, :, None])[..., 0] + self.offsets
        return first + MultivariateNormal(mean, self.covs).log_prob(z[..., 1:, :]).sum(-1)

    def entropy(self) -> Tensor:
        """−E_q[log q(z_{1:T})]."""
        logdets = torch.logdet(self.initial_cov) + torch.logdet(self.covs).sum()
        count = (len(self.gains) + 1) * len(self.initial_mean)
        return 0.5 * (count * (1 + math.log(2 * math.pi)) + logdets)


def kalman_filter(model: LinearGaussian, x: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (T, D) and covariances (T, D, D) of p(z_t | x_{1:t}), and log p(x_{1:T} | a)."""
    mean, cov = model.initial_mean, model.initial_cov
    means, covs, log_evidence = [], [], mean.new_zeros(())
    identity = torch.eye(len(mean), dtype=mean.dtype)
    for t, observed in enumerate(x):
        if t > 0:
            mean = model.transition @ mean + model.control @ actions[t - 1]
            cov = model.transition @ cov @ model.transition.mT + model.transition_cov
        predicted = model.emission @ mean
        innovation_cov = model.emission @ cov @ model.emission.mT + model.emission_cov
        log_evidence = log_evidence + MultivariateNormal(predicted, innovation_cov).log_prob(observed)
        gain = torch.linalg.solve(innovation_cov, model.emission @ cov).mT
        mean = mean + gain @ (observed - predicted)
        # Joseph form: stays symmetric and positive definite.
        rest = identity - gain @ model.emission
        cov = rest @ cov @ rest.mT + gain @ model.emission_cov @ gain.mT
        means.append(mean)
        covs.append(cov)
    return torch.stack(means), torch.stack(covs), log_evidence


def smoother(model: LinearGaussian, x: Tensor, actions: Tensor) -> GaussMarkov:
    """The exact posterior p(z_{1:T} | x_{1:T}, a), as a chain that runs forward in time.

    Given z_{t−1}, the density of z_t is proportional to the transition density times the message from
    frames t..T, exp(−½ zᵀ J z + hᵀ z), which is computed backwards in time.
    """
    transition_precision = torch.linalg.inv(model.transition_cov)
    gain = model.emission.mT @ torch.linalg.inv(model.emission_cov)  # Cᵀ R⁻¹
    message, weight = torch.zeros_like(model.transition), torch.zeros_like(model.initial_mean)
    gains, offsets, covs = [], [], []
    for t in range(len(x) - 1, 0, -1):
        message, weight = message + gain @ model.emission, weight + gain @ x[t]
        cov = torch.linalg.inv(transition_precision + message)
        shift = model.control @ actions[t - 1]
        gains.append(cov @ transition_precision @ model.transition)
        offsets.append(cov @ (transition_precision @ shift + weight))
        covs.append(0.5 * (cov + cov.mT))
        # Integrate z_t out: the message from frames t..T to z_{t−1}.
        shrink = torch.linalg.inv(
            torch.eye(len(weight), dtype=cov.dtype) + message @ model.transition_cov
        )
        weight = model.transition.mT @ shrink @ (weight - message @ shift)
        message = model.transition.mT @ shrink @ message @ model.transition
        message = 0.5 * (message + message.mT)
    message, weight = message + gain @ model.emission, weight + gain @ x[0]
    prior = torch.linalg.inv(model.initial_cov)
    cov = torch.linalg.inv(prior + message)
    mean = cov @ (prior @ model.initial_mean + weight)
    stacked = (torch.stack(parts[::-1]) for parts in (gains, offsets, covs))
    return GaussMarkov(mean, 0.5 * (cov + cov.mT), *stacked)


def elbo(model: LinearGaussian, posterior: GaussMarkov, x: Tensor, actions: Tensor) -> Tensor:
    """E_q[log p(x_{1:T}, z_{1:T} | a) − log q(z_{1:T})] in closed form."""

    def expected(residual: Tensor, spread: Tensor, cov: Tensor) -> Tensor:
        """E[log N(r; 0, cov)] for r with mean `residual` (…, K) and covariance `spread` (…, K, K)."""
        zero = torch.zeros_like(residual)
        trace = torch.linalg.solve(cov, spread).diagonal(dim1=-2, dim2=-1).sum(-1)
        return MultivariateNormal(zero, cov).log_prob(residual) - 0.5 * trace

    means, covs = posterior.marginals()
    emissions = expected(
        x - means @ model.emission.mT,
        model.emission @ covs @ model.emission.mT,
        model.emission_cov,
    )
    first = expected(means[0] - model.initial_mean, covs[0], model.initial_cov)
    # z_t − A z_{t−1} − B a_{t−1} = (F_t − A) z_{t−1} + (g_t − B a_{t−1}) + N(0, S_t)
    surplus = posterior.gains - model.transition
    residual = (surplus @ means[:-1, :, None])[..., 0] + posterior.offsets - actions @ model.control.mT
    spread = surplus @ covs[:-1] @ surplus.mT + posterior.covs
    transitions = expected(residual, spread, model.transition_cov)
    return emissions.sum() + first + transitions.sum() + posterior.entropy()


def importance_weighted_bound(
    model: LinearGaussian,
    posterior: GaussMarkov,
    x: Tensor,
    actions: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One sample of log (1/K) Σ_k p(x, z_k | a) / q(z_k), z_k ~ q (Burda et al. 2016).

    Its mean is the ELBO for K = 1, and increases with K towards the log-evidence.
    """
    z = posterior.sample(samples, generator)
    log_weights = model.log_joint(z, x, actions) - posterior.log_prob(z)
    return torch.logsumexp(log_weights, 0) - math.log(samples)
