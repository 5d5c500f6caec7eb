from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from agent import Agent, AgentConfig
from agent.diagnostics import RandomRollouts, diagnose, linear_probe, random_rollouts
from agent.distributions import Normal
from agent.learner import TrainingConfig
from agent.world_model import WorldModelConfig

pytestmark = pytest.mark.slow

EPISODES, LENGTH, TRUE_STD = 400, 6, 0.1


class KnownModel:
    """A world model that is known: z is written into a frame's two pixels, z' = z + a + noise.

    Args:
        std: what the transition believes the noise's std to be.
        drift: an error in the transition's mean, each step.
    """

    mean_frame = torch.full((1, 2, 1), 0.5)

    def __init__(self, std=TRUE_STD, drift=0.0, blind=False):
        self.std, self.drift, self.blind = std, drift, blind

    def initial(self, batch):
        return Normal(torch.zeros(batch, 2), torch.ones(batch, 2)), torch.zeros(batch, 0)

    def features(self, frames):
        return frames.float().flatten(1) / 10 - 12.8

    def posterior(self, features, prior, action, memory):
        return Normal(features, torch.full_like(features, 1e-4)), memory

    def transition(self, z, action):
        return Normal(z + action + self.drift, torch.full_like(z, self.std))

    def reward(self, z):
        return z[..., 0]

    def decode(self, z):
        if self.blind:
            z = torch.zeros_like(z)
        return (10 * z + 128).view(-1, 1, 2, 1)


def known_rollouts():
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (EPISODES, LENGTH - 1, 2)).astype(np.float32)
    z = [generator.normal(size=(EPISODES, 2))]
    for t in range(LENGTH - 1):
        z.append(z[-1] + actions[:, t] + TRUE_STD * generator.normal(size=(EPISODES, 2)))
    z = np.stack(z, 1)
    # Frames are floats here, so that rounding to pixels does not disturb the known numbers.
    frames = (10 * z + 128).astype(np.float32).reshape(EPISODES, LENGTH, 1, 2, 1)
    return RandomRollouts(frames, actions, z[..., 0], {"robot_position": 3 * z[..., ::-1] + 1}), z


def diagnosed(**settings):
    rollouts, z = known_rollouts()
    agent = SimpleNamespace(world_model=KnownModel(**settings), device=torch.device("cpu"))
    return diagnose(agent, rollouts), z


def test_errors_by_horizon_are_those_of_the_accumulated_noise():
    result, z = diagnosed()
    horizons = np.arange(1, LENGTH)
    expected = TRUE_STD * np.sqrt(horizons)
    np.testing.assert_allclose(result["reward_rmse"], expected, rtol=0.1)
    np.testing.assert_allclose(result["frame_rmse"], 10 * expected / 255, rtol=0.1)
    copied = np.sqrt(((z[:, :1] - z[:, 1:]) ** 2).mean((0, 2)))
    np.testing.assert_allclose(result["frame_rmse_copy"], 10 * copied / 255, rtol=1e-4)
    np.testing.assert_allclose(
        result["reward_rmse_copy"], np.sqrt(((z[:, :1, 0] - z[:, 1:, 0]) ** 2).mean(0)), rtol=1e-4
    )


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_calibration_ratio_is_the_true_std_over_the_predicted(factor):
    result, _ = diagnosed(std=factor * TRUE_STD)
    # The predicted std is estimated from 256 particles, which makes it a little larger.
    np.testing.assert_allclose(result["calibration_ratio"], 1 / factor, rtol=0.08)
    expected = torch.special.erf(torch.tensor(1.6449 * factor / 2**0.5)).item()
    assert result["coverage_90"] == pytest.approx(expected, abs=0.02)


