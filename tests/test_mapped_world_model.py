"""The world model with a static map: its densities, imagination and initialisation."""

import copy
import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig, mapped_world_model
from agent.collection import Collector
from agent.distributions import Normal
from agent.learner import TrainingConfig
from agent.mapped_world_model import (
    DISPLACEMENT,
    GOES_ON,
    KERNEL,
    LEAST_PRESENCE,
    MAP_STD,
    PLACE_SCALE,
    THINGS,
    UNCERTAIN,
    MappedWorldModel,
    MappedWorldModelConfig,
    step_density,
    step_loss,
)
from agent.networks import PATCH, mlp
from agent.novelty import COUNTED
from agent.planning import ICEM
from agent.posteriors import MIN_STD
from agent.presets import EVERY_ROOM
from agent.world_model import WorldModel

MAZE = "RobotRoomMaze-v0"


@pytest.fixture(scope="module")
def agent():
    config = AgentConfig(
        MappedWorldModelConfig(latent_dim=8, hidden_dim=32),
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


def test_the_pointer_is_at_the_robot():
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
    agent.world_model.initialise(agent.replay.all(21))
    model, env, errors = agent.world_model, gym.make(MAZE, layout_seed=3), []
    for seed in range(30):
        frame, info = env.reset(seed=seed)
        place = model.features(torch.from_numpy(frame)[None])[:, :2]
        row, column = (model.pointer(place)[0] + 0.5).tolist()  # the centre of pixel 0 is half inside
        found = np.array([column / 32 - 1, 1 - row / 32])
        errors.append(np.linalg.norm(found - info["robot_position"]))
    assert np.median(errors) < 0.02 and max(errors) < 0.1


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


def test_imagination_is_the_model_with_the_map_held(agent):
    model = copy.deepcopy(agent.world_model)
    z = beliefs(agent, model).mean
    rows = z.repeat_interleave(3, 0)
    actions = torch.rand(len(rows), 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model.typical_step.fill_(torch.inf)  # so that every step is taken
    with torch.no_grad():
        model.presence_net[-1].bias.fill_(1000)
        model.continuation_net[-1].bias.fill_(10)  # surely no end
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
    for learned in (
        model.place_net[0],
        model.presence_net[0],
        model.transition_net[0],
        model.encoder.mix,
    ):
        assert (learned.weight.grad != 0).any()
    assert {"log_p_continues", "kl"} <= set(metrics)
    rates = {id(p): g["rate"] for g in model.parameter_groups() for p in g["params"]}
    learned = [p for p in model.parameters() if p.requires_grad]
    assert set(rates) == {id(p) for p in learned}
    assert rates[id(model.encoder.mix.weight)] == 0.1 and rates[id(model.place_net[0].weight)] == 1
    model.zero_grad(set_to_none=True)
    for name, value in model.map.state_dict().items():
        assert (value == before[name]).all(), name


def test_the_surroundings_change_where_it_moves(agent, model):
    """Once trained, the transition depends on the map at the place, and on nothing far from it."""
    z = beliefs(agent, model).mean[:1]
    D, size = model.moving_dim, model.map
    row, column = (model.pointer(z[:, :D])[0] / 4).int().tolist()
    changed = []
    for place in ((row, column), ((row + 8) % size.rows, (column + 8) % size.columns)):
        other = z.clone()
        cells = other[:, D:].view(size.channels, size.rows, size.columns)
        cells[:, place[0], place[1]] += 1.0
        action = torch.tensor([[0.5, 0.5]])
        difference = model.transition(other, action).mean - model.transition(z, action).mean
        changed.append(difference[:, :D].abs().max().item())
    assert changed[0] > 0 and changed[1] == 0


def test_a_wall_that_is_in_every_frame_changes_where_it_moves(agent):
    """It is part of the mean frame, and of no map."""
    model = copy.deepcopy(agent.world_model)
    z = torch.zeros(2, model.latent_dim)
    z[1, 1] = 4.5  # a place to the right of the other, in the middle of the room
    columns, action = model.pointer(z[:, :2])[:, 1], torch.full((2, 2), 0.5)
    assert 12 < columns[0] and columns[0] + 10 < columns[1] < 52
    model.mean_frame.fill_(0.5)
    step = (model.transition(z, action).mean - z)[:, :2]
    torch.testing.assert_close(step[0], step[1])
    model.mean_frame[:, round(columns[1].item()) + 3] = 0.2
    beside = (model.transition(z, action).mean - z)[:, :2]
    assert (beside[1] - step[1]).norm() > 10 * (beside[0] - step[0]).norm()


def test_steps_of_earlier_batches_are_learned_from_again(agent):
    """The oldest are replaced, and evaluating the loss stores nothing."""
    model = copy.deepcopy(agent.world_model)
    batch = agent.replay.sample(8, 4, np.random.default_rng(0), reach_ends=True)
    before = int(model.num_recalled)
    with torch.no_grad():
        model.loss(batch, torch.Generator().manual_seed(0))
    assert int(model.num_recalled) == before
    model.loss(batch, torch.Generator().manual_seed(0))
    added = int(model.num_recalled) - before
    assert 0 < added <= batch.mask[:, 1:].sum()
    places = model.features(batch.frames[0, :2])[:, :2]
    step = places[1] - places[0] - model.drive(batch.actions[0, 0])[:2]
    at = before % len(model.recalled)
    torch.testing.assert_close(model.recalled[at, -2:], step, atol=1e-4, rtol=1e-3)


def test_the_pointer_counts_rows_and_columns_of_any_image():
    model = MappedWorldModel((32, 48, 3), 2)
    corner = torch.full((1, 3), PLACE_SCALE)
    torch.testing.assert_close(model.pointer(corner), torch.tensor([[31.0, 47.0]]))


def test_a_frame_tells_of_the_rest_with_the_std_of_its_network(agent):
    posterior = agent.world_model.posterior
    encoded = torch.randn(5, posterior.features, generator=torch.Generator().manual_seed(0))
    cells = agent.world_model.map.size
    features = torch.cat([torch.zeros(5, 3), encoded, torch.zeros(5, 2 * cells)], 1)
    wide = Normal(torch.zeros(5, posterior.size + cells), torch.full((5, posterior.size + cells), 1e4))
    q, _ = posterior(features, wide, torch.zeros(5, 2), torch.zeros(5, 0))
    expected = F.softplus(posterior.std(encoded)) + MIN_STD
    torch.testing.assert_close(q.std[:, 2 : posterior.size], expected, atol=1e-5, rtol=1e-4)


def test_what_is_not_seen_has_no_distance(model):
    nothing = model._landmarks(torch.zeros(1, 64, 64, 3))
    told = model.beside(torch.zeros(1, model.moving_dim), nothing)
    assert (told[:, -THINGS:] == 0).all()


def test_imagination_answers_for_the_state_it_is_asked_of(agent, model):
    """Not for the one that it has come to; and for states that are equal, too."""
    twice = beliefs(agent, model).mean[:1].repeat(2, 1)
    start, step, continuation = model.imagine(twice)
    before = continuation(start)
    moved, _ = step(start, torch.ones(2, 2))
    single, alone, _ = model.imagine(twice[:1])
    torch.testing.assert_close(moved[:1], alone(single, torch.ones(1, 2))[0])
    torch.testing.assert_close(moved[0], moved[1])
    assert not torch.equal(continuation(moved), before)
    torch.testing.assert_close(continuation(start), before)


def test_of_more_steps_than_can_be_kept_the_last_are(agent, monkeypatch):
    monkeypatch.setattr(mapped_world_model, "RECALLED", 8)
    model = MappedWorldModel((64, 64, 3), 2)
    batch = agent.replay.sample(8, 6, np.random.default_rng(0), reach_ends=True)
    model.initialise(batch)
    model.loss(batch, torch.Generator().manual_seed(0))
    assert int(model.num_recalled) == len(model.recalled) == len(model.reached) == 8


def test_a_place_is_where_a_step_leads(agent):
    """Its surroundings are those in the map that was believed before the step."""
    model = copy.deepcopy(agent.world_model)
    batch = agent.replay.sample(8, 4, np.random.default_rng(0), reach_ends=True)
    at = int(model.num_recalled) % len(model.reached)
    model.loss(batch, torch.Generator().manual_seed(0))
    features = model.features(batch.frames[0, :2])
    q, _ = model.posterior(features[:1], *model.initial(1)[:1], torch.zeros(1, 2), torch.zeros(1, 0))
    image = model._background(q.mean[:, model.moving_dim :])
    true = model.map.surroundings(image, model.pointer(features[1:, :2]))[0]
    assert (model.pointer(features[1, :2]) - model.pointer(features[0, :2])).norm() > 0.5
    torch.testing.assert_close(model.reached[at], true, atol=1e-3, rtol=1e-3)


def test_a_rare_step_is_learned_beside_many_certain_ones():
    """One action of five leads elsewhere, in one of ten steps; the other inputs tell nothing.

    The likelihood without weights leaves it at 0, with a σ of 0.6.
    """
    torch.manual_seed(0)
    net = mlp(5 + 300, 64, 4)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    shares = torch.tensor([0.3, 0.1, 0.1, 0.3, 0.2])
    for _ in range(200):
        action = torch.multinomial(shares, 256, replacement=True)
        inputs = torch.cat([2 * F.one_hot(action, 5) - 1, 0.3 * torch.randn(256, 300)], 1)
        steps = torch.zeros(256, 2)
        steps[action == 1, 1] = 0.7
        density = step_density(net(inputs))
        optimizer.zero_grad()
        step_loss(density, steps).mean().backward()
        optimizer.step()
    assert density.mean[action == 1, 1].mean().item() == pytest.approx(0.7, abs=0.05)
    assert density.std[action == 1].max() < 0.2 and density.std[action == 0].max() < 0.05


def test_a_goal_is_no_wall():
    """Episodes end on it, so that no step begins there; imagined ones lead there all the same."""
    agent = Agent("RobotRoom-v0", seed=0, device="cpu").learn(104)
    env, model = gym.make("RobotRoom-v0"), agent.world_model
    for start in ((0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.0, -0.3)):
        frame, _ = env.reset(seed=0, options={"robot_position": start})
        features = model.features(torch.from_numpy(frame)[None])
        q, _ = model.posterior(features, *model.initial(1)[:1], torch.zeros(1, 2), torch.zeros(1, 0))
        m, step, _ = model.imagine(q.mean)
        for _ in range(3):
            m, _ = step(m, -torch.tensor([start]).sign())
        assert (model.pointer(m) - 31.5).norm() < 3  # pixels from the goal, at the centre; 9.6 before


def test_steps_that_are_uncertain_or_lead_nowhere_are_imagined_shorter(agent):
    """By the square of the std over what is allowed, and by how unlikely the place is."""
    model = copy.deepcopy(agent.world_model)
    z = beliefs(agent, model).mean[:1]
    action = torch.ones(len(z), 2)
    density = model.transition(z, action)
    m, whole = z[:, : model.moving_dim], density.mean[:, : model.moving_dim]
    allowed, last = density.std[0, :2].norm().item() / UNCERTAIN, model.presence_net[-1]
    for typical, presence, share in (
        (torch.inf, 9.0, 1.0),
        (allowed, 9.0, 1.0),
        (allowed / 2, 9.0, 0.25),
        (0.0, 9.0, 0.0),
        (torch.inf, LEAST_PRESENCE, 1.0),
        (torch.inf, LEAST_PRESENCE - 1, math.exp(-1)),
        (allowed / 2, LEAST_PRESENCE - 1, math.exp(-1) / 4),
    ):
        model.typical_step.fill_(typical)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(presence)
        _, step, _ = model.imagine(z)
        got = step(m, action)[0]
        torch.testing.assert_close(got, m + share * (whole - m), rtol=1e-3, atol=1e-5)


def test_presence_is_a_ratio_of_densities():
    """Places are uniform on the left half of a room without marks, and displaced by ± `DISPLACEMENT`.

    ln p / p̃ is then 0 well inside, rises to ln 2 at the border, and is far below 0 beyond. What marks
    the border is a line in the static image.
    """
    torch.manual_seed(0)
    model = MappedWorldModel((64, 64, 3), 2)
    image = torch.zeros(1, 64, 64, 3)
    image[:, :, 32:34] = -0.3
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.presence_net.parameters(), 3e-3)
    for _ in range(600):
        real = torch.rand(128, 2, generator=generator) * torch.tensor([40.0, 16.0]) + 12
        unreal = real + DISPLACEMENT * torch.randn(128, 2, generator=generator)
        real, unreal = (
            model.presence_net(model.map.surroundings(image, each)) for each in (real, unreal)
        )
        loss = F.softplus(-real).mean() + F.softplus(unreal).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    columns = torch.tensor([20.0, 26.0, 33.0])
    places = torch.stack([torch.full((3,), 32.0), columns], 1)
    inside, near, beyond = model.presence_net(model.map.surroundings(image, places))[:, 0].tolist()
    blurred = 0.5 * (1 + math.erf(2 / DISPLACEMENT / math.sqrt(2)))  # two pixels from the border
    assert abs(inside) < 0.3 and abs(near + math.log(blurred)) < 0.6 and beyond < LEAST_PRESENCE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"posterior": "recurrent"}, "posterior: got 'recurrent', allowed: 'filter'"),
        ({"latent_dim": 2}, "latent_dim: got 2, allowed: from 3 to 18"),
        ({"latent_dim": 19}, "latent_dim: got 19, allowed: from 3 to 18"),
    ],
)
def test_settings_that_it_cannot_use_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MappedWorldModel((64, 64, 3), 2, MappedWorldModelConfig(**settings))


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


