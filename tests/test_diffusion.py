"""Exact mathematics against closed forms, brute force and huggingface's schedulers' published rule."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule

KINDS = ("eps", "x0", "mean", "v")
SCHEDULES = {
    "linear": Schedule.linear(50),
    "cosine": Schedule.cosine(50),
    "long": Schedule.linear(1000),
}


@pytest.fixture(params=SCHEDULES, name="schedule")
def _schedule(request):
    return SCHEDULES[request.param]


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# ---- schedules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [25, 100, 1000, 4000])
def test_a_rescaled_linear_schedule_ends_near_pure_noise(steps):
    assert Schedule.linear(steps).alpha_bar[-1] < 1e-4


def test_the_linear_schedule_at_1000_steps_is_the_published_one():
    schedule = Schedule.linear(1000)
    assert schedule.beta[0].item() == pytest.approx(1e-4) and schedule.beta[-1].item() == 0.02
    expected = math.exp(sum(math.log1p(-b) for b in np.linspace(1e-4, 0.02, 1000)))
    assert schedule.alpha_bar[-1].item() == pytest.approx(expected, rel=1e-12)


def test_the_cosine_schedule_has_the_published_alpha_bar():
    schedule = Schedule.cosine(100)
    expected = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bar[:100], expected[:100] / expected[0], rtol=1e-12)
    assert schedule.beta[-1] == 0.999


def test_the_nearest_step_carries_that_noise(schedule):
    for n in (1, schedule.steps // 2, schedule.steps):
        std = ((1 - schedule.alpha_bar[n]) / schedule.alpha_bar[n]).sqrt().item()
        assert schedule.nearest(std * 1.001) == n


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.linear(20), "steps: got 20, allowed: at least 21"),
        (lambda: Schedule.linear(0), "steps: got 0"),
        (lambda: Schedule.cosine(0), "steps: got 0"),
        (lambda: Schedule(torch.tensor([0.1])), "beta: got torch.float32"),
        (lambda: Schedule(torch.tensor([0.1, 1.0]).double()), r"beta: got .* in \[0.1, 1\]"),
        (lambda: Schedule(torch.tensor([0.0, 0.5]).double()), "beta: got"),
        (lambda: Schedule(torch.zeros(0)), "beta: got torch.float32"),
    ],
)
def test_schedules_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- forward and posterior -------------------------------------------------------------------------


def test_n_steps_at_once_have_the_moments_of_n_single_steps(schedule):
    n, x0, count = 10, torch.tensor([0.7, -0.3]).double(), 200_000
    x = x0.expand(count, 2)
    for i in range(n):
        x = schedule.alpha[i].sqrt() * x + schedule.beta[i].sqrt() * normal(count, 2, seed=i)
    once = diffusion.diffuse(schedule, x0.expand(count, 2), n, normal(count, 2, seed=99))
    torch.testing.assert_close(x.mean(0), once.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(x.std(0), once.std(0), atol=0.01, rtol=0)


@pytest.mark.parametrize("n", [2, 17, 50])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_posterior_is_that_of_bayes_rule_on_a_grid(name, n):
    schedule = SCHEDULES[name]
    x0, xn = 0.4, -0.2
    grid = np.linspace(-12, 12, 400_001)
    before, beta = schedule.alpha_bar[n - 1].item(), schedule.beta[n - 1].item()
    density = stats.norm.pdf(grid, math.sqrt(before) * x0, math.sqrt(1 - before))
    density *= stats.norm.pdf(xn, math.sqrt(1 - beta) * grid, math.sqrt(beta))
    density /= density.sum()
    mean = (grid * density).sum()
    variance = ((grid - mean) ** 2 * density).sum()
    found = diffusion.posterior_mean(schedule, torch.tensor([[x0]]), torch.tensor([[xn]]).double(), n)
    assert found.item() == pytest.approx(mean, abs=1e-6)
    assert schedule.beta_tilde[n - 1].item() == pytest.approx(variance, rel=1e-5)


# ---- parameterisations -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_parameterisations_convert_into_each_other(schedule, kind, other):
    xn, n = normal(6, 3), torch.tensor([1, 2, 5, 20, 49, 50])
    prediction = normal(6, 3, seed=1)
    x0 = diffusion.to_x0(schedule, prediction, xn, n, kind)
    there = diffusion.from_x0(schedule, x0, xn, n, other)
    back = diffusion.from_x0(schedule, diffusion.to_x0(schedule, there, xn, n, other), xn, n, kind)
    torch.testing.assert_close(back, prediction, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_gives_the_clean_image(schedule, kind):
    x0, eps, n = normal(4, 5), normal(4, 5, seed=1), torch.tensor([1, 3, 30, 50])
    xn = diffusion.diffuse(schedule, x0, n, eps)
    alpha_bar = schedule.alpha_bar[n][:, None]
    perfect = {
        "eps": eps,
        "x0": x0,
        "v": alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0,
        "mean": diffusion.posterior_mean(schedule, x0, xn, n),
    }[kind]
    torch.testing.assert_close(diffusion.to_x0(schedule, perfect, xn, n, kind), x0)
    torch.testing.assert_close(diffusion.from_x0(schedule, x0, xn, n, kind), perfect)


@pytest.mark.parametrize("weighting", ["simple", "bound", "min-snr"])
def test_a_weighting_means_the_same_whatever_is_predicted(schedule, weighting):
    """weight × squared error is one number, however the same error of x_0 is expressed."""
    n = torch.arange(2, schedule.steps + 1)
    x0, wrong, eps = normal(len(n), 4), normal(len(n), 4, seed=1), normal(len(n), 4, seed=2)
    xn = diffusion.diffuse(schedule, x0, n, eps)
    losses = []
    for kind in KINDS:
        right, other = (diffusion.from_x0(schedule, x, xn, n, kind) for x in (x0, wrong))
        weight = diffusion.loss_weight(schedule, weighting, kind)[n - 1]
        losses.append(weight * (right - other).square().sum(1))
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-7, atol=0)


def test_bound_weights_are_the_published_ones(schedule):
    """ε: β²/(2σ²α(1 − ᾱ)) (2006.11239, 12), also ½ expm1(γ_n − γ_{n−1}); mean: 1/(2σ²)."""
    alpha, beta, remaining = schedule.alpha[1:], schedule.beta[1:], 1 - schedule.alpha_bar[2:]
    variance = schedule.beta_tilde[1:]
    eps = diffusion.loss_weight(schedule, "bound", "eps")[1:]
    torch.testing.assert_close(eps, beta**2 / (2 * variance * alpha * remaining), rtol=1e-9, atol=0)
    gamma = -schedule.snr[1:].log()
    torch.testing.assert_close(eps, 0.5 * torch.expm1(gamma.diff()), rtol=1e-9, atol=0)
    mean = diffusion.loss_weight(schedule, "bound", "mean")[1:]
    torch.testing.assert_close(mean, 1 / (2 * variance), rtol=1e-9, atol=0)


def test_simple_and_min_snr_weights_are_the_published_ones(schedule):
    snr = schedule.snr[1:]
    torch.testing.assert_close(diffusion.loss_weight(schedule, "simple", "eps"), torch.ones_like(snr))
    torch.testing.assert_close(
        diffusion.loss_weight(schedule, "min-snr", "eps"), snr.clamp(max=5) / snr
    )
    torch.testing.assert_close(
        diffusion.loss_weight(schedule, "min-snr", "v"), snr.clamp(max=5) / (snr + 1)
    )


# ---- the bound -------------------------------------------------------------------------------------


class GaussianData:
    """x_0 ~ N(0, s²) in one dimension, where every reverse kernel is Gaussian and known."""

    def __init__(self, schedule, std):
        self.schedule, self.std = schedule, std

    def denoise(self, xn, n):
        """E[x_0 | x_n] = √ᾱ s² x_n / (ᾱ s² + 1 − ᾱ)."""
        alpha_bar = diffusion.at(self.schedule.alpha_bar, n, xn)
        signal = alpha_bar * self.std**2
        return alpha_bar.sqrt() * self.std**2 / (signal + 1 - alpha_bar) * xn


@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_the_bound_of_gaussian_data_is_entropy_plus_prior_mismatch(std):
    """To 1e-10: expectations over x_0 and x_n by Gauss-Hermite quadrature, exactly.

    The reverse kernel q(x_{n−1} | x_n) is Gaussian with variance β̃ + c² Var[x_0 | x_n], which the
    fixed β̃ is not; its term is added for every n, and the continuous decoder stands for L_0.
    """
    schedule = SCHEDULES["linear"]
    data = GaussianData(schedule, std)
    points, mass = np.polynomial.hermite_e.hermegauss(20)
    mass = torch.from_numpy(np.outer(mass, mass).ravel() / mass.sum() ** 2)
    a, b = (torch.from_numpy(each.ravel())[:, None] for each in np.meshgrid(points, points))
    x0 = std * a
    total = (mass * diffusion.prior_matching(schedule, x0)).sum()
    for n in range(1, schedule.steps + 1):
        xn = diffusion.diffuse(schedule, x0, n, b)
        x0_hat = data.denoise(xn, n)
        remaining = 1 - schedule.alpha_bar[n]
        left = std**2 * remaining / (schedule.alpha_bar[n] * std**2 + remaining)  # Var[x_0 | x_n]
        if n == 1:
            log_p = diffusion.gaussian_log_prob(x0, x0_hat, left)
            total = total - (mass * log_p).sum()
            continue
        tilde = schedule.beta_tilde[n - 1]
        of_x0, _ = diffusion._posterior_coefficients(schedule, n, xn)
        variance = tilde + of_x0**2 * left
        matched = (mass * diffusion.denoising_term(schedule, x0, xn, n, x0_hat)).sum()
        error = 2 * tilde * matched  # E (μ̃ − μ̂)²
        total = total + error / (2 * variance) + 0.5 * (tilde / variance - 1 - (tilde / variance).log())
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    end = schedule.alpha_bar[-1] * std**2 + 1 - schedule.alpha_bar[-1]
    mismatch = 0.5 * (end - 1 - end.log())
    assert abs(total - entropy - mismatch) < 1e-10


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_a_denoising_term_is_the_kl_divergence_of_two_gaussians(schedule, variance):
    n = torch.tensor([2, 3, 25, 50])
    x0, x0_hat, eps = normal(4, 6), normal(4, 6, seed=1), normal(4, 6, seed=2)
    xn = diffusion.diffuse(schedule, x0, n, eps)
    ours = diffusion.variances(schedule, variance)[n - 1][:, None].sqrt()
    exact = schedule.beta_tilde[n - 1][:, None].sqrt()
    q = torch.distributions.Normal(diffusion.posterior_mean(schedule, x0, xn, n), exact)
    p = torch.distributions.Normal(diffusion.posterior_mean(schedule, x0_hat, xn, n), ours)
    expected = torch.distributions.kl_divergence(q, p).sum(1)
    found = diffusion.denoising_term(schedule, x0, xn, n, x0_hat, variance)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_prior_matching_is_the_kl_divergence_to_pure_noise(schedule):
    x0 = normal(3, 4)
    alpha_bar = schedule.alpha_bar[-1]
    q = torch.distributions.Normal(alpha_bar.sqrt() * x0, (1 - alpha_bar).sqrt())
    p = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    expected = torch.distributions.kl_divergence(q, p).sum(1)
    torch.testing.assert_close(diffusion.prior_matching(schedule, x0), expected)


LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)


@pytest.mark.parametrize("mean", [-1.4, -1.0, -0.001, 0.3, 0.999, 2.0])
@pytest.mark.parametrize("std", [0.001, 0.02, 0.5])
def test_the_decoder_is_a_distribution_over_the_levels(mean, std):
    log_p = diffusion.decoder_log_prob(
        LEVELS, torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    )
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    edges = (np.arange(257) - 0.5) * 2 / 255 - 1
    edges[0], edges[-1] = -np.inf, np.inf
    expected = np.diff(stats.norm.cdf(edges, mean, std))
    np.testing.assert_allclose(log_p.exp(), expected, atol=1e-13)


def test_the_decoder_keeps_its_tail():
    """A level 100 standard deviations away: about −½ 100², where the distribution function is flat."""
    std = torch.tensor(0.01, dtype=torch.float64)
    for mean, level in ((-0.5, LEVELS[192]), (0.5, LEVELS[63])):
        log_p = diffusion.decoder_log_prob(level, torch.tensor(mean).double(), std).item()
        nearest = (abs(level.item() - mean) - 1 / 255) / 0.01
        assert log_p == pytest.approx(stats.norm.logsf(nearest), rel=1e-9)
        assert -5100 < log_p < -4900


def test_bits_per_dimension():
    x0 = torch.zeros(2, 3, 4)
    assert diffusion.bits_per_dimension(torch.tensor(12 * math.log(2) * 1.5), x0).item() == 1.5


# ---- samplers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 20, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_samples_of_gaussian_data_have_the_moments_that_a_recursion_gives(eta, count):
    """With the exact denoiser every step is linear, x_m = c x_n + σ ξ (2010.02502, 12 and 16)."""
    schedule, std, size = SCHEDULES["cosine"], 0.5, 100_000
    data, generator = GaussianData(schedule, std), torch.Generator().manual_seed(0)
    steps, variance = diffusion.sub_sequence(schedule, count), 1.0
    for n, m in zip(steps, [*steps[1:], 0], strict=True):
        here, there = schedule.alpha_bar[n].item(), schedule.alpha_bar[m].item()
        gain = data.denoise(torch.ones(1, 1).double(), n).item()
        sigma = eta * math.sqrt((1 - there) / (1 - here) * (1 - here / there))
        noise_gain = (1 - math.sqrt(here) * gain) / math.sqrt(1 - here)
        slope = math.sqrt(there) * gain + math.sqrt(max(1 - there - sigma**2, 0)) * noise_gain
        variance = slope**2 * variance + sigma**2
    start = torch.randn(size, 1, generator=generator, dtype=torch.float64)
    x = diffusion.sample(schedule, data.denoise, start, steps, eta, generator)
    assert abs(x.mean().item()) < 0.01
    assert x.std().item() == pytest.approx(math.sqrt(variance), rel=0.01)
    if count == 50:  # all steps: what is sampled is the data, up to what σ² = β̃ leaves out
        assert x.std().item() == pytest.approx(std, rel=0.08)


def test_ddim_with_all_of_its_noise_is_the_ancestral_step(schedule):
    xn, x0_hat, noise = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)
    for n in (1, 2, 10, schedule.steps):
        ancestral = diffusion.ancestral_step(schedule, xn, x0_hat, n, noise)
        ddim = diffusion.ddim_step(schedule, xn, x0_hat, n, n - 1, 1.0, noise)
        torch.testing.assert_close(ancestral, ddim, rtol=1e-7, atol=1e-9)


def test_ddim_keeps_the_marginals_of_the_forward_process():
    """From x_n of a known x_0, x_m has the mean and the variance of q(x_m | x_0), for any η."""
    schedule, n, m, count = SCHEDULES["linear"], 40, 15, 200_000
    x0 = torch.full((count, 1), 0.6).double()
    xn = diffusion.diffuse(schedule, x0, n, normal(count, 1))
    for eta in (0.0, 0.4, 1.0):
        xm = diffusion.ddim_step(schedule, xn, x0, n, m, eta, normal(count, 1, seed=1))
        assert xm.mean().item() == pytest.approx(schedule.alpha_bar[m].sqrt().item() * 0.6, abs=0.01)
        assert xm.var().item() == pytest.approx(1 - schedule.alpha_bar[m].item(), rel=0.02)


def test_sub_sequences_fall_from_the_last_step_to_the_first():
    schedule = SCHEDULES["linear"]
    assert diffusion.sub_sequence(schedule, 50) == list(range(50, 0, -1))
    assert diffusion.sub_sequence(schedule, 3) == [50, 26, 1]
    assert diffusion.sub_sequence(schedule, 1) == [50]


# ---- scores ----------------------------------------------------------------------------------------


def test_the_score_is_the_gradient_of_the_log_density(schedule):
    x0 = normal(1, 3)
    for n in (1, 20, 50):
        eps = normal(1, 3, seed=n)
        xn = diffusion.diffuse(schedule, x0, n, eps).requires_grad_()
        alpha_bar = schedule.alpha_bar[n]
        log_q = diffusion.gaussian_log_prob(xn, alpha_bar.sqrt() * x0, 1 - alpha_bar)
        (gradient,) = torch.autograd.grad(log_q.sum(), xn)
        torch.testing.assert_close(diffusion.score(schedule, eps, n), gradient)
        y, std = diffusion.to_ncsn(schedule, xn.detach(), n)
        torch.testing.assert_close(y, x0 + std * eps)


@pytest.mark.parametrize("noise_std", [0.2, 1.0, 3.0])
def test_tweedies_estimate_is_the_posterior_mean(noise_std):
    """With ᾱ = 1/(1 + σ²), x̂_0 = y − σ ε̂ for Gaussian data is the textbook's."""
    alpha_bar, std, y = 1 / (1 + noise_std**2), 0.7, torch.tensor([[0.9]], dtype=torch.float64)
    xn = math.sqrt(alpha_bar) * y
    optimal_eps = math.sqrt(1 - alpha_bar) / (alpha_bar * std**2 + 1 - alpha_bar) * xn
    estimate = y - noise_std * optimal_eps
    assert estimate.item() == pytest.approx(0.9 * std**2 / (std**2 + noise_std**2), rel=1e-12)


