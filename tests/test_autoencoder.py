"""The blind restorer: what it learns from, how it restores, and how far it is to be doubted."""

import jaxtyping
import numpy as np
import pytest
import torch
from scipy import ndimage
from test_agent import SMALL
from test_restoration import room_frames

from agent import Agent, calibration
from agent.calibration import Restoration, calibrate_restorer
from agent.distributions import Normal
from agent.gate import SoftGate
from agent.restoration import degradation
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.degradation import OPERATORS, degraded
from agent.restoration.denoiser import to_images
from agent.restoration.harm import Harm, fit_harm, relative_error
from agent.restoration.restorer import BlindRestorer
from agent.restoration.training import AutoencoderTrainer, AutoencoderTrainingConfig, DenoiserTrainer


def images(count=40):
    return to_images(room_frames(count))


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_is_a_function_of_its_generator_and_changes_no_input(operator):
    clean = images(6)
    before = clean.clone()
    first, again = operator(clean, random(1)), operator(clean, random(1))
    assert torch.equal(first, again) and torch.equal(clean, before)
    assert not torch.equal(first, clean) and not torch.equal(first, operator(clean, random(2)))
    assert first.shape == clean.shape


def test_operators_do_what_they_say():
    clean = images(60)
    added = (degradation.noise(clean, random()) - clean).flatten(1)
    stds = added.std(1)
    assert 0.05 * 0.98 < stds.min() < 0.1 and 1 < stds.max() < 1.5 * 1.02
    assert stds.log().mean().item() == pytest.approx(np.log(0.05 * 1.5) / 2, abs=0.3)
    stuck = degradation.stuck_pixels(clean, random())
    changed = (stuck != clean).any(1)
    assert (stuck.abs().amin(1)[changed] == 1).all()
    assert changed.float().mean().item() == pytest.approx(0.25, abs=0.05)
    moved = degradation.offset(clean, random()) - clean
    assert moved.flatten(2).std(2).max() < 1e-5 and moved.abs().max() <= 0.9
    hidden = (degradation.rectangles(clean, random()) != clean).any(1).float().mean((1, 2))
    assert 0 < hidden.min() and 0.3 < hidden.max() < 0.8


def test_a_blur_is_a_separable_convolution():
    """One image, so that its two stds can be found; scipy's filter of the same stds."""
    clean = images(1)
    blurred = degradation.blur(clean, random(4))
    generator = random(4)
    stds = [0.3 + 3.7 * torch.rand((), generator=generator).item() for _ in range(2)]
    expected = clean.numpy()
    for axis, std in zip((2, 3), stds, strict=True):
        radius = int(np.ceil(2.5 * std))
        expected = ndimage.gaussian_filter1d(expected, std, axis, mode="nearest", radius=radius)
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-5)


def test_some_images_stay_clean_and_some_turn_black():
    clean = torch.rand(1, 3, 16, 16, generator=random(9)).expand(3000, -1, -1, -1)
    seen = degraded(clean, random())
    assert seen.min() >= -1 and seen.max() <= 1
    same = (seen == clean).flatten(1).all(1).float().mean().item()
    black = (seen == -1).flatten(1).all(1).float().mean().item()
    assert same == pytest.approx(0.1, abs=0.03) and black >= 0.01


# ---- the network -----------------------------------------------------------------------------------

SHAPE = (16, 16, 3)


def squares(count=300, seed=0):
    """Grey frames with a white square of 4 × 4 pixels at any of 169 places."""
    generator = np.random.default_rng(seed)
    frames = np.full((count, *SHAPE), 128, np.uint8)
    for frame, (row, column) in zip(frames, generator.integers(0, 13, (count, 2)), strict=True):
        frame[row : row + 4, column : column + 4] = 255
    return torch.from_numpy(frames)


@pytest.fixture(scope="module")
def learned():
    config = AutoencoderTrainingConfig(updates=200)
    trainer = AutoencoderTrainer(SHAPE, AutoencoderConfig(width=16), config, seed=0)
    trainer.fit(squares())
    return trainer.averaged


def test_an_untrained_autoencoder_gives_the_mean_frame():
    frames = squares(20)
    network = Autoencoder(SHAPE, AutoencoderConfig(width=8))
    network.initialise(frames)
    restored = network.read(torch.randn(3, 3, 16, 16, generator=random())).images
    expected = to_images(frames).mean(0).expand(3, -1, -1, -1)
    torch.testing.assert_close(restored, expected)


