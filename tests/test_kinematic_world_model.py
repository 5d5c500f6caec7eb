"""The world model of positions and velocities, on a point mass whose motion is known exactly."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_positions import drawn

from agent import Agent, AgentConfig
from agent.distributions import Normal
from agent.kinematic_world_model import (
    KERNEL,
    UNSEEN_STD,
    KinematicPosterior,
    KinematicWorldModel,
    KinematicWorldModelConfig,
)
from agent.learner import TrainingConfig
from agent.novelty import COUNTED, LEAST_DENSITY
from agent.planning import ICEM
from agent.presets import MOMENTUM
from agent.types import Batch

FORCE, FRICTION = 0.012, 0.05


def simulated(rng, episodes, steps):
    """Places, velocities and actions of a point mass that is pushed; the walls are far away."""
    place = rng.uniform(0.35, 0.65, (episodes, 2))
    velocity = rng.uniform(-0.02, 0.02, (episodes, 2))
    actions = rng.uniform(-1, 1, (episodes, (steps + 3) // 4, 2)).repeat(4, 1)[:, : steps - 1]
    actions = actions - actions.mean(1, keepdims=True)
    places, velocities = [place], [velocity]
    for action in np.moveaxis(actions, 1, 0):
        velocity = (1 - FRICTION) * velocity + FORCE * action
        place = place + velocity
        places.append(place)
        velocities.append(velocity)
    return np.stack(places, 1), np.stack(velocities, 1), actions.astype(np.float32)


def batch_of(places, actions, side=24):
    frames = (drawn(places[:, :, None], [(1.0, 0.8, 0.1)], side) * 255).round().to(torch.uint8)
    rewards = torch.tensor(-np.linalg.norm(places - 0.5, axis=-1), dtype=torch.float32)
    ones = torch.ones(places.shape[:2])
    return Batch(
        frames=frames,
        actions=torch.from_numpy(actions),
        rewards=rewards,
        reward_mask=ones,
        mask=ones,
        continues=ones,
    )


@pytest.fixture(scope="module")
def learned():
    """A model after 200 updates, and the scene's data."""
    torch.manual_seed(0)
    data = simulated(np.random.default_rng(0), 24, 16)
    batch = batch_of(data[0], data[2])
    model = KinematicWorldModel((24, 24, 3), 2)
    model.initialise(batch)
    optimizer = torch.optim.Adam(model.parameter_groups(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for update in range(200):
        rows = torch.randint(len(batch.mask), (4,), generator=generator)
        loss, _ = model.loss(Batch(*(each[rows] for each in batch)), generator)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - update / 210)
        optimizer.step()
    return model, data


def followed(model, batch):
    """Beliefs about a batch, (B, T, D)."""
    features = model.features(batch.frames.flatten(0, 1))
    return model.follow(features, batch, torch.Generator().manual_seed(0))[0]


def explained(inputs, targets):
    """R² of targets as a linear function of inputs."""
    x, y = (torch.as_tensor(each).double().reshape(-1, each.shape[-1]) for each in (inputs, targets))
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    left = y - x @ torch.linalg.lstsq(x, y).solution
    return (1 - left.square().sum(0) / (y - y.mean(0)).square().sum(0)).numpy()


def test_the_belief_tells_place_and_velocity(learned):
    model, _ = learned
    places, velocities, actions = simulated(np.random.default_rng(1), 16, 16)
    belief = followed(model, batch_of(places, actions)).mean.detach()
    K = model.num_positions
    assert model.posterior.used.sum() == 2
    assert (explained(belief[:, 1:, :K], places[:, 1:]) > 0.999).all()
    assert (explained(belief[:, 1:, K:], velocities[:, 1:]) > 0.95).all()


def test_imagination_follows_the_laws_of_motion(learned):
    model, _ = learned
    places, _, actions = simulated(np.random.default_rng(1), 16, 16)
    belief = followed(model, batch_of(places, actions)).mean.detach()
    z, K = belief[:, 3], model.num_positions
    for t in range(3, 13):
        z, reward = model.step(z, torch.from_numpy(actions[:, t]))
    moved = belief[:, 13, :2] - belief[:, 3, :2]
    error = z[:, :2] - belief[:, 13, :2]
    assert error.square().mean() < 0.02 * moved.square().mean()
    true = -np.linalg.norm(places[:, 13] - 0.5, axis=-1)
    assert np.corrcoef(reward.numpy(), true)[0, 1] > 0.8
    assert z[:, 2:K].abs().max() < 0.02 and z[:, K + 2 :].abs().max() < 0.02


def test_beliefs_weigh_evidence_as_a_kalman_filter_does():
    posterior = KinematicPosterior(2)
    posterior.read_std.copy_(torch.tensor([0.1, 0.3]))
    posterior.speed.copy_(torch.tensor([0.5, 2.0]))
    generator = torch.Generator().manual_seed(0)
    last, y = torch.randn(2, 5, 2, generator=generator)
    prior = Normal(torch.randn(5, 4, generator=generator), torch.rand(5, 4, generator=generator) + 0.1)
    memory = torch.cat([last, torch.ones(5, 1)], -1)
    q, after = posterior(y, prior, torch.zeros(5, 1), memory)
    torch.testing.assert_close(after, torch.cat([y, torch.ones(5, 1)], -1))
    measured = torch.cat([y, (y - last) / posterior.speed], -1)
    noise = torch.cat([posterior.read_std, 2**0.5 * posterior.read_std / posterior.speed])
    gain = prior.std**2 / (prior.std**2 + noise**2)
    torch.testing.assert_close(q.mean, prior.mean + gain * (measured - prior.mean))
    torch.testing.assert_close(q.std, ((1 - gain) * prior.std**2).sqrt())
    # One frame tells nothing of a velocity.
    first, _ = posterior(y, prior, torch.zeros(5, 1), torch.zeros(5, 3))
    torch.testing.assert_close(first.mean[:, :2], q.mean[:, :2])
    few = (prior.std[:, 2:] / UNSEEN_STD).square()
    assert ((first.std[:, 2:] / prior.std[:, 2:] - 1).abs() < few).all()


def test_the_noise_of_reading_is_no_noise_of_motion(learned):
    model, _ = learned
    generator = torch.Generator().manual_seed(0)
    z, action = torch.randn(9, model.latent_dim, generator=generator), torch.zeros(9, 2)
    K, read = model.num_positions, model.posterior.velocity_std.clone()
    model.posterior.read_std[:2] *= 0.5 * model.read_velocity(z, action).std.min() / read[:2]
    moved, shown = model.transition(z, action), model.read_velocity(z, action)
    both = moved.std[:, K : K + 2] ** 2 + model.posterior.velocity_std[:2] ** 2
    torch.testing.assert_close(both, shown.std[:, :2] ** 2)
    torch.testing.assert_close(moved.std[:, :2], model.posterior.speed[:2] * moved.std[:, K : K + 2])
    model.posterior.read_std[:2] *= read[:2] / model.posterior.velocity_std[:2]


def test_what_is_not_used_teaches_nothing(learned):
    model, _ = learned
    places, _, actions = simulated(np.random.default_rng(1), 4, 8)
    loss, _ = model.loss(batch_of(places, actions), torch.Generator().manual_seed(0))
    model.zero_grad()
    loss.backward()
    last, K = model.transition_net[-1], model.num_positions
    gradient = last.bias.grad.view(2, K)
    assert (gradient[:, :2] != 0).all()
    assert gradient[:, 2:].abs().max() < 1e-5 * gradient[:, :2].abs().min()


def test_predicted_velocities_are_bounded(learned):
    model, _ = learned
    far = 1e3 * torch.randn(20, model.latent_dim, generator=torch.Generator().manual_seed(0))
    for _ in range(50):
        far, reward = model.step(far, torch.ones(20, 2))
    assert far.isfinite().all() and reward.isfinite().all()
    assert far[:, model.num_positions :].abs().max() <= 6


def test_a_new_scale_of_rewards_changes_no_prediction(learned):
    model, _ = learned
    z = torch.randn(7, model.latent_dim, generator=torch.Generator().manual_seed(0))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before, places = model.reward(z), simulated(np.random.default_rng(1), 4, 8)
    model.refit(batch_of(places[0], places[2]), torch.linspace(-30, 50, 20), True)
    assert model.reward_scale > 10
    torch.testing.assert_close(model.reward(z), before, rtol=1e-3, atol=1e-4)
    model.load_state_dict(state)


def test_novelty_falls_with_the_density_of_the_states_seen(learned):
    model, _ = learned
    assert model.novelty is None  # as rewards vary
    model.rewarded.fill_(False)
    found = model.novelty
    model.rewarded.fill_(True)
    seen = model.remembered[: model.num_remembered, : model.latent_dim].double().numpy()
    seen = seen[:: len(seen) // COUNTED]
    used = model.posterior.used.repeat(2).numpy()
    states = np.concatenate([seen[:20], 3 * seen[:20]])

    def density(where):
        squared = (((where[:, None] - seen[None]) * used) ** 2).sum(-1)
        return np.exp(-squared / (2 * KERNEL**2)).mean(1)

    expected = (density(states) / density(seen).mean() + LEAST_DENSITY) ** -0.5
    np.testing.assert_allclose(found(torch.from_numpy(states).float()), expected, rtol=1e-3)
    assert expected[20:].mean() > 1.5 * expected[:20].mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 7}, "latent_dim: got 7, allowed: an even number"),
        ({"posterior": "recurrent"}, "posterior: got 'recurrent', allowed: 'filter'"),
    ],
)
def test_what_is_not_allowed_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        KinematicWorldModelConfig(**changes)