def test_langevin_dynamics_reaches_its_stationary_distribution():
    """For N(1, 0.5²) with step η the chain is an autoregression of known mean and variance."""
    std, step = 0.5, 0.02
    x = diffusion.langevin(
        lambda x: (1 - x) / std**2,
        torch.zeros(50_000, 1, dtype=torch.float64),
        step,
        200,
        torch.Generator().manual_seed(0),
    )
    assert x.mean().item() == pytest.approx(1, abs=0.01)
    decay = 1 - step / std**2
    assert x.var().item() == pytest.approx(2 * step / (1 - decay**2), rel=0.03)


def test_denoising_score_matching_has_the_gradient_of_the_explicit_objective():
    """A linear score a·x̃ on Gaussian data: both gradients in a, the explicit one in closed form."""
    data_std, std, count = 0.8, 0.6, 2_000_000
    x = data_std * normal(count, 1)
    noisy = x + std * normal(count, 1, seed=1)
    slope = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    loss = diffusion.score_matching_loss(slope * noisy, x, noisy, std).mean()
    (gradient,) = torch.autograd.grad(loss, slope)
    variance = data_std**2 + std**2
    explicit = variance * (-0.4 + 1 / variance)  # d/da ½ E (a x̃ + x̃/v)² = v (a + 1/v)
    assert gradient.item() == pytest.approx(explicit, abs=0.01)


