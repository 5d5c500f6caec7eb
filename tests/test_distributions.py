import pytest
import torch
from torch import distributions as reference

from agent.distributions import Normal, kl_divergence, product, returns_vary, varied


def random_normal(seed, shape=(50, 3)):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    std = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return Normal(mean, std)


def as_reference(p):
    return reference.Independent(reference.Normal(p.mean, p.std), 1)


def test_log_density_agrees_with_torch():
    p, value = random_normal(0, (7, 5, 3)), random_normal(1, (7, 5, 3)).mean
    torch.testing.assert_close(p.log_prob(value), as_reference(p).log_prob(value))


def test_kl_divergence_agrees_with_torch():
    p, q = random_normal(0, (7, 5, 3)), random_normal(1, (7, 5, 3))
    expected = reference.kl_divergence(as_reference(q), as_reference(p))
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(7, 5, dtype=torch.float64))


def test_product_is_proportional_to_the_product_of_densities():
    p, q = random_normal(0), random_normal(1)
    values = torch.stack([random_normal(seed).mean for seed in range(2, 7)])
    log_ratio = p.log_prob(values) + q.log_prob(values) - product(p, q).log_prob(values)
    torch.testing.assert_close(log_ratio, log_ratio[:1].expand_as(log_ratio))


def test_samples_have_the_mean_and_the_std():
    p = Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    big = Normal(p.mean.expand(100_000, 2), p.std.expand(100_000, 2))
    sample = big.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample.mean(0), p.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(sample.std(0), p.std, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([3.0], False),
        ([0.0, 0.0, 0.0], False),
        ([1000.0, 1000.001], False),  # no more than rounding
        ([-1000.0, -1000.001], False),
        ([1e-3, 2e-3], True),
        ([-5.0, 5.0], True),
        ([1000.0, 1001.0], True),
    ],
)
def test_numbers_vary_where_they_differ_by_more_than_rounding(values, expected):
    assert varied(torch.tensor(values)) is expected


def test_constant_rewards_tell_something_once_an_episode_has_ended():
    cost, nothing, different = torch.full((5,), -1.0), torch.zeros(5), torch.tensor([0.0, 1.0])
    assert [returns_vary(cost, ended) for ended in (False, True)] == [False, True]
    assert [returns_vary(nothing, ended) for ended in (False, True)] == [False, False]
    assert [returns_vary(different, ended) for ended in (False, True)] == [True, True]
