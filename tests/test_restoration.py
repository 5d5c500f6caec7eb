import dataclasses
import json

import gymnasium as gym
import jaxtyping
import numpy as np
import pytest
import torch
from scipy import ndimage

from agent.calibration import Restoration
from agent.checkpoint import FORMAT_VERSION
from agent.gate import ConformalGate
from agent.restoration import diffusion
from agent.restoration.conformal import conformal_threshold
from agent.restoration.critic import CRITIC_STDS, Critic, calibrate
from agent.restoration.denoiser import Denoiser, DenoiserConfig, to_frames, to_images
from agent.restoration.inpainting import inpaint, inpaint_implausible
from agent.restoration.noise import (
    CLEAN_NOISE_STD,
    denoise_frames,
    neighbourhood_median,
    noise_std,
    tweedie,
)
from agent.restoration.restorer import DiffusionRestorer
from robot_room import sensors
from robot_room.rendering import Scene, render


def room_frames(count=40, seed=0):
    robot = np.random.default_rng(seed).uniform(-0.9, 0.9, (count, 2))
    return torch.from_numpy(render(Scene(robot, np.zeros_like(robot))))


def with_noise(frames, std, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = to_images(frames)
    return to_frames(images + std * torch.randn(images.shape, generator=generator))


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2, 0.4])
def test_the_noise_is_estimated_to_a_few_per_cent(std):
    """On a mid-grey floor, to a few per cent a frame."""
    found = noise_std(with_noise(room_frames(), std))
    assert found.mean().item() == pytest.approx(std, rel=0.03)
    assert found.std().item() < max(0.04 * std, 1 / 255)


def test_dead_pixels_are_no_noise():
    frames = room_frames()
    dead = torch.rand(frames.shape[:3], generator=torch.Generator().manual_seed(0)) < 0.1
    for std in (0.0, 0.1):
        noisy = with_noise(frames, std)
        noisy[dead] = 0
        found = noise_std(noisy)
        assert (found < 0.13 if std else found <= CLEAN_NOISE_STD).all()


def test_the_median_is_that_of_another_library():
    images = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, 3, 3), mode="nearest")
    np.testing.assert_array_equal(neighbourhood_median(images).numpy(), expected)


def test_clean_frames_are_given_back_as_they_are():
    frames = room_frames()
    result = denoise_frames(Denoiser((64, 64, 3)), frames)
    assert torch.equal(result.frames, frames) and (result.noise_std <= CLEAN_NOISE_STD).all()


class Exact(Denoiser):
    """The mean over an enumerated set of frames, in place of the network."""

    def __init__(self, frames):
        super().__init__((64, 64, 3), DenoiserConfig(width=8))
        self.frames = to_images(frames).flatten(1)

    def forward(self, xn, n):
        alpha_bar = diffusion.at(self.schedule.alpha_bar, n, xn.flatten(1)).float()
        apart = torch.cdist(xn.flatten(1) / alpha_bar.sqrt(), self.frames).square()
        weights = (-apart * alpha_bar / (2 * (1 - alpha_bar))).softmax(1)
        return (weights @ self.frames).view(xn.shape)


def test_with_the_exact_denoiser_a_noisy_frame_becomes_the_clean_one():
    frames = room_frames(60)
    noisy = with_noise(frames, 0.5)
    mixed = torch.cat([noisy[:10], frames[10:20]])
    result = denoise_frames(Exact(frames), mixed)
    assert (result.frames.int() - frames[:20].int()).abs().max() <= 1
    assert (result.noise_std[:10] > 0.4).all() and (result.noise_std[10:] == 0).all()


class Looking(Denoiser):
    """Remembers what it was given, and answers ten times the frame that it should."""

    def __init__(self):
        super().__init__((64, 64, 3), DenoiserConfig(width=8))

    def forward(self, xn, n):
        self.given = xn, n
        return 10 * xn


