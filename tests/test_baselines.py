"""The baselines learn from pixels, each with every setting that tuning tries."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.comparison.baselines import (
    CLASSES,
    SETTINGS,
    SHIFT,
    NormedCnn,
    ShiftedReplay,
    SmallCnn,
    _shifted,
    make,
)

pytestmark = pytest.mark.slow


def test_every_algorithm_has_settings_enough():
    assert tuple(SETTINGS) == tuple(CLASSES)
    assert all(len(settings) >= 5 for settings in SETTINGS.values())
    for settings in SETTINGS.values():
        assert len({setting.describe() for setting in settings.values()}) == len(settings)


def test_short_episodes_end_by_truncation():
    model = make("ppo", SETTINGS["ppo"]["γ 0.97, short episodes"], "RobotRoom-v0", 0)
    env = model.get_env()
    env.reset()
    for step in range(1, 11):
        _, _, done, infos = env.step(np.zeros((8, 2), np.float32))
        assert done.all() == (step == 10)
    assert all(info["TimeLimit.truncated"] for info in infos)  # so that values are bootstrapped


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_every_setting_makes_a_policy_for_frames(algorithm):
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    for setting in SETTINGS[algorithm].values():
        small = {"buffer_size": 600} if "buffer_size" in setting.arguments else {}
        model = make(
            algorithm,
            replace(setting, arguments=setting.arguments | small),
            "RobotRoom-v0",
            0,
        )
        actions, _ = model.predict(frames, deterministic=True)
        assert actions.shape == (3, 2) and (np.abs(actions) <= 1).all()
        assert (algorithm == "drq-sac") == isinstance(
            getattr(model, "replay_buffer", None), ShiftedReplay
        )


@pytest.mark.parametrize("channels", [3, 6])
def test_normed_features_tell_frames_apart_where_plain_ones_hardly_do(channels):
    torch.manual_seed(0)
    space = gym.spaces.Box(0, 255, (channels, 64, 64), np.uint8)
    frames = torch.full((40, channels, 64, 64), 0.1)
    for number, frame in enumerate(frames):  # a white robot in 40 places
        frame[:, number : number + 5, 30:35] = 1
    with torch.no_grad():
        normed, plain = NormedCnn(space)(frames), SmallCnn(space)(frames)
    before = torch.atanh(normed).double()
    np.testing.assert_allclose(before.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(before.var(1, correction=0), 1, atol=0.02)  # but for LayerNorm's epsilon
    assert normed.std(0).mean() > 10 * plain.std(0).mean()


def test_shifts_move_an_image_by_whole_pixels_and_repeat_its_edges():
    torch.manual_seed(0)
    image = torch.arange(20 * 20).view(1, 1, 20, 20).float()
    seen = set()
    for moved in _shifted(image.repeat(400, 1, 1, 1)):
        row, column = divmod(int(moved[0, 10, 10]), 20)
        down, right = row - 10, column - 10
        expected = np.pad(image[0, 0].numpy(), SHIFT, mode="edge")
        top, left = SHIFT + down, SHIFT + right
        np.testing.assert_array_equal(moved[0], expected[top : top + 20, left : left + 20])
        seen.add((down, right))
    assert len(seen) == (2 * SHIFT + 1) ** 2  # every shift has come up


def test_unknown_algorithms_are_named():
    with pytest.raises(ValueError, match="algorithm: got 'dqn', allowed"):
        make("dqn", SETTINGS["ppo"]["γ 0.9"], "RobotRoom-v0", 0)