# ---- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: diffusion.to_x0(s, x, x, 3, "noise"), "parameterisation: got 'noise'"),
        (lambda s, x: diffusion.from_x0(s, x, x, 3, "score"), "parameterisation: got 'score'"),
        (lambda s, x: diffusion.loss_weight(s, "none", "eps"), "weighting: got 'none'"),
        (lambda s, x: diffusion.variances(s, "learned"), "variance: got 'learned'"),
        (lambda s, x: diffusion.denoising_term(s, x, x, 1, x), "n: got a step below 2"),
        (lambda s, x: diffusion.ddim_step(s, x, x, 3, 3, 0.0, x), "m: got 3"),
        (lambda s, x: diffusion.ddim_step(s, x, x, 3, 1, 1.5, x), "eta: got 1.5"),
        (lambda s, x: diffusion.sample(s, lambda x, n: x, x, [3, 5]), r"steps: got \[3, 5\]"),
        (lambda s, x: diffusion.sample(s, lambda x, n: x, x, [51, 5]), r"steps: got \[51, 5\]"),
        (lambda s, x: diffusion.sample(s, lambda x, n: x, x, []), r"steps: got \[\]"),
        (lambda s, x: diffusion.sub_sequence(s, 51), "count: got 51"),
        (lambda s, x: diffusion.diffuse(s, x, -1, x), "n: got steps at index -1 to -1"),
        (
            lambda s, x: diffusion.diffuse(s, x, torch.tensor([3, 51]), x),
            "n: got steps at index 3 to 51",
        ),
        (lambda s, x: diffusion.posterior_mean(s, x, x, 0), "n: got steps at index -1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(SCHEDULES["linear"], normal(2, 3))


def test_the_decoders_term_is_a_sum_over_pixels_for_each_frame():
    schedule, generator = Schedule.linear(50), torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (3, 2, 4, 4), generator=generator)
    x0 = levels.double() / 127.5 - 1
    guess = (x0 + 0.02 * torch.randn(x0.shape, generator=generator, dtype=torch.float64)).clamp(-1, 1)
    std = diffusion.variances(schedule, "beta_tilde")[0].sqrt().item()
    expected = []
    for frame, mean in zip(x0.numpy(), guess.numpy(), strict=True):
        low = np.where(frame < -0.999, -np.inf, frame - 1 / 255)
        high = np.where(frame > 0.999, np.inf, frame + 1 / 255)
        mass = stats.norm.cdf(high, mean, std) - stats.norm.cdf(low, mean, std)
        expected.append(-np.log(mass).sum())
    found = diffusion.decoder_term(schedule, x0, x0, guess)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
