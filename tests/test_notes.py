"""Every equation and Problem of the lecture notes has a function and a test."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from scipy import stats

from agent.distributions import Normal
from agent.linear_gaussian import LinearGaussian, elbo, kalman_filter, smoother
from agent.posteriors import FilterPosterior
from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule
from benchmarks.model.bound_variance import enumerated_frames, estimates

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorials" / "notes.md"
NUMBERED = {
    "Tutorial: sequential VAE and diffusion model": (20, 17),
    "Advanced Machine Learning, Lecture 13: VAE and Diffusion II": (26, 0),
    "Deep Learning, Homework 7": (12, 4),
}
"""How many equations and Problems the notes number."""
NAMED = {
    "Handwritten notes on deriving the loss": 5,
    "Advanced machine learning for the physical sciences, week of May 6": 8,
}
"""How many parts of the others hold a formula."""


def sections():
    """The rows of each section's table, in cells."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        rows = [line.strip("|").split(" | ") for line in body.splitlines() if line.startswith("| ")]
        found[title] = [[cell.strip() for cell in row] for row in rows[1:]]
    return found


ROWS = [(title, row) for title, rows in sections().items() for row in rows]


def numbers(cell):
    """The equations and the Problems that a cell names, ranges expanded."""
    equations = []
    for first, last in re.findall(r"\((?:13\.)?(\d+)\)(?:–\((?:13\.)?(\d+)\))?", cell):
        equations += range(int(first), int(last or first) + 1)
    return equations, [int(n) for n in re.findall(r"Problem (\d+)", cell)]


def test_no_number_of_the_notes_is_left_out_or_comes_twice():
    tables = sections()
    assert set(tables) == set(NUMBERED) | set(NAMED)
    for title, (equations, problems) in NUMBERED.items():
        cells = " ".join(row[0] for row in tables[title])
        found = numbers(cells)
        assert sorted(found[0]) == list(range(1, equations + 1)), title
        assert sorted(found[1]) == list(range(1, problems + 1)), title
    for title, count in NAMED.items():
        assert len({row[0] for row in tables[title]}) == len(tables[title]) == count


@cache
def defined_in(name):
    tree = ast.parse((ROOT / "tests" / name).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("title", "row"), ROWS, ids=lambda each: each[0] if len(each) < 9 else "")
def test_a_row_names_a_function_and_a_test_that_exist(title, row):
    _, _, functions, tests = row
    names = re.findall(r"`((?:agent|benchmarks|scripts)[\w.]+)`", functions)
    cited = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
    assert len(names) == functions.count("`") / 2 > 0 and len(cited) == tests.count("`") / 2 > 0
    for name in names:
        parts = name.split(".")
        length = next(n for n in range(len(parts), 0, -1) if _module(".".join(parts[:n])))
        thing = _module(".".join(parts[:length]))
        for attribute in parts[length:]:
            thing = getattr(thing, attribute)
        assert callable(thing), name
    for file, test in cited:
        assert test in defined_in(file), f"{file}::{test}"


@cache
def _module(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


# ---- what the notes claim and no other test shows -------------------------------------------------


def test_noise_that_fades_too_fast_never_hides_the_picture():
    """All α_n < 1, but ∏ (1 − 1/(n + 1)²) → ½; with Σ β_n = ∞ the product goes to 0."""
    n = torch.arange(1, 5001, dtype=torch.float64)
    fading, lasting = Schedule(1 / (n + 1) ** 2), Schedule(1 / (n + 1))
    x0 = torch.ones(1, 1, dtype=torch.float64)
    assert fading.alpha_bar[-1].item() == pytest.approx(0.5, abs=1e-3)
    assert diffusion.prior_matching(fading, x0).item() > 0.3
    assert lasting.alpha_bar[-1].item() == pytest.approx(1 / 5001, rel=1e-6)
    assert diffusion.prior_matching(lasting, x0).item() < 1e-3


def test_the_gap_of_the_elbo_is_the_divergence_from_the_posterior():
    one = torch.eye(1, dtype=torch.float64)
    model = LinearGaussian(
        0.9 * one, one, one, torch.zeros(1, dtype=torch.float64), one, 0.3 * one, 0.2 * one
    )
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(5, 1, generator=generator, dtype=torch.float64)
    _, x = model.sample(actions, generator)
    exact = smoother(model, x, actions)
    other = exact.product_of_marginals()
    *_, evidence = kalman_filter(model, x, actions)
    z = other.sample(200_000, generator)
    ratios = other.log_prob(z) - exact.log_prob(z)
    error = (ratios.std() / len(ratios) ** 0.5).item()
    gap = (evidence - elbo(model, other, x, actions)).item()
    assert gap == pytest.approx(ratios.mean().item(), abs=4 * error) and gap > 0.1


def test_a_langevin_step_has_the_mean_x_plus_eta_s_and_the_covariance_two_eta():
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64).expand(400_000, 2)
    moved = diffusion.langevin(lambda x: -3 * x, x, 0.1, 1, generator)
    assert moved.mean(0).tolist() == pytest.approx([0.7, -1.4], abs=0.005)
    assert moved.T.cov().flatten().tolist() == pytest.approx([0.2, 0, 0, 0.2], abs=0.005)