def test_weights_for_others_are_small_and_act_as_before(agent, tmp_path):
    """What is rehearsed is left out, and learning can begin anew."""
    agent.save_pretrained(tmp_path / "few")
    size = sum(path.stat().st_size for path in (tmp_path / "few").iterdir())
    assert size < 1.5e6 and int(agent.world_model.num_recalled) > 0
    loaded = Agent.from_pretrained(tmp_path / "few", device="cpu")
    assert int(loaded.world_model.num_recalled) == 0 and (loaded.world_model.recalled == 0).all()
    frames = np.stack([e.frames[0] for e in agent.replay.episodes[:6]])
    found, true = (each.world_model.features(torch.from_numpy(frames)) for each in (loaded, agent))
    assert (found[:, :2] - true[:, :2]).abs().median() < 0.05  # in half precision
    loaded.learn(24)
    assert int(loaded.world_model.num_recalled) > 0


def test_an_agent_that_has_learned_nothing_is_saved_and_loaded(tmp_path):
    agent = Agent(MAZE, seed=0, device="cpu", **EVERY_ROOM)
    agent.save(tmp_path / "agent")
    loaded = Agent.load(tmp_path / "agent", device="cpu")
    assert loaded.config == agent.config and loaded.exploration == agent.exploration
    assert type(loaded.world_model) is MappedWorldModel


