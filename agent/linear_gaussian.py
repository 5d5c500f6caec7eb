"""The linear Gaussian special case of the sequential VAE, where all is known exactly.

    z_1 ~ N(m, P),   z_t = A z_{t−1} + B a_{t−1} + N(0, Q),   x_t = C z_t + N(0, R)

The Kalman filter gives log p(x_{1:T} | a) itself, the smoother the posterior of all z_{1:T}, which is
a Gauss-Markov chain (Kalman 1960; Rauch, Tung and Striebel 1965). With that chain as q the ELBO is the
evidence; with any other q, the product of its marginals included, it is below. So this is what
bounds and posteriors are measured against. In float64; time t = 1..T lies at index t − 1; nats.
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
        ValueError: shapes that do not belong together, or a covariance that is not positive definite.
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
        size, seen, controls = len(self.transition), len(self.emission), self.control.shape[-1]
        shapes = {
            "transition": (size, size),
            "control": (size, controls),
            "emission": (seen, size),
            "initial_mean": (size,),
            "initial_cov": (size, size),
            "transition_cov": (size, size),
            "emission_cov": (seen, seen),
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
        """Latents (T, D) and observations (T, X) of one trajectory with actions (T − 1, U)."""

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
        moved = MultivariateNormal(drift, self.transition_cov).log_prob(z[..., 1:, :])
        seen = MultivariateNormal(z @ self.emission.mT, self.emission_cov).log_prob(x)
        return first + moved.sum(-1) + seen.sum(-1)


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
        """The same marginals, independent of each other.

        (Not the product with the highest ELBO: that one has the same means, and as covariances the
        inverses of the diagonal blocks of the joint precision, which are narrower.)
        """
        means, covs = self.marginals()
        return type(self)(means[0], covs[0], torch.zeros_like(self.gains), means[1:], covs[1:])

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` draws of z_{1:T}, (count, T, D)."""
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
    for t, seen in enumerate(x):
        if t > 0:
            mean = model.transition @ mean + model.control @ actions[t - 1]
            cov = model.transition @ cov @ model.transition.mT + model.transition_cov
        predicted = model.emission @ mean
        innovation_cov = model.emission @ cov @ model.emission.mT + model.emission_cov
        log_evidence = log_evidence + MultivariateNormal(predicted, innovation_cov).log_prob(seen)
        gain = torch.linalg.solve(innovation_cov, model.emission @ cov).mT
        mean = mean + gain @ (seen - predicted)
        # Joseph's form, which stays symmetric and positive.
        rest = identity - gain @ model.emission
        cov = rest @ cov @ rest.mT + gain @ model.emission_cov @ gain.mT
        means.append(mean)
        covs.append(cov)
    return torch.stack(means), torch.stack(covs), log_evidence


def smoother(model: LinearGaussian, x: Tensor, actions: Tensor) -> GaussMarkov:
    """The exact posterior p(z_{1:T} | x_{1:T}, a), as a chain that runs forward in time.

    Given z_{t−1} and all frames from t on, z_t is the transition's prediction combined with what
    those frames say of it: a message exp(−½ zᵀ J z + hᵀ z), passed backwards from the end.
    """
    precision_of_move = torch.linalg.inv(model.transition_cov)
    reads = model.emission.mT @ torch.linalg.inv(model.emission_cov)  # Cᵀ R⁻¹
    message, weight = torch.zeros_like(model.transition), torch.zeros_like(model.initial_mean)
    gains, offsets, covs = [], [], []
    for t in range(len(x) - 1, 0, -1):
        message, weight = message + reads @ model.emission, weight + reads @ x[t]
        cov = torch.linalg.inv(precision_of_move + message)
        pushed = model.control @ actions[t - 1]
        gains.append(cov @ precision_of_move @ model.transition)
        offsets.append(cov @ (precision_of_move @ pushed + weight))
        covs.append(0.5 * (cov + cov.mT))
        # Integrate z_t out: what the frames from t on say of z_{t−1}.
        through = torch.linalg.inv(
            torch.eye(len(weight), dtype=cov.dtype) + message @ model.transition_cov
        )
        weight = model.transition.mT @ through @ (weight - message @ pushed)
        message = model.transition.mT @ through @ message @ model.transition
        message = 0.5 * (message + message.mT)
    message, weight = message + reads @ model.emission, weight + reads @ x[0]
    prior = torch.linalg.inv(model.initial_cov)
    cov = torch.linalg.inv(prior + message)
    mean = cov @ (prior @ model.initial_mean + weight)
    stacked = (torch.stack(parts[::-1]) for parts in (gains, offsets, covs))
    return GaussMarkov(mean, 0.5 * (cov + cov.mT), *stacked)


def elbo(model: LinearGaussian, posterior: GaussMarkov, x: Tensor, actions: Tensor) -> Tensor:
    """E_q[log p(x_{1:T}, z_{1:T} | a) − log q(z_{1:T})] in closed form."""

    def expected(residual: Tensor, spread: Tensor, cov: Tensor) -> Tensor:
        """E[log N(r; 0, cov)] where r has this mean (…, K) and covariance (…, K, K)."""
        zero = torch.zeros_like(residual)
        trace = torch.linalg.solve(cov, spread).diagonal(dim1=-2, dim2=-1).sum(-1)
        return MultivariateNormal(zero, cov).log_prob(residual) - 0.5 * trace

    means, covs = posterior.marginals()
    seen = expected(
        x - means @ model.emission.mT,
        model.emission @ covs @ model.emission.mT,
        model.emission_cov,
    )
    first = expected(means[0] - model.initial_mean, covs[0], model.initial_cov)
    # z_t − A z_{t−1} − B a_{t−1} = (F_t − A) z_{t−1} + (g_t − B a_{t−1}) + N(0, S_t)
    surplus = posterior.gains - model.transition
    residual = (surplus @ means[:-1, :, None])[..., 0] + posterior.offsets - actions @ model.control.mT
    spread = surplus @ covs[:-1] @ surplus.mT + posterior.covs
    moved = expected(residual, spread, model.transition_cov)
    return seen.sum() + first + moved.sum() + posterior.entropy()


def importance_weighted_bound(
    model: LinearGaussian,
    posterior: GaussMarkov,
    x: Tensor,
    actions: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One draw of log (1/K) Σ_k p(x, z_k | a) / q(z_k), z_k ~ q (Burda et al. 2016).

    Its mean is the ELBO for K = 1, and climbs to the evidence with K.
    """
    z = posterior.sample(samples, generator)
    log_weights = model.log_joint(z, x, actions) - posterior.log_prob(z)
    return torch.logsumexp(log_weights, 0) - math.log(samples)