def test_data_that_is_perturbed_and_resampled_is_new_data_of_the_same_kind():
    schedule, std, half = Schedule.cosine(200), 0.5, 120
    generator = torch.Generator().manual_seed(0)

    def denoise(xn, n):
        alpha_bar = schedule.alpha_bar[n]
        gain = alpha_bar.sqrt() * std**2 / (alpha_bar * std**2 + 1 - alpha_bar)
        return 0.3 + gain * (xn - alpha_bar.sqrt() * 0.3)

    x0 = 0.3 + std * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    perturbed = diffusion.diffuse(schedule, x0, half, eps)
    again = diffusion.sample(schedule, denoise, perturbed, range(half, 0, -1), generator=generator)
    assert again.mean().item() == pytest.approx(0.3, abs=0.015)
    assert again.std().item() == pytest.approx(std, rel=0.05)
    kept = torch.corrcoef(torch.cat([x0, again], 1).T)[0, 1].item()
    assert 0.05 < kept < 0.9  # neither the old data nor unrelated to it


@pytest.mark.parametrize("n", [1, 2, 30, 50])
def test_the_posterior_mean_can_be_told_from_the_noise(n):
    schedule = Schedule.linear(50)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 100, generator=generator, dtype=torch.float64)
    xn = diffusion.diffuse(schedule, x0, n, eps)
    alpha, alpha_bar = schedule.alpha[n - 1], schedule.alpha_bar[n]
    printed = (xn - (1 - alpha) / (1 - alpha_bar).sqrt() * eps) / alpha.sqrt()
    found = diffusion.to_x0(schedule, eps, xn, n, "eps")
    torch.testing.assert_close(printed, diffusion.posterior_mean(schedule, found, xn, n))


def test_in_the_coordinates_of_ncsn_the_score_is_minus_the_noise_over_sigma():
    """The score of y = x_n / √ᾱ_n, by differentiating the density of one known picture."""
    schedule, n = Schedule.cosine(50), 30
    x0, eps = torch.randn(2, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    xn = diffusion.diffuse(schedule, x0, n, eps)
    y, sigma = diffusion.to_ncsn(schedule, xn, n)
    y = y.requires_grad_()
    torch.distributions.Normal(x0, sigma).log_prob(y).sum().backward()
    torch.testing.assert_close(y.grad, -eps / sigma)
    torch.testing.assert_close(y.grad, schedule.alpha_bar[n].sqrt() * diffusion.score(schedule, eps, n))


def test_both_forms_of_the_bound_have_the_same_mean():
    torch.manual_seed(0)
    frames = enumerated_frames(9)
    wrong = 0.5 * frames + 0.5 * frames.mean(0)
    found = estimates(Schedule.cosine(5), wrong, frames[torch.randint(len(frames), (4000,))])
    apart = (found["posterior"].mean() - found["consistency"].mean()).item()
    error = ((found["posterior"].var() + found["consistency"].var()) / 4000).sqrt().item()
    assert abs(apart) < 4 * error and error < 0.02 * found["posterior"].mean().abs().item()
    assert found["posterior"].var() < found["consistency"].var()


@pytest.mark.parametrize("linear", [True, False])
def test_a_chain_of_gaussian_steps_is_not_gaussian_where_a_step_is_not_linear(linear):
    """Posterior D: z_2 given z_1 is Gaussian; over all z_1 it is a mixture of Gaussians."""
    torch.manual_seed(0)
    posterior, count = FilterPosterior(2, 1, 1), 4000
    posterior.evidence.weight.data[1:] = 0
    posterior.evidence.bias.data[1:] = 0.5
    first = torch.randn(count, 1)
    mean = first if linear else first + 2 * (3 * first).sin()
    features = torch.tensor([[0.3, -0.2]]).expand(count, -1)
    step = Normal(mean, torch.full_like(mean, 0.2))
    q, _ = posterior(features, step, torch.zeros(count, 1), torch.zeros(count, 0))
    assert (stats.normaltest(q.sample()[:, 0].detach()).pvalue > 0.01) == linear