def test_where_an_episode_goes_on_no_end_is_imagined(agent):
    """The log-odds are raised until those of the present state are `GOES_ON`, for each z by itself."""
    model = copy.deepcopy(agent.world_model)
    z = beliefs(agent, model).mean[:2]
    with torch.no_grad():
        model.continuation_net[-1].weight.mul_(5)
        model.continuation_net[-1].bias.fill_(GOES_ON)
    known = model.continuation(z).logit()
    assert (known - GOES_ON).abs().min() > 1e-3
    m, _, continuation = model.imagine(z)
    raised = (GOES_ON - known).clamp(min=0)
    torch.testing.assert_close(continuation(m).logit(), known + raised, atol=1e-3, rtol=1e-3)
    elsewhere = m.repeat_interleave(3, 0) + torch.randn(6, model.moving_dim)
    rows = torch.cat([elsewhere, z.repeat_interleave(3, 0)[:, model.moving_dim :]], -1)
    expected = model.continuation(rows).logit() + raised.repeat_interleave(3)
    torch.testing.assert_close(continuation(elsewhere).logit(), expected, atol=1e-3, rtol=1e-2)


def test_outcomes_are_rehearsed_with_the_steps(agent):
    """The stored ones are those of the frames that the steps lead to."""
    model = copy.deepcopy(agent.world_model)
    batch = agent.replay.sample(8, 4, np.random.default_rng(1), reach_ends=True)
    at = int(model.num_recalled) % len(model.outcomes)
    model.loss(batch, torch.Generator().manual_seed(0))
    stored = model.outcomes[at : at + 3]
    torch.testing.assert_close(stored[:, -2], batch.rewards[0, 1:])
    assert torch.equal(stored[:, -1], batch.continues[0, 1:])
    places = model.features(batch.frames[0, 1:])[:, :2]
    torch.testing.assert_close(PLACE_SCALE * stored[:, :2], places, atol=1e-4, rtol=1e-3)
    model.zero_grad(set_to_none=True)
    features = model.features(batch.frames.flatten(0, 1)).detach()
    q, _, _ = model.follow(features, batch, torch.Generator().manual_seed(0))
    model.further_loss(features, q, batch, torch.Generator().manual_seed(0)).backward()
    for net in (model.place_net, model.presence_net, model.reward_net, model.continuation_net):
        assert (net[-1].weight.grad != 0).any()