def test_a_frame_with_noise_is_scaled_to_the_step_that_has_as_much():
    """(x_0 + σ ε) √ᾱ with ᾱ = 1/(1 + σ²) is a sample of q(x_n | x_0)."""
    looking, images = Looking(), to_images(room_frames(4))
    stds = torch.tensor([0.05, 0.3, 1.0, 4.0])
    result = tweedie(looking, images, stds)
    given, n = looking.given
    alpha_bar = looking.schedule.alpha_bar[n].double()
    torch.testing.assert_close(((1 - alpha_bar) / alpha_bar).sqrt(), stds.double(), rtol=0.05, atol=0)
    expected = images / (1 + stds.view(-1, 1, 1, 1) ** 2).sqrt()
    torch.testing.assert_close(given, expected, rtol=0.05, atol=0)
    torch.testing.assert_close(result, (10 * given).clamp(-1, 1))


def test_missing_pixels_are_filled_and_the_others_kept():
    """The hole hides half of the robot; of all frames only one fits what is left of it."""
    frames = room_frames(60)
    missing = torch.zeros(60, 64, 64, dtype=torch.bool)
    missing[:, :, 20:44] = True
    broken = frames.clone()
    broken[missing] = 7
    generator = torch.Generator().manual_seed(0)
    fixed = inpaint(Exact(frames), broken, missing, 8, generator)
    assert torch.equal(fixed[~missing], frames[~missing])
    seen = (broken != 7).all(-1) & (frames == 255).all(-1)  # some of the robot outside of the hole
    clear = seen.flatten(1).sum(1) > 20
    assert clear.sum() > 20
    assert ((fixed[clear].int() - frames[clear].int()).abs() <= 1).float().mean() > 0.999


def occluded(frames, row=20, column=30, side=26):
    hidden = frames.clone()
    hidden[:, row : row + side, column : column + side] = 0
    return hidden


def test_with_the_exact_denoiser_what_an_occluder_leaves_is_mended():
    """Where enough of the robot is to be seen, only one frame fits."""
    frames = room_frames(60)
    hidden = occluded(frames)
    exact = Exact(frames)
    guesses = exact.denoise(
        diffusion.diffuse(exact.schedule, to_images(hidden), 120, _noise(hidden)), 120
    )
    fixed, replaced = inpaint_implausible(exact, hidden, guesses)
    seen = (hidden == 255).all(-1).flatten(1).sum(1) >= 25  # of 25 to 36
    assert seen.sum() > 20
    assert ((fixed[seen].int() - frames[seen].int()).abs() <= 1).all()
    torch.testing.assert_close(replaced[seen], torch.full_like(replaced[seen], 26**2 / 64**2))


def test_inpainting_keeps_what_is_there_and_looks_twice_at_what_is_not():
    """A pixel that is there is not quite what the model would say; the first guess has a veil on it."""
    frames = room_frames(60)
    hidden = occluded(frames)
    hidden[:, 5, 5] = 110
    guesses = to_images(frames) + 0.1
    fixed, _ = inpaint_implausible(Exact(frames), hidden, guesses)
    there = torch.ones(64, 64, dtype=torch.bool)
    there[20:46, 30:56] = False
    assert torch.equal(fixed[:, there], hidden[:, there])
    assert ((fixed.int() - frames.int()).abs() <= 1)[:, ~there].all()


def _noise(frames):
    shape = to_images(frames).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_frames_that_the_guess_agrees_with_are_not_touched():
    frames = room_frames(5)
    same, replaced = inpaint_implausible(Exact(frames), frames, to_images(frames))
    assert torch.equal(same, frames) and (replaced == 0).all()


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_the_cameras_own_noise_is_found(severity):
    """At severity 3 the camera begins to clip, and a tenth less is found than was added."""
    env = gym.make("RobotRoomNoisyCamera-v0", corruption="gaussian", severity=severity)
    frames = torch.from_numpy(np.stack([env.reset(seed=seed)[0] for seed in range(20)]))
    expected = sensors.SEVERITIES["gaussian"][severity - 1] / 127.5
    assert noise_std(frames).median().item() == pytest.approx(
        expected, rel=0.1 if severity == 3 else 0.05
    )
    env.close()


class Blurring(Denoiser):
    """A cheap denoiser that is far from exact: means over 8 × 8 pixels. Its errors still tell."""

    def __init__(self):
        super().__init__((64, 64, 3), DenoiserConfig(width=8))

    def forward(self, xn, n):
        alpha_bar = diffusion.at(self.schedule.alpha_bar, n, xn).float()
        y = xn / alpha_bar.sqrt()
        coarse = torch.nn.functional.avg_pool2d(y, 8)
        return torch.nn.functional.interpolate(coarse, scale_factor=8)


