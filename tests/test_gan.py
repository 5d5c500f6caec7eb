"""The GAN's theory against known densities, and a small one that learns frames."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from benchmarks.camera.gan import Gan, GanConfig, generator_loss, gradient_penalty, value

SHAPE = (16, 16, 3)


def jensen_shannon(apart, std=1.0):
    """JSD of N(0, s²) and N(apart, s²) in nats, by quadrature."""

    def density(x):
        p, q = (float(stats.norm.pdf(x, place, std)) for place in (0, apart))
        middle = (p + q) / 2
        return sum(each / 2 * math.log(each / middle) for each in (p, q) if each > 0)

    return integrate.quad(density, -9 * std, apart + 9 * std, limit=200)[0]


def normals(count=200_000, apart=0.0, std=1.0):
    """Evenly spaced quantiles: a sample without sampling noise."""
    places = (np.arange(count) + 0.5) / count
    return torch.from_numpy(stats.norm(apart, std).ppf(places))


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0])
def test_the_best_discriminator_is_worth_minus_two_log_two_and_twice_the_jsd(apart):
    """l = log p_r/p_g of two normal densities is linear in x, so gradient ascent on V can find it."""
    real, fake = normals(20_000), normals(20_000, apart)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def played():
        return value(line[0] + line[1] * real, line[0] + line[1] * fake)

    def closure():
        optimiser.zero_grad()
        loss = -played()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert played().item() == pytest.approx(-2 * math.log(2) + 2 * jensen_shannon(apart), abs=1e-3)
    # D* = p_r/(p_r + p_g): log p_r − log p_g = apart²/2 − apart · x.
    assert line.tolist() == pytest.approx([apart**2 / 2, -apart], abs=0.02)


def pull(apart, loss, std=1.0):
    """|d/d apart| of the generator's loss at the best discriminator of N(0, s²) and N(apart, s²)."""
    place = torch.tensor(apart, dtype=torch.float64, requires_grad=True)
    fake = normals(std=std) + place
    logits = (apart**2 / 2 - apart * fake) / std**2  # D is held fixed
    generator_loss(logits, loss).backward()
    return abs(place.grad.item())  # pyright: ignore[reportOptionalMemberAccess]


def test_the_minimax_gradient_is_that_of_the_jsd():
    step = 1e-4
    slope = 2 * (jensen_shannon(1 + step) - jensen_shannon(1 - step)) / (2 * step)
    assert pull(1.0, "minimax") == pytest.approx(slope, rel=1e-3)


def test_the_minimax_gradient_vanishes_where_the_densities_do_not_overlap():
    assert pull(12.0, "minimax") < 1e-6
    assert pull(12.0, "non-saturating") > 1


def test_noise_on_both_brings_it_back():
    assert pull(12.0, "minimax", std=math.hypot(1, 6)) > 1e4 * pull(12.0, "minimax")


def test_the_penalty_bounds_the_slope_of_the_discriminator():
    """max V − γ/2 slope² over lines, for two points: the optimum is a scalar equation."""
    real, fake = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 8.0)
    params = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.LBFGS([params], max_iter=100, line_search_fn="strong_wolfe")
    gamma = 1.0
    seen = real.clone().requires_grad_()

    def closure():
        optimiser.zero_grad()
        bias, weight = params
        logits = bias + weight * seen.flatten(1).sum(1)
        found = value(logits, bias + weight * fake.flatten(1).sum(1))
        loss = -found + gamma / 2 * gradient_penalty(logits, seen)
        loss.backward()
        return loss

    optimiser.step(closure)
    bias, weight = params.tolist()
    # By symmetry l(0) = −l(8) = bias = −4 weight; stationary: 8 (1 − sigmoid(bias)) = −γ weight.
    assert bias == pytest.approx(-4 * weight, abs=1e-3)
    assert 8 / (1 + math.exp(bias)) == pytest.approx(-gamma * weight, rel=1e-2)
    # Without the penalty the slope grows for ever; with it the minimax gradient stays.
    assert weight / (1 + math.exp(bias)) < -0.01


def squares(count=200, seed=0):
    """Grey frames with a white square of 4 × 4 pixels at any of 169 places."""
    generator = np.random.default_rng(seed)
    frames = np.full((count, *SHAPE), 128, np.uint8)
    for frame, (row, column) in zip(frames, generator.integers(0, 13, (count, 2)), strict=True):
        frame[row : row + 4, column : column + 4] = 255
    return torch.from_numpy(frames)


@pytest.fixture(scope="module")
def learned():
    gan, frames = Gan(SHAPE, GanConfig(width=16), seed=0), squares()
    gan.initialise(frames)
    metrics = [gan.update(frames) for _ in range(400)]
    return gan, metrics[-1]


def test_it_learns_to_draw_one_square(learned):
    gan, metrics = learned
    frames = gan.sample(100)
    assert frames.shape == (100, *SHAPE) and frames.dtype == torch.uint8
    area = (frames.float().mean(-1) > 192).flatten(1).sum(1)
    assert ((area >= 10) & (area <= 24)).float().mean() > 0.35  # 16 pixels; at first none
    assert -2 * math.log(2) - 0.1 < metrics["value"] < 0


def test_the_nearest_image_that_it_makes_is_found(learned):
    gan, _ = learned
    frames = gan.sample(5)
    found, error = gan.invert(frames, steps=150)
    noise = torch.randint(0, 255, frames.shape, generator=torch.Generator().manual_seed(0))
    _, far = gan.invert(noise.to(torch.uint8), steps=30)
    assert (found.float() - frames.float()).abs().mean() < 8 and error.max() < far.min() / 4


def test_training_is_repeatable_and_bad_shapes_are_refused():
    frames, drawn = squares(20), []
    for _ in range(2):
        gan = Gan(SHAPE, GanConfig(width=8, batch_size=4), seed=3)
        gan.initialise(frames)
        gan.update(frames)
        drawn.append(gan.sample(2))
    assert torch.equal(*drawn)
    with pytest.raises(ValueError, match=r"shape: got \(12, 16, 3\), allowed: H and W multiples of 8"):
        Gan((12, 16, 3))
