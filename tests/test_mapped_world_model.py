"""The world model with a static map: its densities, imagination and initialisation."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.collection import Collector
from agent.distributions import Normal
from agent.learner import TrainingConfig
from agent.mapped_world_model import MAP_STD, MappedWorldModel
from agent.world_model import WorldModel, WorldModelConfig

MAZE = "RobotRoomMaze-v0"


@pytest.fixture(scope="module")
def agent():
    config = AgentConfig(
        WorldModelConfig(hidden_dim=32, continuation=True),
        training=TrainingConfig(updates_per_step=0.1, longest_episode=20, random_steps=200),
    )
    agent = Agent(MAZE, config, seed=0, device="cpu", world_model=MappedWorldModel)
    return agent.learn(208)


@pytest.fixture
def model(agent):
    return agent.world_model


def beliefs(agent, model):
    """q(z) of some frames, from the prior, (N, D)."""
    frames = torch.from_numpy(np.stack([e.frames[0] for e in agent.replay.episodes[:6]]))
    prior, memory = model.initial(len(frames))
    q, _ = model.posterior(model.features(frames), prior, torch.zeros(len(frames), 2), memory)
    return q


def test_the_pointer_begins_at_the_robot():
    """Before any gradient step, in mazes never seen; a random place is about 1 m away."""
    config = AgentConfig(training=TrainingConfig(longest_episode=20))
    agent = Agent(MAZE, config, seed=1, device="cpu", world_model=MappedWorldModel)
    collector = Collector(agent.env, agent.replay, 0, 20)
    generator = np.random.default_rng(0)
    actions = np.zeros((8, 2), np.float32)
    for _ in range(60):
        changed = generator.random(8) > 0.85
        drawn = generator.uniform(-1, 1, (8, 2)).astype(np.float32)
        actions = np.where(changed[:, None], drawn, actions)
        collector.step(actions)
    agent.learner.initialise(agent.replay.all(21))
    model, env, errors = agent.world_model, gym.make(MAZE, layout_seed=3), []
    for seed in range(30):
        frame, info = env.reset(seed=seed)
        m = model.features(torch.from_numpy(frame)[None])[:, : model.moving_dim]
        row, column = (4 * model.pointer(m)[0] + 2).tolist()  # from cells to pixels
        found = np.array([column / 32 - 1, 1 - row / 32])
        errors.append(np.linalg.norm(found - info["robot_position"]))
    assert np.median(errors) < 0.06


def test_unknown_cells_keep_the_prediction_and_known_ones_are_kalman_updates(agent, model):
    generator = torch.Generator().manual_seed(0)
    frame = torch.from_numpy(agent.replay.episodes[0].frames[0])[None]
    features = model.features(frame)
    S = model.map.size
    s, known = features[0, -2 * S : -S], features[0, -S:] > 0
    assert 0 < known.sum() < S
    prior = Normal(
        torch.randn(1, model.latent_dim, generator=generator), torch.full((1, model.latent_dim), 0.3)
    )
    q, _ = model.posterior(features, prior, torch.zeros(1, 2), torch.zeros(1, 0))
    mean, std = q.mean[0, model.moving_dim :], q.std[0, model.moving_dim :]
    before = prior.mean[0, model.moving_dim :]
    assert (mean[~known] == before[~known]).all() and (std[~known] == 0.3).all()
    precision = 1 / 0.3**2 + 1 / MAP_STD**2
    expected = (before / 0.3**2 + s / MAP_STD**2) / precision
    torch.testing.assert_close(mean[known], expected[known], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(std[known], torch.full_like(std[known], precision**-0.5))


def test_imagination_is_the_model_with_the_map_held(agent, model):
    z = beliefs(agent, model).mean
    rows = z.repeat_interleave(3, 0)
    actions = torch.rand(len(rows), 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    m, step, continuation = model.imagine(z)
    following, reward = step(m.repeat_interleave(3, 0), actions)
    slow, slow_reward = model.step(rows, actions)
    torch.testing.assert_close(following, slow[:, : model.moving_dim])
    torch.testing.assert_close(slow[:, model.moving_dim :], rows[:, model.moving_dim :])
    torch.testing.assert_close(reward, slow_reward)
    torch.testing.assert_close(continuation(following), model.continuation(slow))


def test_decoded_frames_are_moving_part_plus_map(agent, model):
    z = beliefs(agent, model).mean
    m, s = z[:, : model.moving_dim], z[:, model.moving_dim :]
    image = model.mean_frame + model.decoder.moving(m) + model.map.draw(s)
    expected = (image * 255).clamp(0, 255)
    assert ((model.decode(z).float() - expected).abs() < 0.51).all()  # rounded
    frames = torch.rand(len(z), 64, 64, 3, generator=torch.Generator().manual_seed(0))
    direct = (frames - model.decoder(z)).square().sum((1, 2, 3))
    torch.testing.assert_close(model.decoder.squared_error(z, frames), direct, rtol=1e-4, atol=1e-2)


def test_gradients_leave_the_map_alone_and_the_encoder_learns_slowly(agent, model):
    batch = agent.replay.sample(4, 4, np.random.default_rng(0), reach_ends=True)
    before = {name: value.clone() for name, value in model.map.state_dict().items()}
    loss, metrics = model.loss(batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(parameter.grad is None for parameter in model.map.parameters())
    assert all(parameter.grad is None for parameter in model.landmarks.parameters())
    assert model.pointer.weight.grad is not None and model.encoder.mix.weight.grad is not None
    assert {"log_p_continues", "kl"} <= set(metrics)
    rates = {id(p): g["rate"] for g in model.parameter_groups() for p in g["params"]}
    learned = [p for p in model.parameters() if p.requires_grad]
    assert set(rates) == {id(p) for p in learned}
    assert rates[id(model.encoder.mix.weight)] == 0.1 and rates[id(model.pointer.weight)] == 1
    model.zero_grad(set_to_none=True)
    for name, value in model.map.state_dict().items():
        assert (value == before[name]).all(), name


def test_the_surroundings_change_where_it_moves(agent, model):
    """Once trained, the transition depends on the map at the pointer, and on nothing far from it."""
    z = beliefs(agent, model).mean[:1]
    D, size = model.moving_dim, model.map
    row, column = model.pointer(z[:, :D])[0].round().int().tolist()
    changed = []
    for place in ((row, column), ((row + 8) % size.rows, (column + 8) % size.columns)):
        other = z.clone()
        cells = other[:, D:].view(size.channels, size.rows, size.columns)
        cells[:, place[0], place[1]] += 1.0
        action = torch.tensor([[0.5, 0.5]])
        difference = model.transition(other, action).mean - model.transition(z, action).mean
        changed.append(difference[:, :D].abs().max().item())
    assert changed[0] > 0 and changed[1] == 0


def test_it_acts_saves_and_loads(agent, tmp_path):
    env_frames = np.stack([e.frames[0] for e in agent.replay.episodes[:3]])
    actions, state = agent.predict(env_frames)
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"world_model: got .*WorldModel, allowed: .*Mapped"):
        Agent.load(tmp_path / "agent", device="cpu", world_model=WorldModel)
    loaded = Agent.load(tmp_path / "agent", device="cpu")
    np.testing.assert_array_equal(loaded.predict(env_frames)[0], actions)
    again, _ = agent.predict(env_frames, state)
    assert again.shape == (3, 2)
