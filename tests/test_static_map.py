"""The static map: reading, drawing and interpolating, and what the first episodes teach it."""

import copy

import numpy as np
import pytest
import torch

from agent.static_map import MOST_HIDDEN, REACH, SPACING, StaticMap
from robot_room import layouts, rendering
from robot_room.room import RoomParams


def frames_of_mazes(count, steps, seed, first=0):
    """Frames (E, T, 64, 64, 3) of robots that walk through walls, a maze each, and the wall masks."""
    generator = np.random.default_rng(seed)
    frames, masks = [], []
    for number in range(first, first + count):
        mask = layouts.layout(RoomParams(walls="maze"), number).mask
        robot, velocity = generator.uniform(-0.9, 0.9, 2), generator.uniform(-1, 1, 2)
        episode = []
        for _ in range(steps):
            scene = rendering.Scene(robot[None], np.zeros((1, 2)), walls=mask[None])
            episode.append(rendering.render(scene)[0])
            robot = (robot + 0.1 * velocity + 0.9) % 1.8 - 0.9
        frames.append(np.stack(episode))
        masks.append(mask)
    return torch.from_numpy(np.stack(frames)), np.stack(masks)


@pytest.fixture(scope="module")
def known():
    """A map that has seen 30 mazes, and the mean frame."""
    torch.manual_seed(0)
    frames, _ = frames_of_mazes(30, 13, seed=0)
    frames = frames.float() / 255
    mean = frames.mean((0, 1))
    static = StaticMap((64, 64, 3), 8)
    static.initialise(frames - mean, torch.ones(frames.shape[:2], dtype=torch.bool))
    return static, mean


def nothing(frames):
    """No pixel is hidden."""
    return torch.zeros(frames.shape[:3], dtype=torch.bool)


def walls(frames):
    """Which pixels are closer to the walls' grey, 48, than to the floor's, 128; the goal is neither."""
    return (frames.amax(-1) * 255 < 88).numpy()


def test_walls_of_mazes_never_seen_are_drawn(known):
    static, mean = known
    frames, masks = frames_of_mazes(20, 1, seed=1, first=500)
    centred = frames[:, 0].float() / 255 - mean
    s, seen = static.read(centred, (frames[:, 0] > 200).all(-1))
    drawn = walls(mean + static.draw(s))
    known_pixels = (
        seen.view(20, 8, 16, 16)[:, 0].repeat_interleave(4, 1).repeat_interleave(4, 2).numpy()
    )
    true, found = masks & known_pixels, drawn & known_pixels
    f1 = 2 * (true & found).sum() / (true.sum() + found.sum())
    assert f1 > 0.98
    assert known_pixels.mean() > 0.9


def test_what_moves_is_found(known):
    static, mean = known
    frames, _ = frames_of_mazes(4, 8, seed=3, first=700)
    for episode in frames:
        near = static.moving(episode.float() / 255 - mean)
        robot = (episode > 200).all(-1)
        assert near[robot].all() and near.float().mean() < 0.15


def test_the_map_behind_hidden_pixels_is_filled_in(known):
    """The rest of a cell tells most of it; a wrong colour in their place tells nothing."""
    static, mean = known
    frames, masks = frames_of_mazes(20, 1, seed=1, first=500)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.rand(20, 64, 64, generator=generator) < 0.3
    pictures = torch.where(hidden[..., None], 1.0, frames[:, 0].float() / 255)
    s, seen = static.read(pictures - mean, hidden)
    drawn = walls(mean + static.draw(s))
    robot = (frames[:, 0] > 200).all(-1).numpy()
    true, found = masks & ~robot, drawn & ~robot
    assert 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.9
    share = hidden.view(20, 16, 4, 16, 4).float().mean((2, 4))
    known_cells = seen.view(20, 8, 16, 16)[:, 0]
    assert torch.equal(known_cells, share < MOST_HIDDEN)


def test_where_nothing_stays_nothing_is_drawn():
    """Robots that move over an empty floor teach the map no component."""
    generator = np.random.default_rng(0)
    robot, velocity = generator.uniform(-0.5, 0.5, (20, 2)), generator.choice([-1.0, 1.0], (20, 2))
    frames = []
    for _ in range(12):
        frames.append(rendering.render(rendering.Scene(robot, np.zeros((20, 2)))))
        robot = (robot + 0.1 * velocity + 0.9) % 1.8 - 0.9
    frames = torch.from_numpy(np.stack(frames, 1)).float() / 255
    static = StaticMap((64, 64, 3), 8)
    mean = frames.mean((0, 1))
    moved = static.initialise(frames - mean, torch.ones(20, 12, dtype=torch.bool))
    assert (static.scales == 0).all()
    s, seen = static.read(frames[0] - mean, nothing(frames[0]))
    assert (s == 0).all() and not seen.any() and (static.draw(s) == 0).all()
    white = (frames > 0.9).all(-1)
    moved = moved.abs().mean(-1)
    assert moved[white].mean() > 0.3 and moved[~white].mean() < 0.02


