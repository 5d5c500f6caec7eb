"""The measures of what a world model knows."""

import numpy as np
import torch

from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.model.representation import fitted_probe, measure
from robot_room import layouts, rendering


def test_the_probe_reads_a_code_that_is_not_linear():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(2000, 2, generator=generator) * 1.8 - 0.9
    code = torch.cat([positions.sign() * positions.abs().sqrt(), positions[:, :1] ** 2 + 5], 1)
    probe = fitted_probe(code[:1000], positions[:1000])
    assert (probe(code[1000:]) - positions[1000:]).norm(dim=1).median() < 0.03


def test_walls_count_where_they_are_drawn():
    """A model whose mean frame is the maze draws all of its walls; one of the floor none."""
    mask = layouts.maze(5).mask[None].repeat(8, 0)
    robots = np.random.default_rng(0).uniform(-0.9, 0.9, (8, 15, 2))
    frames = np.stack(
        [
            rendering.render(rendering.Scene(robots[:, t], np.zeros((8, 2)), walls=mask))
            for t in range(15)
        ],
        1,
    )
    frames, actions = torch.from_numpy(frames), torch.zeros(8, 14, 2)
    torch.manual_seed(0)
    model = WorldModel((64, 64, 3), 2, WorldModelConfig(hidden_dim=8))
    for weights in model.decoder.profiles.parameters():
        torch.nn.init.zeros_(weights)
    model.mean_frame.copy_(torch.where(torch.from_numpy(mask[0])[..., None], 48, 128) / 255)
    positions = torch.from_numpy(robots).float()
    scores = measure(model, frames, actions, positions)
    assert scores["wall_f1"] is not None and scores["wall_f1"] > 0.9  # the robot hides some
    model.mean_frame.fill_(128 / 255)
    assert measure(model, frames, actions, positions)["wall_f1"] == 0
    assert {"position_cm", "ahead_1_cm", "ahead_6_cm", "ahead_12_cm"} <= set(scores)