def episodes(count, seed, length=8):
    generator = np.random.default_rng(seed)
    walks = generator.uniform(-0.9, 0.9, (count, 1, 2)) + np.cumsum(
        generator.uniform(-0.1, 0.1, (count, length, 2)), 1
    )
    walks = walks.clip(-0.9, 0.9).reshape(-1, 2)
    frames = render(Scene(walks, np.zeros_like(walks)))
    return list(torch.from_numpy(frames).view(count, length, 64, 64, 3))


@pytest.fixture(scope="module")
def critic():
    return calibrate(Blurring(), episodes(200, seed=0), 0.05, torch.Generator().manual_seed(0))


def test_clean_frames_of_new_episodes_are_accused_as_seldom_as_promised(critic):
    scores = critic.score(torch.cat(episodes(100, seed=1)))
    share = (scores > critic.threshold).float().mean().item()
    assert share < 0.05 + 0.05  # the promise, and three standard errors of a calibration by 100


def test_frames_that_cannot_be_are_told_from_those_that_can(critic):
    clean = torch.cat(episodes(20, seed=2))
    empty = clean.clone()
    empty[(clean == 255).all(-1)] = 128
    both = torch.maximum(clean, clean.flip(1, 2))
    both[:, :, :, 1:] = torch.where(both[..., :1] == 255, both[..., 1:], clean[..., 1:])
    # (This denoiser sees a room through 8 × 8 pixels; a robot is smaller.)
    for frames, least in ((empty, 0.8), (torch.zeros_like(clean), 0.9), (with_noise(clean, 1.0), 0.9)):
        assert (critic.score(frames) > critic.threshold).float().mean() > least
    alone = (clean.flip(1, 2) == 255).all(-1).flatten(1).any(1)
    assert (critic.score(both)[alone] > critic.threshold).float().mean() > 0.5


def test_the_threshold_is_the_promised_order_statistic():
    generator = torch.Generator().manual_seed(3)
    some = episodes(60, seed=4, length=1)  # one frame each: there is nothing to draw
    critic = calibrate(Blurring(), some, 0.1, generator)
    scores = sorted(critic.score(torch.cat(some[1::2])).tolist())
    assert critic.threshold == pytest.approx(scores[28 - 1])  # ⌈31 · 0.9⌉ = 28
    assert isinstance(critic, Critic)


def test_promises_that_cannot_be_kept_are_refused():
    few = episodes(37, seed=0, length=1)
    with pytest.raises(ValueError, match=r"episodes: got 37, allowed: at least 38 for .* 0.05"):
        calibrate(Blurring(), few, 0.05)
    calibrate(Blurring(), episodes(38, seed=0, length=1), 0.05)
    with pytest.raises(ValueError, match="false_alarms: got 0"):
        calibrate(Blurring(), few, 0.0)
    with pytest.raises(ValueError, match=r"episodes: got 0, allowed: at least 18 for .* 0.1"):
        conformal_threshold(torch.zeros(0), 0.1)


# ---- all of it -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restorer():
    """With the exact denoiser of the very episodes that it is asked about."""
    some = episodes(60, seed=5)
    exact = Exact(torch.cat(some))
    return DiffusionRestorer(calibrate(exact, some, 0.05, torch.Generator().manual_seed(0)))


def test_looking_leaves_clean_frames_alone_and_mends_the_others(restorer):
    clean = torch.cat(episodes(60, seed=5)[:5])
    restored = restorer.restore(clean)
    assert torch.equal(restored.frames, clean) and restored.plausible.float().mean() > 0.9
    hidden = occluded(clean, 0, 0, 20)
    whole = torch.ones(len(clean), dtype=torch.bool)
    visible = (hidden == 255).all(-1).flatten(1).sum(1) > 12
    for broken, seen in ((with_noise(clean, 0.6), whole), (hidden, visible)):
        restored = restorer.restore(broken)
        assert (restored.frames[seen].int() - clean[seen].int()).abs().float().mean() < 1
        assert restored.plausible[seen].float().mean() > 0.9
    dark = restorer.restore(torch.zeros_like(clean))
    assert not dark.plausible.any() and (dark.doubt == torch.inf).all()
    assert set(restorer.restore(clean).doubt.tolist()) <= {0.0, torch.inf}