class Puck(gym.Env):
    """A puck slides in a box, pushed by the actions; the nearer to the middle, the better."""

    observation_space = gym.spaces.Box(0, 255, (24, 24, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.place, self.velocity = self.np_random.uniform(0.1, 0.9, 2), np.zeros(2)
        return self.frame(), {}

    def frame(self):
        frames = drawn(self.place[None, None, None], [(1.0, 0.8, 0.1)], 24)
        return (frames[0, 0].numpy() * 255).round().astype(np.uint8)

    def step(self, action):
        self.velocity = (1 - FRICTION) * self.velocity + FORCE * np.asarray(action)
        moved = self.place + self.velocity
        self.velocity = np.where((moved < 0) | (moved > 1), 0, self.velocity)
        self.place, self.steps = moved.clip(0, 1), self.steps + 1
        return self.frame(), -float(np.linalg.norm(self.place - 0.5)), False, self.steps >= 60, {}


gym.register("Puck-v0", Puck)


def returns(agent):
    env, found = gym.make("Puck-v0"), []
    for seed in range(2):
        frame, _ = env.reset(seed=seed)
        state, total, over = None, 0.0, False
        while not over:
            if agent is None:
                action = np.zeros(2)
            else:
                action, state = agent.predict(frame, state, None)
            frame, reward, _, over, _ = env.step(action)
            total += reward
        found.append(total)
    return np.array(found)


@pytest.mark.slow
def test_a_task_with_momentum_is_learned_saved_and_loaded(tmp_path):
    few = TrainingConfig(
        random_steps=160,
        batch_size=4,
        sequence_length=8,
        learning_rate=3e-3,
        clip_norm=1e3,
        longest_episode=30,
        updates_per_step=1.0,
    )
    settings = {**MOMENTUM, "config": AgentConfig(KinematicWorldModelConfig(), ICEM(horizon=12), few)}
    agent = Agent("Puck-v0", seed=0, device="cpu", **settings)
    agent.learn(320)
    found, idle = returns(agent), returns(None)
    assert (found > 0.5 * idle).all(), (found, idle)  # a model without velocities overshoots
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent", gym.make("Puck-v0"), device="cpu")
    assert isinstance(again.world_model, KinematicWorldModel)
    frame, _ = gym.make("Puck-v0").reset(seed=5)
    for first, second in [(agent, again), (again, agent)]:
        np.testing.assert_array_equal(first.predict(frame)[0], second.predict(frame)[0])