def test_the_map_is_fitted_anew_to_more_episodes_and_draws_what_it_reads_better(agent):
    model, batch = copy.deepcopy(agent.world_model), agent.replay.all(21, 12)
    frames = batch.frames[:, 0].float() / 255 - model.mean_frame

    def error():
        moving = model.map.moving(frames)
        s, _ = model._read(frames, moving)
        return (model.map.draw(s) - frames).abs()[~moving].mean()

    model.map.components.copy_(model.map.components.roll(1, 0))
    before = error()
    model.refit(batch, batch.rewards[batch.reward_mask.bool()], True)
    assert error() < before / 2


def test_a_new_scale_of_rewards_keeps_what_was_predicted(agent):
    model, batch = copy.deepcopy(agent.world_model), agent.replay.all(21, 12)
    z, rewards = beliefs(agent, model).mean, torch.tensor([0.0, 300.0, -200.0, 7.0])
    model.refit(batch, batch.rewards[batch.reward_mask.bool()], True)  # the map is fitted, too
    before = model.reward(z)
    model.refit(batch, rewards, True)
    assert model.reward_offset == rewards.mean() and model.reward_scale == rewards.std()
    assert torch.allclose(model.reward(z), before, atol=1e-3)
    model.refit(batch, torch.ones(4), True)  # a constant one has no scale
    assert model.reward_offset == 1 and model.reward_scale == rewards.std()