def test_it_removes_what_it_was_not_told_about(learned):
    """Noise, an offset and stuck pixels, on frames that it has not seen: at least half of the error."""
    clean = to_images(squares(60, seed=1))
    scale = (clean - learned.mean_image).square().mean()
    for operator in (degradation.noise, degradation.offset, degradation.stuck_pixels):
        seen = operator(clean, random(3)).clamp(-1, 1)
        left = (learned.read(seen).images - clean).square().mean()
        assert left < 0.5 * (seen - clean).square().mean() and left < scale
    left = (learned.read(clean).images - clean).square().mean()
    assert left < 0.2 * scale


def test_training_resumes_and_other_networks_are_refused(tmp_path):
    config = AutoencoderTrainingConfig(updates=4, batch_size=4)
    sizes = AutoencoderConfig(width=8, degradation="noise")
    whole = AutoencoderTrainer(SHAPE, sizes, config, seed=1)
    whole.fit(squares(20))
    halves = AutoencoderTrainer(SHAPE, sizes, AutoencoderTrainingConfig(updates=2, batch_size=4), 1)
    halves.fit(squares(20))
    halves.save(tmp_path / "half")
    again = AutoencoderTrainer.load(tmp_path / "half", updates=4)
    again.fit(squares(20))
    assert again.averaged.config == sizes
    for a, b in zip(whole.averaged.parameters(), again.averaged.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="half: got no checkpoint of a denoiser"):
        DenoiserTrainer.load(tmp_path / "half")
    with pytest.raises(ValueError, match=r"shape: got \(24, 16, 3\), allowed: .* multiples of 16"):
        Autoencoder((24, 16, 3))


# ---- harm ------------------------------------------------------------------------------------------


def test_the_relative_error_is_a_mean_of_squares():
    told = Normal(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 1.0]]))
    true = Normal(torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 9.0]]))
    assert relative_error(told, true).item() == pytest.approx((4 + 4) / 2)


def test_doubt_is_the_variance_that_makes_the_errors_likely():
    """Two kinds of frame, told apart by one number: h must be each kind's mean squared error less 1."""
    generator = random()
    kind = torch.randint(0, 2, (4000,), generator=generator)
    summary = torch.stack([kind.float(), torch.randn(4000, generator=generator)], 1)
    spread = torch.where(kind == 1, 30.0, 3.0)
    error = (spread[:, None] * torch.randn(4000, 8, generator=generator).square()).mean(1)
    harm = fit_harm(summary, error, 8)
    for which, expected in ((0, 2.0), (1, 29.0)):
        found = harm(summary[kind == which]).mean().item()
        assert found == pytest.approx(expected, rel=0.15)
    far = harm(torch.tensor([[100.0, 0.0]])).item()  # nothing like it was seen: no extrapolation
    assert far <= np.exp(10)


@pytest.mark.slow
def test_calibrated_on_an_agent_it_doubts_black_frames_more_than_clean_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "HARM_FRAMES", 400)
    agent = Agent("RobotRoom-v0", SMALL).learn(60)
    frames = torch.from_numpy(np.stack([f for e in agent.replay.episodes for f in e.frames]))
    config = AutoencoderTrainingConfig(updates=60, batch_size=16)
    trainer = AutoencoderTrainer((64, 64, 3), AutoencoderConfig(width=8), config)
    trainer.fit(frames)
    restoration = calibrate_restorer(agent, trainer.averaged, 18, 0.1)
    assert isinstance(restoration.restorer, BlindRestorer) and restoration.gate == SoftGate()
    clean = restoration.restorer.restore(frames[:20])
    black = restoration.restorer.restore(torch.zeros_like(frames[:20]))
    assert black.doubt.median() > 2 * clean.doubt.median()
    restoration.save(tmp_path / "restorer")
    again = Restoration.load(tmp_path / "restorer")
    first, second = (each.restorer.restore(frames[:4]) for each in (restoration, again))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert again.gate == restoration.gate and again.calibrated_on == restoration.calibrated_on
    restoration.attach(agent)
    action, _ = agent.predict(frames[0].numpy())
    assert np.isfinite(action).all()


def test_bad_frames_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="degradation: got 'fog', allowed: "):
        AutoencoderConfig(degradation="fog")  # pyright: ignore[reportArgumentType]
    network = Autoencoder(SHAPE, AutoencoderConfig(width=8))
    blind = BlindRestorer(network, Harm(network.summary_size))
    with pytest.raises(ValueError, match=r"frames: got torch.float32 \(2, 16, 16, 3\), allowed: "):
        blind.restore(torch.zeros(2, *SHAPE))
