"""The static map: reading, drawing and interpolating, and what the first episodes teach it."""

import copy

import numpy as np
import pytest
import torch

from agent.static_map import REACH, StaticMap
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


def walls(frames):
    """Which pixels are closer to the walls' grey, 48, than to the floor's, 128; the goal is neither."""
    return (frames.amax(-1) * 255 < 88).numpy()


def test_walls_of_mazes_never_seen_are_drawn(known):
    static, mean = known
    frames, masks = frames_of_mazes(20, 1, seed=1, first=500)
    centred = frames[:, 0].float() / 255 - mean
    s, seen = static.read(centred)
    drawn = walls(mean + static.draw(s))
    known_pixels = (
        seen.view(20, 8, 16, 16)[:, 0].repeat_interleave(4, 1).repeat_interleave(4, 2).numpy()
    )
    true, found = masks & known_pixels, drawn & known_pixels
    f1 = 2 * (true & found).sum() / (true.sum() + found.sum())
    assert f1 > 0.98
    assert known_pixels.mean() > 0.9


def test_the_robot_is_not_read_as_background(known):
    static, mean = known
    frames, _ = frames_of_mazes(1, 8, seed=3, first=700)
    for frame in frames[0]:
        s, seen = static.read(frame[None].float() / 255 - mean)
        image = mean + static.draw(s)[0]
        robot = (frame > 200).all(-1)
        assert (image[robot] < 0.75).all()  # white is 1
        assert not seen.view(8, 16, 16)[0].repeat_interleave(4, 0).repeat_interleave(4, 1)[robot].all()


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
    moving = static.initialise(frames - mean, torch.ones(20, 12, dtype=torch.bool))
    assert (static.scales == 0).all()
    s, seen = static.read(frames[0] - mean)
    assert (s == 0).all() and not seen.any() and (static.draw(s) == 0).all()
    white = (frames > 0.9).all(-1)
    assert moving[white].mean() > 0.3 and moving[~white].mean() < 0.02


def test_drawing_what_was_read_is_a_projection(known):
    static, mean = copy.deepcopy(known)
    frames, _ = frames_of_mazes(3, 1, seed=4, first=300)
    static.threshold.fill_(torch.inf)
    static.lowest.fill_(-torch.inf)
    static.highest.fill_(torch.inf)
    once = static.draw(static.read(frames[:, 0].float() / 255 - mean)[0])
    torch.testing.assert_close(static.draw(static.read(once)[0]), once, atol=1e-5, rtol=1e-4)


def test_surroundings_are_interpolated_between_the_nearest_cells():
    static = StaticMap((12, 20, 3), 2)
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(2, static.size, generator=generator)
    where = torch.rand(6, 2, generator=generator) * torch.tensor([2.0, 4.0])
    found = static.surroundings(s, where)
    assert found.shape == (6, static.num_surroundings) == (6, 32)
    grids = np.pad(s.view(2, 2, 3, 5).numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)))
    for n, (row, column) in enumerate(where.tolist()):
        expected = []
        for channel in range(2):
            for down in REACH:
                for right in REACH:
                    y, x = row + down + 4, column + right + 4
                    i, j = int(np.floor(y)), int(np.floor(x))
                    patch = grids[n // 3, channel, i : i + 2, j : j + 2]
                    across = patch @ [1 - (x - j), x - j]
                    expected.append(float(np.dot([1 - (y - i), y - i], across)))
        np.testing.assert_allclose(found[n].numpy(), expected, atol=1e-5)


def test_frames_of_any_size_are_padded():
    static = StaticMap((30, 42, 1), 3)
    frames = torch.rand(4, 6, 30, 42, 1, generator=torch.Generator().manual_seed(0))
    static.initialise(frames - frames.mean((0, 1)), torch.ones(4, 6, dtype=torch.bool))
    s, seen = static.read(frames[0])
    assert s.shape == seen.shape == (6, 3 * 8 * 11)
    assert static.draw(s).shape == (6, 30, 42, 1)
