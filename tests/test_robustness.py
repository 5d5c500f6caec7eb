"""The experiment's arithmetic, and one small job of it."""

import numpy as np
import pytest
import torch
from test_agent import SMALL

from agent import Agent, calibration
from agent.calibration import calibrate_restorer
from agent.gate import AcceptAll
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.restorer import Identity
from benchmarks.camera import restorer_quality, robustness
from benchmarks.camera.robustness import ARMS, CLEAN, LIMIT, NAMES, TRAINED, gain, interval, run_job
from robot_room.app.evaluation.protocol import env_spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small():
    agent = Agent("RobotRoom-v0", SMALL).learn(60)
    denoiser = Denoiser((64, 64, 3), DenoiserConfig(width=8))
    frames = torch.from_numpy(np.stack([f for e in agent.replay.episodes for f in e.frames]))
    denoiser.initialise(frames)
    return agent, calibrate_restorer(agent, denoiser, 18, 0.1)


def test_new_episodes_are_accused_about_as_often_as_promised():
    """Of 60 new ones one frame each; the promise is an average over calibrations, hence the margin."""
    spec = env_spec("RobotRoom-v0")
    spec.max_episode_steps = 6
    agent = Agent(spec, SMALL).learn(60)
    denoiser = Denoiser((64, 64, 3), DenoiserConfig(width=8))
    restoration = calibrate_restorer(agent, denoiser, 80, 0.1, seed=1)
    frames, innovations = calibration._act(agent, 60, seed=1000)
    generator = torch.Generator().manual_seed(3)
    drawn = [each[torch.randint(len(each), (), generator=generator)] for each in frames]
    surprises = [each[torch.randint(len(each), (), generator=generator)] for each in innovations]
    margin = 3 * np.sqrt(0.09 / 60 + 0.09 / 40)
    accused = (
        restoration.restorer.critic.score(torch.stack(drawn)) > restoration.restorer.critic.threshold
    )
    assert accused.float().mean() < 0.1 + margin
    assert (
        torch.stack(surprises) > restoration.gate.innovation_threshold
    ).float().mean() < 0.1 + margin


def test_calibration_needs_frames_that_the_denoiser_knows(small):
    with pytest.raises(ValueError, match=r"network: got shape \(32, 32, 3\), allowed: \(64, 64, 3\)"):
        calibrate_restorer(small[0], Denoiser((32, 32, 3)), 18, 0.1)
    with pytest.raises(ValueError, match="episodes: got 10, allowed: at least 18"):
        calibrate_restorer(small[0], Denoiser((64, 64, 3)), 10, 0.1)


def test_a_job_has_every_arm_on_the_same_starts(small, monkeypatch):
    monkeypatch.setattr(robustness, "prepared", lambda seed: small)
    monkeypatch.setattr(robustness, "TRAINING_STEPS", 40)
    monkeypatch.setattr(robustness, "AgentConfig", lambda: SMALL)
    record = run_job("blackout", 3, 0, 3)
    assert list(record["arms"]) == NAMES
    for arm in record["arms"].values():
        assert arm["seed"] == record["arms"]["baseline"]["seed"] and len(arm["is_success"]) == 3
        assert max(arm["steps"]) <= LIMIT
    clean = run_job(CLEAN, 0, 0, 2)
    assert list(clean["arms"]) == [name for name in NAMES if name != TRAINED]


def test_arms_differ_in_what_is_asked(small):
    agent, restoration = small
    asked = {}
    for name, arm in ARMS.items():
        arm(agent, restoration)
        asked[name] = agent.restorer, agent.gate
    assert asked["baseline"] == asked["median"] == (Identity(), AcceptAll())
    assert asked["restorer + gate"] == (restoration.restorer, restoration.gate)
    assert asked["restorer"] == (restoration.restorer, AcceptAll())
    assert asked["innovation gate"] == (Identity(), restoration.gate)
    judge, gate = asked["gate"]
    frames = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    assert torch.equal(judge.restore(frames).frames, frames) and gate is restoration.gate


def test_the_interval_is_that_of_a_mean():
    """With one seed it is the binomial's; seeds that differ make it wider than their starts do."""
    generator = np.random.default_rng(0)
    values = (generator.random((1, 400)) < 0.3).astype(float)
    low, high = interval(values)
    half = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)
    apart = np.repeat([[0.0], [1.0], [1.0]], 400, 1)
    assert interval(apart) == (0.0, 1.0)


def test_the_gain_is_over_the_best_arm_without_diffusion():
    arms = {name: np.zeros((2, 50)) for name in NAMES}
    arms["median"][:, :25] = 1
    arms["gate"][:] = 1  # has a diffusion model
    arms["restorer + gate"][:, :40] = 1
    assert gain(arms).startswith("+30 (") and gain(arms).endswith("median")


def test_the_area_is_a_count_of_pairs():
    generator = torch.Generator().manual_seed(0)
    sound, broken = torch.randint(0, 9, (2, 40), generator=generator).float()
    pairs = [(b > s) + 0.5 * (b == s) for s in sound.tolist() for b in broken.tolist()]
    assert restorer_quality.area(sound, broken) == pytest.approx(np.mean(pairs))