def test_outcomes_are_told_how_far_away_the_goal_is():
    """The room's own distance is among what they are told, at starts and goals never seen."""
    room = "RobotRoomRandomGoal-v0"
    config = AgentConfig(MappedWorldModelConfig(), training=TrainingConfig(updates_per_step=0.01))
    agent = Agent(room, config, seed=0, device="cpu", world_model=MappedWorldModel).learn(160)
    model, env, told, true = agent.world_model, gym.make(room), [], []
    for seed in range(30):
        frame, info = env.reset(seed=1000 + seed)
        prior, memory = model.initial(1)
        features = model.features(torch.from_numpy(frame)[None])
        q, _ = model.posterior(features, prior, torch.zeros(1, 2), memory)
        told.append(model.outcome_inputs(q.mean)[0, -THINGS:] * PATCH * 2 / 64)  # 64 pixels are 2 m
        true.append(info["distance"])
    errors = (torch.stack(told) - torch.tensor(true)[:, None]).abs().median(0).values
    assert errors.min() < 0.02  # one of the things is the goal


def test_novelty_falls_with_the_density_of_the_places_seen(agent):
    model = copy.deepcopy(agent.world_model)
    assert model.novelty is None  # as the reward has varied
    model.rewarded.fill_(False)
    m, _, _ = model.imagine(beliefs(agent, model).mean.detach())
    found = model.novelty(m)
    seen = model.outcomes[: int(model.num_recalled), :2] * PLACE_SCALE
    seen = model.pointer(seen[:: max(len(seen) // COUNTED, 1)]).numpy()

    def density(where):
        squared = ((where[:, None] - seen[None]) ** 2).sum(-1)
        return np.exp(-squared / (2 * KERNEL**2)).mean(1)

    expected = (density(model.pointer(m).numpy()) / density(seen).mean() + 0.1) ** -0.5
    assert np.allclose(found.numpy(), expected, rtol=1e-3)


def test_what_is_new_is_sought_until_the_reward_varies():
    """The goal is where no episode starts; at random it is not found in the same time."""
    config = replace(
        EVERY_ROOM["config"],
        planner=ICEM(states=64, discount=0.98),
        training=TrainingConfig(longest_episode=20, updates_per_step=0.25),
    )
    steps = {}
    for world_model in MappedWorldModel, WorldModel:  # the latter cannot tell what is new
        settings = EVERY_ROOM | {"config": config, "world_model": world_model}
        agent = Agent("RobotRoomSparse-v0", seed=401, device="cpu", **settings)
        agent.learn(400, callback=lambda p: not agent.replay.returns_vary())  # noqa: B023
        steps[world_model] = agent.num_timesteps
    assert steps[MappedWorldModel] < 300 and steps[WorldModel] == 400


def test_rewards_depend_on_whether_the_episode_ends(agent):
    """p(r | z) = p(c = 1 | z) p(r | c = 1, z) + p(c = 0 | z) p(r | c = 0, z), by its mean."""
    model = copy.deepcopy(agent.world_model)
    offset, scale = model.reward_offset.item(), model.reward_scale.item()
    z = beliefs(agent, model).mean
    with torch.no_grad():
        for net, biases in ((model.reward_net, (-2.0, 1.0)), (model.continuation_net, (0.5,))):
            net[-1].weight.zero_()
            net[-1].bias.copy_(torch.tensor(biases))
    probability = 1 / (1 + math.exp(-0.5))
    expected = torch.full((len(z),), offset + scale * (-2 * probability + 1 - probability))
    torch.testing.assert_close(model.reward(z), expected)
    batch = agent.replay.sample(4, 3, np.random.default_rng(0), reach_ends=True)
    batch = batch._replace(continues=torch.tensor([[1.0, 1.0, 0.0]] * 4))
    zs = torch.zeros(4, 3, model.latent_dim)
    got = model.log_p_rewards(model.outcome_inputs(zs), batch, slice(None))
    std = model.config.reward_std * model.reward_scale
    for time, mean in ((1, -2.0), (2, 1.0)):
        density = torch.distributions.Normal(offset + scale * mean, std)
        wanted = density.log_prob(batch.rewards[:, time]) * batch.reward_mask[:, time]
        torch.testing.assert_close(got[:, time], wanted, rtol=1e-4, atol=1e-4)


def test_where_nothing_moves_there_is_no_evidence_of_a_place(agent, model):
    still = (model.mean_frame * 255 + 0.5).to(torch.uint8)
    frames = torch.stack([still, torch.from_numpy(agent.replay.episodes[0].frames[0])])
    features = model.features(frames)
    assert features[:, 2].tolist() == [0, 1]
    prior = Normal(torch.full((2, model.latent_dim), 0.7), torch.full((2, model.latent_dim), 0.3))
    q, _ = model.posterior(features, prior, torch.zeros(2, 2), torch.zeros(2, 0))
    torch.testing.assert_close(q.mean[0, :2], prior.mean[0, :2], atol=1e-3, rtol=0)
    torch.testing.assert_close(q.std[0, :2], prior.std[0, :2], atol=1e-3, rtol=0)
    assert (q.std[1, :2] < 0.02).all()


def test_only_what_moves_has_a_divergence_and_its_place_teaches_nothing(model):
    generator = torch.Generator().manual_seed(0)

    def density():
        shape = 3, model.latent_dim
        mean = torch.randn(shape, generator=generator).requires_grad_()
        return Normal(mean, torch.rand(shape, generator=generator) + 0.5)

    q, p = density(), density()
    moving = model.moving_dim
    told = (torch.distributions.Normal(d.mean[:, :moving], d.std[:, :moving]) for d in (q, p))
    expected = torch.distributions.kl_divergence(*told).sum(1)
    found = model.divergence(q, p)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    for mean in (q.mean, p.mean):
        assert (mean.grad[:, :2] == 0).all() and (mean.grad[:, 2:moving] != 0).all()
        assert (mean.grad[:, moving:] == 0).all()


def test_what_follows_from_the_shape_of_a_frame_is_not_saved(model):
    """Agents that were saved before it was computed can still be loaded."""
    assert not {"half_extent", "map.extent"} & set(model.state_dict())
