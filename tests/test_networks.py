import numpy as np
import pytest
import torch

from agent.networks import SHARPNESS, KeypointEncoder, SeparableDecoder, ridge
from robot_room import rendering


def room_frames(count, seed=0):
    positions = np.random.default_rng(seed).uniform(-0.9, 0.9, (count, 2))
    frames = (
        torch.from_numpy(rendering.render(rendering.Scene(positions, np.zeros((count, 2))))).float()
        / 255
    )
    return frames - frames.mean(0), positions


@pytest.mark.parametrize("shape", [(64, 64, 3), (20, 34, 1)])
def test_squared_error_is_that_of_the_painted_image(shape):
    torch.manual_seed(0)
    decoder = SeparableDecoder(shape, latents=5, rank=4, width=16).double()
    z = torch.randn(7, 5, dtype=torch.float64)
    frames = torch.rand(7, *shape, dtype=torch.float64)
    expected = (decoder(z) - frames).square().sum((1, 2, 3))
    torch.testing.assert_close(decoder.squared_error(z, frames), expected)


def test_its_gradient_is_that_of_the_painted_image():
    torch.manual_seed(0)
    decoder = SeparableDecoder((16, 16, 3), latents=5, rank=4, width=16).double()
    z = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    frames = torch.rand(3, 16, 16, 3, dtype=torch.float64)
    fast = torch.autograd.grad(decoder.squared_error(z, frames).sum(), z)[0]
    slow = torch.autograd.grad((decoder(z) - frames).square().sum(), z)[0]
    torch.testing.assert_close(fast, slow)


def test_initialised_features_are_white():
    torch.manual_seed(0)
    encoder = KeypointEncoder((64, 64, 3), maps=16, features=4)
    frames, _ = room_frames(500)
    encoder.initialise(frames)
    features = encoder(frames)
    torch.testing.assert_close(features.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    covariance = torch.cov(features.T)
    off_diagonal = covariance - torch.diag(covariance.diag())
    assert off_diagonal.abs().max() < 0.02
    assert (covariance.diag() > 0.8).all() and (covariance.diag() < 1.02).all()


def test_an_initialised_encoder_tells_the_position_before_any_learning():
    torch.manual_seed(0)
    encoder = KeypointEncoder((64, 64, 3), maps=16, features=16)
    frames, positions = room_frames(1500)
    encoder.initialise(frames[:500])
    with torch.no_grad():
        features = encoder(frames).double().numpy()
    inputs = np.c_[features, np.ones(len(features))]
    weights = np.linalg.lstsq(inputs[:500], positions[:500], rcond=None)[0]
    error = np.sqrt(np.mean((inputs[500:] @ weights - positions[500:]) ** 2))
    assert error < 0.10  # m; a predictor that knows nothing has 0.52


@pytest.mark.parametrize("shape", [(64, 64, 3), (65, 47, 1), (16, 16, 6)])
def test_any_image_can_be_read_and_painted(shape):
    torch.manual_seed(0)
    encoder = KeypointEncoder(shape, maps=8, features=8)
    frames = torch.rand(20, *shape)
    encoder.initialise(frames)
    features = encoder(frames)
    assert features.shape == (20, 8) and torch.isfinite(features).all()
    assert SeparableDecoder(shape, 8, 2, 16)(features).shape == (20, *shape)


def test_frames_that_never_change_do_not_break_initialisation():
    encoder = KeypointEncoder((32, 32, 3), maps=8, features=8)
    encoder.initialise(torch.zeros(50, 32, 32, 3))
    assert torch.isfinite(encoder(torch.zeros(2, 32, 32, 3))).all()


def test_ridge_regression_minimises_its_penalised_squares():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    for strength in (1e-4, 0.5):
        # The same by least squares, with a row for each weight that is to be small.
        rows = (strength * inputs.square().mean() * 40) ** 0.5 * torch.eye(5, dtype=torch.float64)
        stacked = torch.cat([inputs, rows]), torch.cat([targets, torch.zeros(5, 2)])
        expected = torch.linalg.lstsq(*stacked).solution
        torch.testing.assert_close(ridge(inputs, targets, strength), expected)
    torch.testing.assert_close(ridge(inputs, targets), ridge(inputs, targets, 1e-4))


def test_keypoints_are_expected_positions_and_activations_under_a_softmax():
    torch.manual_seed(0)
    encoder = KeypointEncoder((12, 20, 3), maps=2, features=4)
    logits = torch.randn(3, 2, 3, 5)  # maps over patches of 4 × 4 pixels
    keypoints = encoder._keypoints(logits)
    for n in range(3):
        rows, columns, activations = [], [], []
        for each in logits[n].double().numpy():
            weights = np.exp(each) / np.exp(each).sum()
            rows.append((weights * np.linspace(-1, 1, 3)[:, None]).sum())
            columns.append((weights * np.linspace(-1, 1, 5)).sum())
            activations.append((weights * each).sum() / (2 * SHARPNESS))
        expected = torch.tensor([*rows, *columns, *activations]).float()
        torch.testing.assert_close(keypoints[n], expected, atol=1e-5, rtol=0)


def test_frames_are_padded_below_and_on_the_right():
    torch.manual_seed(0)
    odd, even = KeypointEncoder((6, 5, 3), 2, 4), KeypointEncoder((8, 8, 3), 2, 4)
    even.load_state_dict(odd.state_dict())
    even.pad = (0, 0, 0, 0)
    frames = torch.randn(3, 6, 5, 3)
    padded = torch.zeros(3, 8, 8, 3)
    padded[:, :6, :5] = frames
    torch.testing.assert_close(odd(frames), even(padded))


def test_features_begin_by_telling_what_is_not_known_already():
    torch.manual_seed(0)
    encoder = KeypointEncoder((64, 64, 3), maps=8, features=8)
    frames, _ = room_frames(600)
    robot = (frames.min(-1).values > 0.3).float()  # it is white
    steps, mass = torch.linspace(-1, 1, 64), robot.sum((1, 2)).clamp(min=1)
    known = torch.stack([robot.sum(2) @ steps / mass, robot.sum(1) @ steps / mass], 1)
    shared = []
    for begin in (encoder.initialise, lambda frames: encoder.initialise(frames, known + 3)):
        with torch.no_grad():
            begin(frames)
            features = encoder(frames)
        torch.testing.assert_close(features.mean(0), torch.zeros(8), atol=2e-3, rtol=0)
        correlations = torch.corrcoef(torch.cat([known, features], 1).T)[:2, 2:]
        shared.append(correlations.abs().max().item())
    # Features of all keypoints still tell it, as weights are for keypoints with what is known in them.
    left = features - known_part(features, known)
    assert shared[0] > 0.5
    assert (left.std(0) > 0.5).all()  # and there is much that they tell beside it


def known_part(features, known):
    """What a linear function of the known numbers explains of features."""
    inputs = torch.cat([known, torch.ones(len(known), 1)], 1)
    return inputs @ torch.linalg.lstsq(inputs, features).solution
