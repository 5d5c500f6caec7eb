"""Calibration of restorers and gates on an agent's own episodes."""

import copy

import gymnasium as gym
import pytest
import torch
from test_agent import SMALL

from agent import Agent, calibration
from agent.calibration import Restoration, calibrate_restorer, innovation_threshold
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.restorer import BlindRestorer

FRAMES = 300  # that the model of harm is fitted to


@pytest.fixture(scope="module")
def agent():
    spec = copy.deepcopy(gym.spec("RobotRoom-v0"))
    spec.max_episode_steps = 12
    return Agent(spec, SMALL, seed=0, device="cpu").learn(48)


def test_episodes_are_whole_and_their_first_frames_have_no_innovation(agent):
    steps = agent.num_timesteps, agent.replay.num_steps
    frames, innovations = calibration._act(agent, 20, seed=3)
    assert len(frames) == len(innovations) == 20
    for seen, found in zip(frames, innovations, strict=True):
        assert len(seen) == len(found) + 1 and len(found) >= 1
        assert torch.isfinite(found).all() and (found >= 0).all()
        moved = (seen[1:].int() - seen[:-1].int()).abs().amax((1, 2, 3))
        assert len(seen) <= 13 and (moved > 0).any()
    assert (agent.num_timesteps, agent.replay.num_steps) == steps
    again, _ = calibration._act(agent, 20, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(frames, again, strict=True))


def test_the_gates_threshold_is_of_one_innovation_of_every_other_episode():
    """At the tightest promise of 40 episodes it is the largest of 20: from episodes 1, 3, … 39."""
    innovations = [torch.tensor([float(i), i + 0.5]) for i in range(40)]
    draws = [calibration._threshold(innovations, 1 / 21, _seeded(seed)) for seed in range(20)]
    assert set(draws) == {39.0, 39.5}
    innovations[39] = torch.zeros(2)
    assert calibration._threshold(innovations, 1 / 21, _seeded(0)) in (37.0, 37.5)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_tighter_promise_has_a_larger_threshold(agent):
    loose, tight = (innovation_threshold(agent, 24, share, seed=1) for share in (0.3, 0.08))
    assert 0 < loose < tight
    assert innovation_threshold(agent, 24, 0.3, seed=1) == loose
    assert innovation_threshold(agent, 24, 0.3, seed=2) != loose


@pytest.mark.parametrize("network", [Autoencoder((32, 32, 3)), Denoiser((32, 32, 3))])
def test_a_network_of_other_frames_is_refused(agent, network):
    with pytest.raises(ValueError, match=r"network: got shape \(32, 32, 3\), allowed: \(64, 64, 3\)"):
        calibrate_restorer(agent, network, 60, 0.1)


def test_what_is_loaded_is_not_trained(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "HARM_FRAMES", FRAMES)
    network = Autoencoder((64, 64, 3), AutoencoderConfig(width=8))
    made = calibrate_restorer(agent, network, 18, 0.1)
    made.save(tmp_path / "restorer")
    restorer = Restoration.load(tmp_path / "restorer").restorer
    assert isinstance(restorer, BlindRestorer)
    parameters = [*restorer.autoencoder.parameters(), *restorer.harm.parameters()]
    assert parameters and not any(p.requires_grad for p in parameters)


def test_a_denoiser_gets_a_critic_and_a_gate_that_can_be_saved(agent, tmp_path):
    network = Denoiser((64, 64, 3), DenoiserConfig(width=8, steps=20))
    made = calibrate_restorer(agent, network, 40, 0.1, seed=1)
    assert made.gate.innovation_threshold > 0
    assert made.calibrated_on == "robot_room:RobotRoom-v0, seed 0, 48 steps"
    made.save(tmp_path / "restorer")
    again = Restoration.load(tmp_path / "restorer")
    assert again.gate == made.gate and again.calibrated_on == made.calibrated_on
    assert again.restorer.critic.threshold == made.restorer.critic.threshold


def test_shipped_restorers_are_found_by_the_id_of_their_room():
    assert "RobotRoom-v0" in Restoration.from_pretrained("RobotRoom-v0").calibrated_on
