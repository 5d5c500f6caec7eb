"""Positions are linear functions of where things are, and only of what can be foreseen."""

import numpy as np
import pytest
import scipy.linalg
import torch

from agent import positions as module
from agent.positions import Positions

SIDE, EPISODES, STEPS = 32, 12, 20


def covered(places, width, side=SIDE):
    """The share of each pixel, (N, side, side), that squares cover; places (N, 2) from 0 to 1."""
    edges = np.arange(side) / side
    low = places[:, :, None] * (1 - width)
    share = np.minimum(low + width, edges + 1 / side) - np.maximum(low, edges)
    row, column = np.moveaxis((share * side).clip(0, 1), 1, 0)
    return row[:, :, None] * column[:, None, :]


def courses(rng, things=1):
    """Places (B, T, things, 2) from 0 to 1 of things that swing, each at its own speed."""
    time = np.arange(STEPS)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (EPISODES, 1, things, 2))
    speed = rng.uniform(0.2, 0.4, (EPISODES, 1, things, 2))
    return 0.5 + 0.4 * np.sin(phase + speed * time)


def drawn(places, colours, side=SIDE, floor=0.2):
    """Frames (B, T, side, side, 3) of squares one in front of the other."""
    frames = np.full((*places.shape[:2], side, side, 3), floor)
    for thing, colour in enumerate(colours):
        share = covered(places[:, :, thing].reshape(-1, 2), 0.15, side)
        share = share.reshape(*places.shape[:2], side, side, 1)
        frames = frames * (1 - share) + share * np.array(colour)
    return torch.tensor(frames, dtype=torch.float32)


def explained(inputs, targets):
    """R² of targets as a linear function of inputs, on the half that it was not fitted to."""
    x, y = (torch.as_tensor(each).double().flatten(0, 1) for each in (inputs, targets))
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    half = len(x) // 2
    left = y[half:] - x[half:] @ torch.linalg.lstsq(x[:half], y[:half]).solution
    return (1 - left.square().sum(0) / (y[half:] - y[half:].mean(0)).square().sum(0)).numpy()


def identified(frames, count=6):
    found = Positions(tuple(frames.shape[2:]), count)
    return found, found.identify(frames, torch.ones(frames.shape[:2], dtype=torch.bool))


@pytest.mark.parametrize("side", [24, 32, 64])
def test_one_thing_has_two_positions_that_are_linear_in_its_place(side):
    places = courses(np.random.default_rng(0))
    found, result = identified(drawn(places, [(1.0, 0.9, 0.1)], side))
    assert result.used.tolist() == [True] * 2 + [False] * 4
    assert (result.positions[..., 2:] == 0).all()
    assert (explained(result.positions[..., :2], places[:, :, 0]) > 0.9999).all()
    # Other frames are read by the same linear function.
    others = courses(np.random.default_rng(1))
    frames = drawn(others, [(1.0, 0.9, 0.1)], side)
    y = found(frames.flatten(0, 1)).view(*frames.shape[:2], -1)
    together = torch.cat([result.positions, y])[..., :2]
    assert (explained(together, np.concatenate([places, others])[:, :, 0]) > 0.9999).all()


def test_two_things_have_four_and_two_that_move_together_have_two():
    rng = np.random.default_rng(0)
    apart = courses(rng, 2)
    colours = [(1.0, 0.1, 0.1), (0.1, 0.2, 1.0)]
    _, result = identified(drawn(apart, colours))
    assert result.used.sum() == 4
    assert (explained(result.positions[..., :4], apart.reshape(EPISODES, STEPS, 4)) > 0.99).all()
    together = 0.7 * courses(rng)
    together = np.concatenate([together, together + 0.2], 2)
    assert identified(drawn(together, colours))[1].used.sum() == 2


def test_what_cannot_be_foreseen_is_no_position():
    rng = np.random.default_rng(0)
    places = courses(rng, 2)
    places[:, :, 1] = rng.uniform(size=places[:, :, 1].shape)  # it jumps about
    _, result = identified(drawn(places, [(1.0, 0.1, 0.1), (0.1, 0.2, 1.0)]))
    found = result.positions[..., result.used]
    assert (explained(found, places[:, :, 0]) > 0.99).all()
    assert (explained(found, places[:, :, 1]) < 0.1).all()


def test_the_rows_solve_the_generalised_eigenproblem():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(EPISODES, STEPS, 4)).cumsum(1) @ rng.normal(size=(4, 4)))
    x = x - x.mean((0, 1))
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    rows = module._most_predictable(x, mask, 3)
    past, now = torch.cat([x[:, 1:-1], x[:, :-2]], -1).flatten(0, 1), x[:, 2:].flatten(0, 1)
    past, now, every = past.numpy(), now.numpy(), x.flatten(0, 1).numpy()
    left = now - past @ np.linalg.lstsq(past, now, rcond=None)[0]
    noise = left.T @ left / len(left) + 1e-4 * np.eye(4)
    ratios, vectors = scipy.linalg.eigh(every.T @ every / len(every), noise)
    vectors = vectors[:, ::-1][:, : len(rows)]
    cosines = [
        abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(rows.numpy(), vectors.T, strict=True)
    ]
    assert len(rows) == min(3, (ratios > module.LEAST_RATIO).sum()) > 0
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    np.testing.assert_allclose((x @ rows.T).flatten(0, 1).square().mean(0), 1, rtol=1e-6)


def test_the_precision_of_reading_is_that_of_added_noise():
    rng = np.random.default_rng(0)
    smooth = np.sin(rng.uniform(0, 6, (40, 1, 2)) + 0.15 * np.arange(50)[None, :, None])
    noisy = smooth + rng.normal(size=smooth.shape) * [0.02, 0.1]
    mask = torch.ones(40, 50, dtype=torch.bool)
    std = module._read_std(torch.tensor(noisy, dtype=torch.float32), mask)
    np.testing.assert_allclose(std, [0.02, 0.1], rtol=0.15)
    exact = module._read_std(torch.tensor(smooth, dtype=torch.float32), mask)
    assert (exact == module.LEAST_READ).all()


def test_padding_is_not_looked_at():
    frames = drawn(courses(np.random.default_rng(0)), [(1.0, 0.9, 0.1)])
    mask = torch.ones(frames.shape[:2], dtype=torch.bool)
    mask[3, 11:] = mask[7, 5:] = False
    found, other = Positions((SIDE, SIDE, 3), 6), Positions((SIDE, SIDE, 3), 6)
    first = found.identify(frames, mask)
    second = other.identify(torch.where(mask[..., None, None, None], frames, 0.7), mask)
    torch.testing.assert_close(first.positions[mask], second.positions[mask])
    torch.testing.assert_close(found.weight, other.weight)


@pytest.mark.parametrize("frames", ["nothing moves", "few"])
def test_where_nothing_is_found_positions_are_zero(frames):
    shape = (2, 3, SIDE, SIDE, 3)
    given = torch.full(shape, 0.3) if frames == "nothing moves" else torch.rand(shape)
    found, result = identified(given)
    assert not result.used.any() and (result.positions == 0).all()
    assert (found(torch.rand(5, SIDE, SIDE, 3)) == 0).all()