def test_an_exact_filter_that_is_unsure_is_calibrated():
    """z' = z + a + N(0, 1), seen with N(0, 1): the steady Kalman filter, by its own numbers."""

    class Kalman(KnownModel):
        gain = (5**0.5 - 1) / 2

        def posterior(self, features, prior, action, memory):
            mean = torch.lerp(prior.mean, features, self.gain)
            return Normal(mean, torch.full_like(mean, self.gain**0.5)), memory

    generator = np.random.default_rng(0)
    actions = np.zeros((2000, 30, 2), np.float32)
    z = np.cumsum(generator.normal(size=(2000, 31, 2)), 1)
    seen = z + generator.normal(size=z.shape)
    frames = (10 * seen + 128).astype(np.float32).reshape(2000, 31, 1, 2, 1)
    rollouts = RandomRollouts(frames, actions, z[..., 0], {})
    agent = SimpleNamespace(world_model=Kalman(std=1.0), device=torch.device("cpu"))
    np.testing.assert_allclose(diagnose(agent, rollouts)["calibration_ratio"][5:], 1, atol=0.06)


def test_a_wrong_transition_shows_in_imagination_and_calibration():
    right, wrong = (diagnosed(drift=drift)[0] for drift in (0.0, 0.2))
    assert wrong["reward_rmse"][-1] > right["reward_rmse"][-1] + 0.5
    assert wrong["calibration_ratio"][-1] > 3


def test_a_model_that_leaves_everything_out_explains_nothing():
    assert diagnosed()[0]["foreground_explained"] == pytest.approx(1, abs=1e-3)
    assert diagnosed(blind=True)[0]["foreground_explained"] == pytest.approx(0, abs=0.01)


def test_a_linear_probe_reads_what_is_linear_and_nothing_else():
    result, z = diagnosed()
    assert result["probe_robot_position_cm"] < 0.01  # it is 3 z, reversed, + 1
    expected = 100 * 3 * np.sqrt(((z - z.mean((0, 1))) ** 2).sum(-1).mean())
    assert result["chance_robot_position_cm"] == pytest.approx(expected, rel=0.05)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(EPISODES, LENGTH, 4, generator=generator)
    probe, chance = linear_probe(noise, torch.from_numpy(z))
    assert probe == pytest.approx(chance, rel=0.05)
    rare = torch.randn(EPISODES, LENGTH, EPISODES, generator=generator)
    rare[: EPISODES // 2] *= 1e-6  # next to nothing in the episodes that the probe is fitted to
    seen = torch.from_numpy(z) + 0.01 * noise[..., : z.shape[-1]]
    wide = torch.cat([seen, rare], -1)
    assert linear_probe(wide, torch.from_numpy(z))[0] < 0.1 * chance


def test_walks_come_from_the_agents_environment():
    small = AgentConfig(WorldModelConfig(hidden_dim=32), training=TrainingConfig(random_steps=20))
    small_agent = Agent("RobotRoom-v0", small).learn(24)
    rollouts = random_rollouts(small_agent, seed=0, episodes=5, length=7)
    assert rollouts.frames.shape == (5, 7, 64, 64, 3) and rollouts.actions.shape == (5, 6, 2)
    moved = np.diff(rollouts.positions["robot_position"], axis=1)
    free = np.abs(rollouts.positions["robot_position"][:, 1:]) < 0.9 - 1e-9
    np.testing.assert_allclose(moved[free], 0.1 * rollouts.actions[free], atol=1e-6)
    distance = np.linalg.norm(
        rollouts.positions["robot_position"] - rollouts.positions["goal_position"], axis=-1
    )
    np.testing.assert_allclose(rollouts.rewards[:, 1:], -distance[:, 1:], atol=1e-6)
    short = Agent(gym.make("RobotRoom-v0", max_episode_steps=4), small)
    assert random_rollouts(short, seed=0, episodes=5, length=7).frames.shape[1] == 5
    shorter = Agent(gym.make("RobotRoom-v0", max_episode_steps=1), small)
    with pytest.raises(ValueError, match="env: got episodes of 1 steps"):
        random_rollouts(shorter, seed=0, episodes=5, length=7)
    again = random_rollouts(small_agent, seed=0, episodes=5, length=7)
    np.testing.assert_array_equal(again.frames, rollouts.frames)
    assert set(diagnose(small_agent, rollouts)) >= {"calibration_ratio", "probe_goal_position_cm"}
