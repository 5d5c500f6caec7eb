"""A diffusion model is a Markovian hierarchical VAE whose encoders are fixed.

    log p(x) ≥ E_q [ log p(h_N) + Σ_n log p(h_{n−1} | h_n) − Σ_n log q(h_n | h_{n−1}) ],   h_0 = x

The left is computed as for any such VAE, by drawing the whole chain of latents and adding up
log-densities; the right, term by term, by `agent.restoration.diffusion`.
"""

import pytest
import torch
from torch.distributions import Normal

from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule

CHAINS = 200_000


def hierarchical_elbo(x, encoders, decoders, prior):
    """One draw for each row of x of the bound of any Markovian hierarchical VAE, nats.

    `encoders[n]` gives q(h_{n+1} | h_n), `decoders[n]` p(h_n | h_{n+1}), as distributions.
    """
    bound, h = torch.zeros(len(x), dtype=x.dtype), x
    for encode, decode in zip(encoders, decoders, strict=True):
        q = encode(h)
        above = q.sample()
        bound = bound + decode(above).log_prob(h).sum(1) - q.log_prob(above).sum(1)
        h = above
    return bound + prior.log_prob(h).sum(1)


def as_hierarchical_vae(schedule, denoise, variance):
    """Fixed linear Gaussian encoders, and the decoders that a denoiser makes."""
    sigma = diffusion.variances(schedule, variance).sqrt()

    def encoder(n):
        return lambda h: Normal(schedule.alpha[n].sqrt() * h, schedule.beta[n].sqrt())

    def decoder(n):
        return lambda h: Normal(
            diffusion.posterior_mean(schedule, denoise(h, n + 1), h, n + 1), sigma[n]
        )

    return zip(*[(encoder(n), decoder(n)) for n in range(schedule.steps)], strict=True)


def closed_form(schedule, x0, denoise, variance):
    """The same bound by the diffusion's terms, one draw of x_n for each."""
    bound = -diffusion.prior_matching(schedule, x0)
    for n in range(1, schedule.steps + 1):
        xn = diffusion.diffuse(schedule, x0, n, torch.randn_like(x0))
        x0_hat = denoise(xn, n)
        if n == 1:
            std = diffusion.variances(schedule, variance)[0]
            bound = bound + diffusion.gaussian_log_prob(x0, x0_hat, std)
        else:
            bound = bound - diffusion.denoising_term(schedule, x0, xn, n, x0_hat, variance)
    return bound


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@pytest.mark.parametrize("quality", [1.0, 0.7], ids=["exact denoiser", "poor denoiser"])
def test_the_bound_of_a_diffusion_is_that_of_a_hierarchical_vae(variance, quality):
    schedule, std = Schedule.cosine(12), 0.5
    torch.manual_seed(0)
    x0 = std * torch.randn(CHAINS, 2, dtype=torch.float64)

    def denoise(x, n):
        alpha_bar = schedule.alpha_bar[n]
        return quality * alpha_bar.sqrt() * std**2 / (alpha_bar * std**2 + 1 - alpha_bar) * x

    encoders, decoders = as_hierarchical_vae(schedule, denoise, variance)
    prior = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    generic = hierarchical_elbo(x0, encoders, decoders, prior)
    exact = closed_form(schedule, x0, denoise, variance)
    error = ((generic.var() + exact.var()) / CHAINS).sqrt()
    assert abs(generic.mean() - exact.mean()) < 4 * error
    assert error < 0.02  # so that a term left out would show
