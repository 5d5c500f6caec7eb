"""What is said while an agent learns in vain."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from agent import Agent, AgentConfig, pixels
from agent.advice import WARMED_UP, Advice, LearningWarning
from agent.learner import TrainingConfig
from agent.presets import MOMENTUM
from agent.world_model import WorldModelConfig

FEW = TrainingConfig(random_steps=40, updates_per_step=0.1)


def learned(env, model=None, steps=56, training=FEW):
    config = AgentConfig(model or WorldModelConfig(), training=training)
    return Agent(env, config, seed=0, device="cpu").learn(steps)


def said(agent, **progress):
    """What is said if learning had come so far."""
    for name, value in progress.items():
        setattr(agent.progress, name, value)
    advice = Advice(agent.learner)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):  # at each doubling
            advice(agent.progress)
            agent.progress.num_updates *= 2
    return [str(each.message) for each in caught if each.category is LearningWarning]


@pytest.mark.slow
def test_nothing_is_said_where_all_is_well():
    assert said(learned("RobotRoom-v0", steps=304, training=TrainingConfig()), num_updates=800) == []


def test_large_frames_are_questioned_once_while_learning():
    with pytest.warns(LearningWarning, match="144 × 144 pixels") as caught:
        learned(pixels("Pendulum-v1", size=144), steps=200)
    assert len(caught) == 1


def test_positions_that_were_not_found_are_said():
    room = gym.make("RobotRoom-v0")
    black = gym.wrappers.TransformObservation(room, np.zeros_like, room.observation_space)
    training = replace(MOMENTUM["config"].training, random_steps=40, updates_per_step=0.1)
    settings = MOMENTUM | {"config": replace(MOMENTUM["config"], training=training)}
    agent = Agent(black, seed=0, device="cpu", **settings).learn(56)
    assert any("no positions" in each for each in said(agent, num_updates=WARMED_UP))
    assert said(agent, num_updates=10) == []
    agent.world_model.posterior.used[0] = True
    assert not any("no positions" in each for each in said(agent, num_updates=WARMED_UP))


def test_a_reward_that_never_varies_is_said():
    agent = learned(gym.wrappers.TransformReward(gym.make("RobotRoom-v0"), lambda reward: 0.0))
    (told,) = said(agent, num_updates=10, num_timesteps=1000)
    assert "the same in all 1000 steps" in told
    assert said(agent, num_updates=10, num_timesteps=999) == []


def test_what_reconstructions_miss_is_said():
    (told,) = said(learned("RobotRoom-v0"), num_updates=WARMED_UP)
    assert "of what varies in frames" in told


def test_a_collapsed_posterior_is_said():
    agent = learned("RobotRoom-v0")
    assert "posterior collapse" in said(agent, num_updates=WARMED_UP, metrics={"kl": 0.005})[0]


def test_learning_does_not_depend_on_it(monkeypatch):
    weights = []
    for look in (True, False):
        if look:
            monkeypatch.setattr("agent.advice.WARMED_UP", 2)
            with pytest.warns(LearningWarning):
                agent = learned("RobotRoom-v0")
        else:
            monkeypatch.setattr("agent.agent.Advice", lambda learner: lambda progress: None)
            agent = learned("RobotRoom-v0")
        weights.append(torch.cat([p.flatten() for p in agent.world_model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_constant_reward_says_something_only_where_episodes_end(reward):
    """In CartPole it is better to go on."""

    class Ends(gym.Wrapper):
        def step(self, action):
            frame, _, _, truncated, info = self.env.step(action)
            return frame, reward, True, truncated, info

    agent = Agent(Ends(gym.make("RobotRoom-v0")), AgentConfig(training=FEW), seed=0, device="cpu")
    agent.learn(48)
    assert agent.replay.returns_vary() == (reward != 0)
