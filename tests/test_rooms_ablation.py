"""The configuration for every room: the variants of its ablation, and its cost."""

import json
from dataclasses import replace

import pytest
import torch

from agent import Agent
from agent.exploration import Exploration
from agent.presets import EVERY_ROOM
from benchmarks.model import rooms_cost
from benchmarks.model.rooms_ablation import VARIANTS, WHOLE

FEW = {"random_steps": 40, "updates_per_step": 0.1}


def short(variant):
    """An agent of a variant that learns next to nothing, soon."""
    config = VARIANTS[variant]["config"]
    planner = replace(config.planner, states=min(config.planner.states, 16))
    config = replace(config, training=replace(config.training, **FEW), planner=planner)
    return Agent("RobotRoom-v0", seed=0, device="cpu", **VARIANTS[variant] | {"config": config})


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns(variant):
    agent = short(variant).learn(56)
    assert agent.progress.num_updates > 0
    assert all(torch.isfinite(p).all() for p in agent.world_model.parameters())


def test_the_whole_is_the_configuration_and_all_others_differ():
    assert VARIANTS[WHOLE] == EVERY_ROOM
    assert all(VARIANTS[name] != EVERY_ROOM for name in VARIANTS if name != WHOLE)
    assert isinstance(VARIANTS["planner acts in all environments"]["exploration"], Exploration)


def test_without_rehearsal_rewards_are_learned_from_the_elbo_alone():
    """Half of the gradient is gone, and the nets can be trained again afterwards."""
    gradients = []
    for variant in WHOLE, "no rehearsal of rewards and ends":
        agent = short(variant).learn(48)
        model, batch = agent.world_model, agent.replay.all(4, 8)
        model.loss(batch, torch.Generator().manual_seed(0))[0].backward()
        assert all(p.requires_grad for p in model.reward_net.parameters())
        features = model.features(batch.frames.flatten(0, 1))
        q, _, _ = model.follow(features, batch, torch.Generator().manual_seed(0))
        model.zero_grad()
        model.further_loss(features, q, batch, torch.Generator().manual_seed(0)).backward()
        gradients.append(model.reward_net[0].weight.grad)
    assert gradients[0].abs().sum() > 0 and gradients[1] is None


def test_its_cost_is_measured_beside_the_default(tmp_path, capsys):
    config = rooms_cost.RoomsCost(env_steps=24, rounds=2, out=tmp_path / "cost.json")
    rooms_cost.main(config)
    times = json.loads(config.out.read_text())["milliseconds"]
    assert set(times) == set(rooms_cost.NAMES)
    for each in times.values():
        assert set(each) == set(rooms_cost.QUANTITIES)
        assert all(len(values) == 2 and min(values) > 0 for values in each.values())
    assert "first decision" in capsys.readouterr().out
