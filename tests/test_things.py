"""Things by colour: exact centres, what hides and what does not, clustering, and what is no thing."""

import numpy as np
import pytest
import torch

from agent.things import THRESHOLD, Things
from robot_room import rendering

ROBOT, RED = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5, -0.5, -0.5])


def room(robots, goals):
    """Frames (N, 64, 64, 3) minus the floor."""
    scene = rendering.Scene(np.asarray(robots, float), np.asarray(goals, float))
    return torch.from_numpy(rendering.render(scene)).float() / 255 - 128 / 255


def fitted(*colours):
    things = Things((64, 64, 3), len(colours))
    things.colours.copy_(torch.stack(colours))
    return things


def metres(centres):
    """From rows and columns between −1 and 1, the centres of the outermost pixels, to x and y."""
    rows, columns = (centres * 63 / 64).unbind(-1)
    return torch.stack([columns, -rows], -1).numpy()


def test_centres_are_those_of_the_squares():
    generator = np.random.default_rng(0)
    robots = generator.uniform(-0.85, -0.2, (50, 2))
    goals = generator.uniform(0.2, 0.85, (50, 2))
    centres, masses = fitted(ROBOT, RED)(room(robots, goals))
    assert np.abs(metres(centres)[:, 0] - robots).max() < 0.008  # a pixel is 0.031 m
    assert np.abs(metres(centres)[:, 1] - goals).max() < 0.008
    assert (masses[:, 0] - 6.4**2).abs().max() < 8 and (masses[:, 1] - 7.68**2).abs().max() < 10


def test_other_colours_and_places_do_not_count():
    things = fitted(ROBOT)
    frames = room([[-0.5, 0.2]], [[0.5, 0.2]])
    yellow = frames.clone()
    yellow[0, 50:60, 50:60] = torch.tensor([0.5, 0.5, -0.5])
    torch.testing.assert_close(things(yellow)[0], things(frames)[0])
    nowhere, mass = things(frames, torch.zeros(1, 64, 64, dtype=torch.bool))
    assert (nowhere == 0).all() and (mass == 0).all()
    left = torch.zeros(1, 64, 64, dtype=torch.bool)
    left[:, :, :32] = True
    torch.testing.assert_close(things(frames, left)[0], things(frames)[0])


def test_only_one_may_be_looked_for_and_pixels_are_hidden_by_any():
    things = fitted(ROBOT, RED)
    frames = room([[-0.5, 0.2], [0.1, 0.1]], [[0.5, 0.2], [0.4, -0.6]])
    centres, masses = things(frames)
    one, mass = things(frames, only=1)
    torch.testing.assert_close(one[:, 0], centres[:, 1])
    torch.testing.assert_close(mass[:, 0], masses[:, 1], rtol=1e-5, atol=1e-5)
    everywhere = torch.ones(2, 64, 64, dtype=torch.bool)
    hidden = things.hidden(frames, everywhere)
    assert torch.equal(hidden, frames.amax(-1) > THRESHOLD * 0.5)  # of a colour's strongest channel
    assert not things.hidden(frames, ~everywhere).any()


def test_colours_are_found():
    generator = np.random.default_rng(0)
    frames = room(generator.uniform(-0.9, -0.2, (30, 2)), generator.uniform(0.2, 0.8, (30, 2)))
    things = Things((64, 64, 3), 3)
    things.initialise(frames)
    for colour in (ROBOT, RED):
        assert (things.colours - colour).norm(dim=1).min() < 0.12  # with paler pixels of its edge
    again = Things((64, 64, 3), 3)
    again.initialise(frames)
    assert torch.equal(again.colours, things.colours)


def test_an_empty_frame_has_no_things():
    things = Things((20, 30, 1), 2)
    things.initialise(torch.zeros(4, 20, 30, 1))
    centres, masses = things(torch.rand(4, 20, 30, 1))
    assert (things.colours == 0).all() and (centres == 0).all() and (masses == 0).all()


def test_colours_of_no_steady_mass_are_forgotten():
    frames = room([[-0.5, 0.2]] * 6, [[0.5, 0.2]] * 6)
    frames[:3, :, 32:] = 0  # the goal is there in half of the frames
    everywhere = torch.ones(6, 64, 64, dtype=torch.bool)
    things = fitted(ROBOT, RED)
    things.forget_unsteady(frames, everywhere)
    assert torch.equal(things.colours, torch.stack([ROBOT, torch.zeros(3)]))
    things = fitted(RED)
    things.forget_unsteady(frames, everywhere)
    assert torch.equal(things.colours[0], RED)  # rather than none


@pytest.mark.parametrize("shape", [(64, 64, 3), (20, 33, 1)])
def test_gradients_do_not_reach_the_colours(shape):
    assert not list(Things(shape, 2).parameters())
