import json
import math

import jaxtyping
import numpy as np
import pytest
import torch

from agent.checkpoint import FORMAT_VERSION
from agent.restoration import diffusion
from agent.restoration.denoiser import (
    SKIP_STD,
    Block,
    Denoiser,
    DenoiserConfig,
    check_frames,
    to_frames,
    to_images,
)
from agent.restoration.training import DenoiserTrainer, DenoiserTrainingConfig

pytestmark = pytest.mark.slow

SHAPE = (16, 16, 3)
SMALL = DenoiserConfig(width=16, steps=40)


def squares(count=200, seed=0):
    """Grey frames with a white square of 4 × 4 pixels at any of 169 places."""
    generator = np.random.default_rng(seed)
    frames = np.full((count, *SHAPE), 128, np.uint8)
    for frame, (row, column) in zip(frames, generator.integers(0, 13, (count, 2)), strict=True):
        frame[row : row + 4, column : column + 4] = 255
    return torch.from_numpy(frames)


def every_square():
    frames = np.full((169, *SHAPE), 128, np.uint8)
    for k, frame in enumerate(frames):
        row, column = divmod(k, 13)
        frame[row : row + 4, column : column + 4] = 255
    return torch.from_numpy(frames)


def trainer(updates, seed=0, **settings):
    config = DenoiserTrainingConfig(updates=updates, batch_size=16, **settings)
    return DenoiserTrainer(SHAPE, SMALL, config, seed)


def test_frames_and_images_are_each_others_inverse():
    frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    images = to_images(frames)
    assert images.min() == -1 and images.max() == 1
    assert torch.equal(to_frames(images), frames)


def test_an_untrained_denoiser_trusts_what_it_sees_only_where_there_is_hardly_any_noise():
    """x̂_0 = m + k²/(σ² + k²) (y − m), as F begins at 0."""
    frames = squares()
    denoiser = Denoiser(SHAPE, SMALL)
    denoiser.initialise(frames)
    x0 = to_images(frames)
    y = x0[:3] + 0.7 * torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for n in (1, 5, 20):
        alpha_bar = denoiser.schedule.alpha_bar[n].float()
        noise = ((1 - alpha_bar) / alpha_bar).sqrt()
        found = denoiser(alpha_bar.sqrt() * y, torch.full((3,), n))
        expected = x0.mean(0) + SKIP_STD**2 / (SKIP_STD**2 + noise**2) * (y - x0.mean(0))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_weighted_error_of_the_estimate():
    """With F = 0, and independent pixels of variance s², it can be written down for every step."""
    generator = torch.Generator().manual_seed(0)
    frames = (128 + 20 * torch.randn(4000, 16, 16, 3, generator=generator)).clamp(0, 255).byte()
    denoiser = Denoiser(SHAPE, SMALL)
    denoiser.initialise(frames)
    loss, metrics = denoiser.loss(frames, generator)
    signal, noise = denoiser.image_std.item() ** 2, 1 / denoiser.schedule.snr[1:].numpy()
    skip = SKIP_STD**2 / (SKIP_STD**2 + noise)
    error = (1 - skip) ** 2 * signal + skip**2 * noise
    expected = ((1 / noise + 1 / signal) * error).mean()
    assert loss.item() == pytest.approx(expected, rel=0.01)
    assert (metrics["loss_quiet"] + metrics["loss_noisy"]).item() / 2 == pytest.approx(loss.item())


def test_training_brings_the_denoiser_near_the_exact_one():
    every = to_images(every_square()).flatten(1)
    fresh, untrained = trainer(300, learning_rate=5e-3), Denoiser(SHAPE, SMALL)
    fresh.fit(squares(1000))
    untrained.initialise(squares(1000))
    x0 = to_images(squares(64, seed=1))
    schedule = fresh.averaged.schedule
    generator = torch.Generator().manual_seed(0)
    for std in (0.3, 1.0):
        n = schedule.nearest(std)
        xn = diffusion.diffuse(schedule, x0, n, torch.randn(x0.shape, generator=generator))
        alpha_bar = schedule.alpha_bar[n].item()
        distance = torch.cdist(xn.flatten(1), math.sqrt(alpha_bar) * every).square()
        exact = (-distance / (2 * (1 - alpha_bar))).softmax(1) @ every
        trained, mean = (each.denoise(xn, n).flatten(1) for each in (fresh.averaged, untrained))
        assert (trained - exact).norm() < 0.5 * (mean - exact).norm()


def test_the_bound_adds_up_and_training_lowers_it():
    frames = squares(32)
    before, after = trainer(1), trainer(100, learning_rate=5e-3)
    bounds = []
    for each in (before, after):
        each.fit(squares(500))
        terms = each.averaged.bound(frames, torch.Generator().manual_seed(0))
        parts = terms["prior"] + terms["denoising"] + terms["decoder"]
        assert terms["bound"] == pytest.approx(parts)
        assert terms["bits_per_dimension"] == pytest.approx(parts / (768 * math.log(2)))
        bounds.append(terms["bound"])
    assert bounds[1] < 0.95 * bounds[0]


