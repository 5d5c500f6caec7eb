"""What belongs to the whole process is left as it was: torch's stream, threads, denormal numbers."""

import threading

import gymnasium as gym
import pytest
import torch
from torch import nn

from agent import Agent, AgentConfig
from agent.learner import TrainingConfig
from agent.planning import CEM
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.seeded import Seeded
from agent.threads import torch_threads
from agent.world_model import WorldModel, WorldModelConfig

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=16),
    CEM(candidates=8, elites=2, iterations=1),
    TrainingConfig(num_envs=2, random_steps=8, updates_per_step=0.5, batch_size=4),
)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorldModel((64, 64, 3), 2),
        lambda: WorldModel((64, 64, 3), 2, WorldModelConfig(posterior="recurrent")),
        lambda: Denoiser((64, 64, 3), DenoiserConfig(width=8)),
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.Parameter(torch.rand(3) + torch.randn(3)),
    ],
)
def test_parameters_are_those_of_torchs_own_seed_and_its_stream_is_not_used(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = nn.ParameterList([make()]).state_dict()
    before = torch.random.get_rng_state()
    with Seeded(5):
        made = nn.ParameterList([make()]).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert made.keys() == expected.keys() and len(made) > 0
    for name, value in expected.items():
        assert torch.equal(value, made[name]), name


def test_agents_made_in_threads_have_the_parameters_that_they_have_alone():
    alone = [Agent("RobotRoom-v0", SMALL, seed).world_model.state_dict() for seed in range(4)]
    made: dict[int, dict] = {}

    def make(seed):
        for _ in range(3):
            made[seed] = Agent("RobotRoom-v0", SMALL, seed).world_model.state_dict()
            torch.rand(100)  # which others draw from the common stream meanwhile

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, expected in enumerate(alone):
        assert all(torch.equal(value, made[seed][name]) for name, value in expected.items())


def test_an_agent_uses_the_threads_that_it_was_told_to_and_gives_them_back():
    seen = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for told, expected in ({}, 1), ({"threads": 2}, 2):
            agent = Agent("RobotRoom-v0", SMALL, **told)
            agent.learn(4, lambda progress: seen.append(torch.get_num_threads()))
            assert set(seen) == {expected} and torch.get_num_threads() == 3
            seen.clear()
        with torch_threads(1):
            with torch_threads(2):
                assert torch.get_num_threads() == 2
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="threads: got 0, allowed: a whole number, at least 1"):
        Agent("RobotRoom-v0", SMALL, threads=0)


@pytest.mark.parametrize("flushed", [True, False])
def test_a_users_treatment_of_denormals_survives_learning(flushed):
    def is_flushed():
        return (torch.tensor(1e-40) * 1).item() == 0

    torch.set_flush_denormal(flushed)
    try:
        agent = Agent("RobotRoom-v0", SMALL).learn(16)
        assert agent.progress.num_updates > 0 and is_flushed() == flushed
    finally:
        torch.set_flush_denormal(False)


def test_a_spec_is_saved_only_where_it_makes_the_same_environment(tmp_path):
    room, name = gym.make, "RobotRoom-v0"

    def inverted(env):
        return gym.wrappers.TransformObservation(env, lambda x: 255 - x, env.observation_space)

    pictures = gym.wrappers.AddRenderObservation(room(name, render_mode="rgb_array"))
    others = [
        inverted(room(name)),
        gym.make_vec(name, 2, "sync", wrappers=[inverted]),
        gym.wrappers.vector.TransformObservation(gym.make_vec(name, 2), lambda x: 255 - x),
        gym.vector.SyncVectorEnv([lambda: room(name), lambda: room(name, slip=0.1)]),
        gym.wrappers.TimeLimit(room(name), 5),
        pictures,
    ]
    for number, env in enumerate(others):
        agent = Agent(env, SMALL)
        assert agent.env_spec is None, env
        agent.save(tmp_path / str(number))
        with pytest.raises(ValueError, match="env: got None, allowed: an environment like the one"):
            Agent.load(tmp_path / str(number))
        assert Agent.load(tmp_path / str(number), env).seed == 0
    for env in (name, room(name, slip=0.1), gym.make_vec(name, 2), gym.make_vec(name, 2, "sync")):
        assert Agent(env, SMALL).env_spec is not None
