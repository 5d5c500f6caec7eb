"""Exact inference against one large Gaussian over all latents and frames at once."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal

from agent.linear_gaussian import (
    GaussMarkov,
    LinearGaussian,
    elbo,
    importance_weighted_bound,
    kalman_filter,
    smoother,
)

D, X, U, T = 3, 2, 2, 6


def covariance(size, generator, scale=1.0):
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    cov = scale * (root @ root.mT / size + 0.3 * torch.eye(size, dtype=torch.float64))
    return 0.5 * (cov + cov.mT)


def make(seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    model = LinearGaussian(
        transition=0.5 * normal(D, D),
        control=normal(D, U),
        emission=normal(X, D),
        initial_mean=normal(D),
        initial_cov=covariance(D, generator),
        transition_cov=covariance(D, generator, 0.3),
        emission_cov=covariance(X, generator, 0.5),
    )
    actions = normal(T - 1, U)
    _, x = model.sample(actions, generator)
    return model, x, actions


def whole(model, actions):
    """Mean and covariance of (z_1, …, z_T, x_1, …, x_T), from independent noises, by one matrix."""
    noise_cov = torch.block_diag(
        model.initial_cov, *[model.transition_cov] * (T - 1), *[model.emission_cov] * T
    )
    blocks = [[torch.zeros(D, D, dtype=torch.float64) for _ in range(T)] for _ in range(T)]
    means = [model.initial_mean]
    for t in range(T):
        for s in range(t + 1):
            blocks[t][s] = torch.linalg.matrix_power(model.transition, t - s)
        if t:
            means.append(model.transition @ means[-1] + model.control @ actions[t - 1])
    to_z = torch.cat([torch.cat(row, 1) for row in blocks])
    read = torch.block_diag(*[model.emission] * T)
    eye = torch.eye(T * X, dtype=torch.float64)
    top = torch.cat([to_z, torch.zeros(T * D, T * X, dtype=torch.float64)], 1)
    mix = torch.cat([top, torch.cat([read @ to_z, eye], 1)])
    mean = torch.cat(means)
    return torch.cat([mean, read @ mean]), mix @ noise_cov @ mix.mT


def conditioned(model, x, actions):
    """Mean and covariance of all z given x, by the formula for conditioning a Gaussian."""
    mean, cov = whole(model, actions)
    n = T * D
    gain = torch.linalg.solve(cov[n:, n:], cov[n:, :n]).mT
    return mean[:n] + gain @ (x.flatten() - mean[n:]), cov[:n, :n] - gain @ cov[n:, :n]


@pytest.mark.parametrize("seed", range(5))
def test_the_filters_evidence_is_that_of_one_large_gaussian(seed):
    model, x, actions = make(seed)
    mean, cov = whole(model, actions)
    n = T * D
    expected = MultivariateNormal(mean[n:], cov[n:, n:]).log_prob(x.flatten())
    torch.testing.assert_close(kalman_filter(model, x, actions)[2], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_filtered_state_is_the_last_smoothed_one(seed):
    model, x, actions = make(seed)
    means, covs, _ = kalman_filter(model, x, actions)
    smoothed_means, smoothed_covs = smoother(model, x, actions).marginals()
    torch.testing.assert_close(means[-1], smoothed_means[-1], rtol=0, atol=1e-9)
    torch.testing.assert_close(covs[-1], smoothed_covs[-1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_smoothers_chain_is_the_joint_posterior(seed):
    model, x, actions = make(seed)
    chain = smoother(model, x, actions)
    mean, cov = conditioned(model, x, actions)
    z = chain.sample(20, torch.Generator().manual_seed(0))
    exact = MultivariateNormal(mean, 0.5 * (cov + cov.mT))
    torch.testing.assert_close(chain.log_prob(z), exact.log_prob(z.flatten(1)), rtol=0, atol=1e-8)
    means, covs = chain.marginals()
    torch.testing.assert_close(means.flatten(), mean, rtol=0, atol=1e-9)
    for t in range(T):
        block = slice(t * D, (t + 1) * D)
        torch.testing.assert_close(covs[t], cov[block, block], rtol=0, atol=1e-9)
    torch.testing.assert_close(chain.entropy(), exact.entropy(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_the_elbo_is_the_evidence_with_the_joint_posterior_and_below_it_with_any_other(seed):
    model, x, actions = make(seed)
    evidence = kalman_filter(model, x, actions)[2]
    chain = smoother(model, x, actions)
    torch.testing.assert_close(elbo(model, chain, x, actions), evidence, rtol=0, atol=1e-6)
    product = elbo(model, chain.product_of_marginals(), x, actions)
    assert product < evidence - 1e-3
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        changed = {}
        for field in dataclasses.fields(GaussMarkov):
            value = getattr(chain, field.name)
            noise = 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
            changed[field.name] = value + (noise @ noise.mT if "cov" in field.name else noise)
        assert elbo(model, GaussMarkov(**changed), x, actions) < evidence


@pytest.mark.parametrize("seed", range(3))
def test_no_product_of_gaussians_does_better_than_the_gap_of_the_best_means(seed):
    """The gap of a product q is its KL to the posterior: minimise it and it stays above zero."""
    model, x, actions = make(seed)
    evidence = kalman_filter(model, x, actions)[2]
    _, cov = conditioned(model, x, actions)
    # The best product has the posterior's mean and the inverse of the diagonal blocks of its
    # precision as covariances (Bishop 2006, 10.1.2).
    precision = torch.linalg.inv(cov)
    chain = smoother(model, x, actions)
    means, _ = chain.marginals()
    blocks = [precision[t * D : (t + 1) * D, t * D : (t + 1) * D] for t in range(T)]
    covs = torch.linalg.inv(torch.stack(blocks))
    best = GaussMarkov(means[0], covs[0], torch.zeros_like(chain.gains), means[1:], covs[1:])
    gap = evidence - elbo(model, best, x, actions)
    kl = 0.5 * (torch.logdet(torch.stack(blocks)).sum() - torch.logdet(precision))
    torch.testing.assert_close(gap, kl, rtol=0, atol=1e-6)
    assert 0 < gap < evidence - elbo(model, chain.product_of_marginals(), x, actions) + 1e-9


def test_the_closed_form_elbo_is_the_mean_of_its_monte_carlo_estimates():
    model, x, actions = make(0)
    q = smoother(model, x, actions).product_of_marginals()
    z = q.sample(40_000, torch.Generator().manual_seed(1))
    terms = model.log_joint(z, x, actions) - q.log_prob(z)
    error = terms.std() / 200
    assert (terms.mean() - elbo(model, q, x, actions)).abs() < 4 * error


def test_with_the_exact_posterior_the_bound_is_the_evidence_for_any_number_of_samples():
    model, x, actions = make(1)
    evidence, exact = kalman_filter(model, x, actions)[2], smoother(model, x, actions)
    for samples in (1, 2, 30):
        bound = importance_weighted_bound(model, exact, x, actions, samples)
        torch.testing.assert_close(bound, evidence, rtol=0, atol=1e-8)


def test_samples_of_a_chain_have_its_marginals():
    q = smoother(*make(2))
    z = q.sample(60_000, torch.Generator().manual_seed(0))
    means, covs = q.marginals()
    assert q.initial_mean.abs().max() > 0.1
    torch.testing.assert_close(z.mean(0), means, atol=0.02, rtol=0)
    for t, cov in enumerate(covs):
        torch.testing.assert_close(z[:, t].T.cov(), cov, atol=0.02, rtol=0.03)


@pytest.mark.slow
def test_the_importance_weighted_bound_climbs_from_the_elbo_to_the_evidence():
    model, x, actions = make(1)
    evidence = kalman_filter(model, x, actions)[2]
    q = smoother(model, x, actions).product_of_marginals()
    generator = torch.Generator().manual_seed(0)
    bounds = []
    for samples in (1, 4, 16, 64, 256):
        draws = [
            importance_weighted_bound(model, q, x, actions, samples, generator) for _ in range(400)
        ]
        bounds.append(torch.stack(draws).mean())
    assert all(low < high for low, high in pairwise(bounds))
    assert bounds[0] == pytest.approx(elbo(model, q, x, actions).item(), abs=0.5)
    assert evidence - 0.1 < bounds[-1] < evidence + 0.02
    exact = smoother(model, x, actions)  # every weight is the evidence
    one = importance_weighted_bound(model, exact, x, actions, 1, generator)
    torch.testing.assert_close(one, evidence, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("emission", torch.zeros(X, D + 1, dtype=torch.float64)),
        ("initial_mean", torch.zeros(D)),
        ("transition_cov", -torch.eye(D, dtype=torch.float64)),
        ("initial_cov", torch.zeros(D, D, dtype=torch.float64)),
        ("emission_cov", torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64)),
    ],
)
def test_a_model_that_cannot_be_is_refused(field, value):
    model, _, _ = make(0)
    with pytest.raises(ValueError, match=f"(?s){field}: got .*allowed"):
        dataclasses.replace(model, **{field: value})