def test_the_average_is_of_parameters_alone_and_follows_them():
    fresh = trainer(1)
    start = {k: v.clone() for k, v in fresh.averaged.named_parameters()}
    frames = squares()
    fresh.fit(frames)
    for name, average in fresh.averaged.named_parameters():
        raw = dict(fresh.network.named_parameters())[name]
        torch.testing.assert_close(average, start[name].lerp(raw, 1 - 1 / 10))  # (1 + 0)/(10 + 0)
    torch.testing.assert_close(fresh.averaged.mean_image, to_images(frames).mean(0))


def test_a_resumed_training_repeats_an_unbroken_one(tmp_path):
    frames = squares()
    whole = trainer(12)
    whole.fit(frames)

    class Stop(Exception):
        pass

    def stop(updates, metrics):
        if updates == 5:
            raise Stop

    broken = trainer(12)
    with pytest.raises(Stop):
        broken.fit(frames, stop)
    broken.save(tmp_path / "restorer")
    resumed = DenoiserTrainer.load(tmp_path / "restorer")
    assert resumed.updates == 5
    resumed.fit(frames)
    for name, value in whole.averaged.state_dict().items():
        torch.testing.assert_close(resumed.averaged.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Denoiser((60, 64, 3)), r"shape: got \(60, 64, 3\), allowed: .* multiples of 8"),
        (lambda: DenoiserConfig(width=12), "width: got 12"),
        (lambda: DenoiserConfig(steps=1), "steps: got 1"),
        (lambda: DenoiserTrainingConfig(updates=0), "updates: got 0"),
        (lambda: DenoiserTrainingConfig(learning_rate=math.nan), "learning_rate: got nan"),
        (lambda: DenoiserTrainingConfig(decay=1.0), "decay: got 1.0"),
        (lambda: trainer(1).fit(torch.zeros(3, 16, 16, 3)), "frames: got torch.float32"),
        (lambda: trainer(1).fit(torch.zeros(0, 16, 16, 3).byte()), "frames: got torch.uint8"),
    ],
)
def test_bad_input_is_named(make, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would object first
    with pytest.raises(ValueError, match=message):
        make()


def test_another_file_is_not_a_trainer(tmp_path):
    trainer(1).save(tmp_path / "restorer")
    (tmp_path / "restorer" / "config.json").write_text(json.dumps({"format_version": FORMAT_VERSION}))
    with pytest.raises(ValueError, match=r"config.json: .*missing required field"):
        DenoiserTrainer.load(tmp_path / "restorer")


@pytest.mark.parametrize(
    ("updates", "rate"), [(0, 1 / 30), (14, 0.5), (29, 1.0), (60, 0.81), (99, 0.069)]
)
def test_the_learning_rate_warms_up_and_decays(updates, rate):
    """Over 30 updates, and in the second half to a twentieth of the peak."""
    learns = trainer(100, learning_rate=1e-3)
    learns.updates = updates
    learns._update(squares(4), torch.Generator().manual_seed(0))
    (group,) = learns._optimizer.param_groups
    assert group["lr"] == pytest.approx(1e-3 * rate)


@pytest.mark.parametrize(("updates", "decay"), [(0, 0.1), (5, 0.4), (90, 0.6)])
def test_the_average_follows_quickly_at_first(updates, decay):
    learns = trainer(100, decay=0.6)
    learns.updates = updates
    before = [p.clone() for p in learns.averaged.parameters()]
    learns._update(squares(4), torch.Generator().manual_seed(0))
    assert not any(p.requires_grad for p in learns.averaged.parameters())
    for old, average, raw in zip(
        before, learns.averaged.parameters(), learns.network.parameters(), strict=True
    ):
        torch.testing.assert_close(average, old.lerp(raw, 1 - decay))


def test_a_block_begins_as_its_skip_connection_plus_a_bias_whatever_the_level():
    torch.manual_seed(0)
    block = Block(8, 16, size_level=4)
    assert (block.level.weight == 0).all() and (block.level.bias == 0).all()
    x = torch.randn(2, 8, 6, 6)
    expected = block.skip(x) + block.second.bias[:, None, None]
    assert torch.equal(block(x, torch.randn(2, 4)), expected)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, *SHAPE),
        torch.zeros(SHAPE, dtype=torch.uint8),
        torch.zeros(1, 2, *SHAPE, dtype=torch.uint8),
        torch.zeros(2, 16, 8, 3, dtype=torch.uint8),
    ],
)
def test_only_batches_of_frames_of_the_right_shape_are_frames(frames):
    network = Denoiser(SHAPE, SMALL)
    check_frames(network, torch.zeros(2, *SHAPE, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"frames: got .*, allowed: "):
        check_frames(network, frames)


def test_a_block_scales_and_shifts_its_features_as_the_level_says():
    torch.manual_seed(0)
    block, x, level = Block(8, 8, size_level=4), torch.randn(2, 8, 6, 6), torch.randn(2, 4)
    for parameter in (block.second.weight, block.level.weight):
        torch.nn.init.normal_(parameter)
    h = block.norm_out(block.first(torch.nn.functional.silu(block.norm_in(x))))
    scale, shift = (level @ block.level.weight.T).view(2, 2, 8, 1, 1).unbind(1)
    expected = x + block.second(torch.nn.functional.silu(h * (1 + scale) + shift))
    torch.testing.assert_close(block(x, level), expected)
    plain = Block(8, 8)
    assert torch.equal(plain(x), x + plain.second.bias[:, None, None])