def test_a_restorer_that_does_not_clean_only_judges(restorer):
    clean = torch.cat(episodes(60, seed=5)[:3])
    blind = dataclasses.replace(restorer, cleans=False)
    noisy = with_noise(clean, 0.6)
    restored = blind.restore(noisy)
    assert torch.equal(restored.frames, noisy) and not restored.plausible.any()
    torch.testing.assert_close(restored.score, restorer.critic.score(noisy))


def test_the_guess_that_inpainting_starts_from_is_made_at_a_noise_of_one(restorer):
    assert CRITIC_STDS[-1] == 1.0
    clean = torch.cat(episodes(60, seed=5)[:2])
    _, guesses = restorer.critic.judge(clean)
    n = restorer.critic.denoiser.schedule.nearest(1.0)
    eps = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    xn = diffusion.diffuse(
        restorer.critic.denoiser.schedule, to_images(clean), n, eps.expand(16, 3, 64, 64)
    )
    torch.testing.assert_close(guesses, restorer.critic.denoiser.denoise(xn, n))


def test_a_saved_restorer_sees_as_before(tmp_path):
    critic = calibrate(Denoiser((64, 64, 3)), episodes(60, seed=6), 0.05, None)
    restoration = Restoration(DiffusionRestorer(critic), ConformalGate(12.5), "somebody")
    restoration.save(tmp_path / "restorer")
    again = Restoration.load(tmp_path / "restorer")
    noisy = with_noise(room_frames(6), 0.5)
    for a, b in zip(restoration.restorer.restore(noisy), again.restorer.restore(noisy), strict=True):
        assert torch.equal(a, b)
    assert again.gate == restoration.gate and again.calibrated_on == "somebody"
    assert again.restorer.critic.threshold == critic.threshold
    (tmp_path / "restorer" / "config.json").write_text(json.dumps({"format_version": FORMAT_VERSION}))
    with pytest.raises(ValueError, match=r"config.json: .*missing required field"):
        Restoration.load(tmp_path / "restorer")


def test_conformal_thresholds_keep_their_promise_on_average():
    """P(new score > threshold) ≤ α exactly where scores are exchangeable: 2,000 calibrations."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(2000, 40, generator=generator)
    accused = [
        float(new > conformal_threshold(known, 0.1))
        for known, new in zip(scores[:, :39], scores[:, 39], strict=True)
    ]
    assert np.mean(accused) == pytest.approx(0.1, abs=3 * np.sqrt(0.09 / 2000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d, f: denoise_frames(d, f.float()),
            r"frames: got torch.float32 \(2, 64, 64, 3\), allowed: ",
        ),
        (lambda d, f: denoise_frames(d, f[:, :32]), r"frames: got torch.uint8 \(2, 32, 64, 3\)"),
        (lambda d, f: denoise_frames(d, f[0]), r"frames: got torch.uint8 \(64, 64, 3\)"),
        (lambda d, f: inpaint(d, f[:, :, :8], f[..., 0] > 0), "frames: got torch.uint8"),
        (lambda d, f: inpaint(d, f, f[..., 0] > 0, 500), "count: got 500, allowed: 1 to 200"),
        (lambda d, f: inpaint(d, f, f > 0), r"\(2, 64, 64, 3\), allowed: torch.bool \(2, 64, 64\)$"),
        (lambda d, f: inpaint(d, f, f[..., 0]), "missing: got torch.uint8"),
        (lambda d, f: Critic(d, f, f, 0.0).score(f.float()), "frames: got torch.float32"),
        (lambda d, f: d.denoise(to_images(f), 0), "n: got 0, allowed: 1 to 200"),
        (
            lambda d, f: d.denoise(to_images(f), 201),
            "n: got 201, allowed: 1 to 200",
        ),
    ],
)
def test_bad_input_is_named(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would object first
    with pytest.raises(ValueError, match=message):
        call(Denoiser((64, 64, 3)), room_frames(2))