def test_drawing_what_was_read_is_a_projection(known):
    static, mean = copy.deepcopy(known)
    frames, _ = frames_of_mazes(3, 1, seed=4, first=300)
    static.threshold.fill_(torch.inf)
    static.lowest.fill_(-torch.inf)
    static.highest.fill_(torch.inf)
    none = nothing(frames[:, 0])
    once = static.draw(static.read(frames[:, 0].float() / 255 - mean, none)[0])
    torch.testing.assert_close(static.draw(static.read(once, none)[0]), once, atol=1e-5, rtol=1e-4)


def test_surroundings_are_interpolated_between_the_nearest_pixels():
    static = StaticMap((12, 20, 3), 2)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 12, 20, 3, generator=generator)
    where = torch.rand(6, 2, generator=generator) * torch.tensor([11.0, 19.0])
    found = static.surroundings(images, where)
    assert found.shape == (6, static.num_surroundings) == (6, 4 * REACH**2)
    inside = np.concatenate([images.numpy(), np.ones((2, 12, 20, 1))], -1)
    pixels = np.pad(inside, ((0, 0), (20, 20), (20, 20), (0, 0)))
    steps = SPACING * (np.arange(REACH) - (REACH - 1) / 2)
    for n, (row, column) in enumerate(where.tolist()):
        expected = []
        for channel in range(4):
            for down in steps:
                for right in steps:
                    y, x = row + down + 20, column + right + 20
                    i, j = int(np.floor(y)), int(np.floor(x))
                    patch = pixels[n // 3, i : i + 2, j : j + 2, channel]
                    across = patch @ [1 - (x - j), x - j]
                    expected.append(float(np.dot([1 - (y - i), y - i], across)))
        np.testing.assert_allclose(found[n].numpy(), expected, atol=1e-5)


def test_frames_of_any_size_are_padded():
    static = StaticMap((30, 42, 1), 3)
    frames = torch.rand(4, 6, 30, 42, 1, generator=torch.Generator().manual_seed(0))
    static.initialise(frames - frames.mean((0, 1)), torch.ones(4, 6, dtype=torch.bool))
    s, seen = static.read(frames[0], nothing(frames[0]))
    assert s.shape == seen.shape == (6, 3 * 8 * 11)
    assert static.draw(s).shape == (6, 30, 42, 1)


def frames_of_doors(numbers, seed):
    """Frames (E, 10, 64, 64, 3) of a robot that stands still in half of the episodes, and masks."""
    generator = np.random.default_rng(seed)
    frames, masks = [], []
    for number in numbers:
        mask = layouts.layout(RoomParams(walls="door"), number).mask
        robots = np.repeat(generator.uniform((-0.8, -0.8), (0.0, 0.8))[None], 10, 0)
        if number % 2:
            robots = robots + np.linspace(0, 0.5, 10)[:, None] * generator.choice([-1, 1], 2)
        scene = rendering.Scene(
            robots.clip(-0.85, 0.85), np.zeros((10, 2)), walls=np.stack([mask] * 10)
        )
        frames.append(rendering.render(scene))
        masks.append(mask)
    return torch.from_numpy(np.stack(frames)), np.stack(masks)


def test_a_door_is_learned_though_it_is_few_cells_and_the_robot_stands_still():
    """From every third of 45 positions of the door; the others are drawn right."""
    torch.manual_seed(0)
    frames, _ = frames_of_doors(range(0, 45, 3), seed=0)
    hidden = (frames.float() / 255 > 0.55).all(-1)
    mean = (frames.float() / 255).mean((0, 1))
    static, everything = StaticMap((64, 64, 3), 8), torch.ones(frames.shape[:2], dtype=torch.bool)
    others = [number for number in range(45) if number % 3]
    seen, masks = frames_of_doors(others, seed=1)
    first = seen[:, 0]

    def wrong():
        """Pixels of walls and doors that are drawn wrong, over those of a door, 12 × 2."""
        s, _ = static.read(first.float() / 255 - mean, (first.float() / 255 > 0.55).all(-1))
        drawn = walls(mean + static.draw(s))
        return (drawn != masks).sum() / (24 * len(masks))

    static.initialise(frames.float() / 255 - mean, everything)
    before = wrong()
    static.fit(frames.float() / 255 - mean, hidden, everything)
    assert wrong() < 0.05 < before


def test_a_component_that_is_not_drawn_fills_no_hidden_pixels(known):
    static, mean = copy.deepcopy(known)
    frames, _ = frames_of_mazes(4, 1, seed=2, first=700)
    centred = frames[:, 0].float() / 255 - mean
    hidden = torch.rand(4, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.3
    static.scales[0] = 0
    s, seen = static.read(centred, hidden)
    static.components[:, 0] = 0
    without, as_well = static.read(centred, hidden)
    assert torch.equal(seen, as_well)
    torch.testing.assert_close(s, without)


def test_nothing_of_a_map_is_trained(known):
    assert list(known[0].parameters()) and not any(p.requires_grad for p in known[0].parameters())
