import dataclasses
import math

import jaxtyping
import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from agent import distributions
from agent.posteriors import FilterPosterior, RecurrentPosterior, inverse_softplus
from agent.types import Batch
from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.model.plain import plain_loss
from robot_room import rendering, room

POSTERIORS = ("filter", "recurrent")


def room_batch(windows=6, length=5, seed=0):
    """Windows of random walks in the room, made without the agent's own collection."""
    generator = np.random.default_rng(seed)
    robot, goal = generator.uniform(-0.9, 0.9, (windows, 2)), np.zeros((windows, 2))
    frames, actions, rewards = [rendering.render(rendering.Scene(robot, goal))], [], [np.zeros(windows)]
    robots = [robot]
    for _ in range(length - 1):
        actions.append(generator.uniform(-1, 1, (windows, 2)))
        robot = room.transition(robot, actions[-1])
        robots.append(robot)
        frames.append(rendering.render(rendering.Scene(robot, goal)))
        rewards.append(-room.distance(robot, goal))
    mask = torch.ones(windows, length)
    reward_mask = mask.clone()
    reward_mask[:, 0] = 0
    return Batch(
        torch.from_numpy(np.stack(frames, 1)),
        torch.from_numpy(np.stack(actions, 1)).float(),
        torch.from_numpy(np.stack(rewards, 1)).float(),
        reward_mask,
        mask,
        torch.from_numpy(np.stack([room.distance(each, goal) > 0.5 for each in robots], 1)).float(),
    )


def make_model(batch, **settings):
    torch.manual_seed(0)
    model = WorldModel((64, 64, 3), 2, WorldModelConfig(hidden_dim=32, **settings))
    model.initialise(batch)
    return model


@pytest.mark.parametrize("constant", [0.0, -0.1, 1e4, -3.7e-6, 1e30])
def test_a_constant_reward_has_an_offset_and_no_scale(constant):
    batch = room_batch()
    model = make_model(batch._replace(rewards=torch.full_like(batch.rewards, constant)))
    assert model.reward_offset.item() == pytest.approx(constant, rel=1e-5)
    assert model.reward_scale == 1


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_a_reward_that_varies_has_its_std_as_scale(factor):
    batch = room_batch()
    model = make_model(batch._replace(rewards=factor * batch.rewards))
    seen = factor * batch.rewards[batch.reward_mask.bool()]
    assert model.reward_scale.item() == pytest.approx(seen.double().std().item(), rel=1e-4)
    assert model.reward_offset.item() == pytest.approx(seen.double().mean().item(), rel=1e-4)


def slow_terms(model, batch, generator):
    """The ELBO's terms, frame by frame and window by window, by torch's own distributions."""
    B, T = batch.mask.shape
    config = model.config
    # The model draws its noise one time step at a time for all windows.
    eps = [torch.randn(B, config.latent_dim, generator=generator) for _ in range(T)]
    total = {"log_p_frames": 0.0, "log_p_rewards": 0.0, "kl": 0.0}
    if config.continuation:
        total["log_p_continues"] = 0.0
    reward_std = config.reward_std * model.reward_scale
    for b in range(B):
        z, memory, action = None, model.initial(1)[1], torch.zeros(1, 2)
        for t in range(T):
            if not batch.mask[b, t]:
                continue
            prior = model.initial(1)[0]
            if t > 0:
                action = batch.actions[b, t - 1][None]
                prior = model.transition(z, action)
            features = model.features(batch.frames[b, t][None])
            q, memory = model.posterior(features, prior, action, memory)
            z = q.mean + q.std * eps[t][b]
            image = model.mean_frame + model.decoder(z)[0]
            observation = Normal(image, config.frame_std)
            frame = batch.frames[b, t] / 255
            total["log_p_frames"] += observation.log_prob(frame).sum()
            if batch.reward_mask[b, t]:
                total["log_p_rewards"] += Normal(model.reward(z)[0], reward_std).log_prob(
                    batch.rewards[b, t]
                )
            if config.continuation:
                continues = Bernoulli(logits=model.continuation_net(z)[0, 0])
                total["log_p_continues"] += continues.log_prob(batch.continues[b, t])
            q, prior = Independent(Normal(*q), 1), Independent(Normal(*prior), 1)
            total["kl"] += kl_divergence(q, prior)[0]
    return {name: value / batch.mask.sum() for name, value in total.items()}


def open_loop(metrics):
    return metrics["open_loop_log_p_rewards"] - metrics["open_loop_kl"]


def padded(batch):
    """The batch with the last two frames of the first window declared padding."""
    mask, reward_mask = batch.mask.clone(), batch.reward_mask.clone()
    mask[0, -2:] = 0
    reward_mask[0, -2:] = 0
    return batch._replace(mask=mask, reward_mask=reward_mask)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_elbo_terms_agree_with_a_slow_direct_computation(posterior):
    batch = padded(room_batch())
    model = make_model(batch, posterior=posterior)
    with torch.no_grad():
        loss, metrics = model.loss(batch, torch.Generator().manual_seed(7))
        expected = slow_terms(model, batch, torch.Generator().manual_seed(7))
    for name, value in expected.items():
        torch.testing.assert_close(metrics[name], value, rtol=1e-4, atol=1e-4)
    elbo = expected["log_p_frames"] + expected["log_p_rewards"] - expected["kl"]
    torch.testing.assert_close(metrics["elbo"], elbo, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, -elbo - open_loop(metrics), rtol=1e-4, atol=1e-4)


def test_continuation_is_a_bernoulli_term_of_the_elbo():
    batch = padded(room_batch())
    assert 0 < batch.continues.mean() < 1
    model = make_model(batch, continuation=True)
    with torch.no_grad():
        loss, metrics = model.loss(batch, torch.Generator().manual_seed(7))
        expected = slow_terms(model, batch, torch.Generator().manual_seed(7))
    torch.testing.assert_close(
        metrics["log_p_continues"], expected["log_p_continues"], rtol=1e-4, atol=1e-4
    )
    elbo = sum(value if name != "kl" else -value for name, value in expected.items())
    torch.testing.assert_close(metrics["elbo"], elbo, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, -elbo - open_loop(metrics), rtol=1e-4, atol=1e-4)


def test_continuation_enters_the_log_weights():
    batch = room_batch()
    model = make_model(batch, continuation=True)
    weights = model.log_weights(batch, 2, torch.Generator().manual_seed(7))
    without = make_model(batch)  # the same parameters, as this network is made last
    plain = without.log_weights(batch, 2, torch.Generator().manual_seed(7))
    z = torch.zeros(1, model.latent_dim)
    assert (weights < plain).all()  # a probability is below 1
    assert 0 < model.continuation(z).item() < 1
    with pytest.raises(ValueError, match="continuation: got False"):
        without.continuation(z)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_padding_has_no_influence(posterior):
    batch = padded(room_batch())
    frames, rewards, actions = batch.frames.clone(), batch.rewards.clone(), batch.actions.clone()
    frames[0, -2:], rewards[0, -2:], actions[0, -2:] = 255, 1e3, 1.0
    other = batch._replace(frames=frames, rewards=rewards, actions=actions)
    model = make_model(batch, posterior=posterior)
    with torch.no_grad():
        a, _ = model.loss(batch, torch.Generator().manual_seed(7))
        b, _ = model.loss(other, torch.Generator().manual_seed(7))
    torch.testing.assert_close(a, b)


def test_loss_and_gradients_are_those_of_the_same_model_written_plainly():
    """It paints every image and goes frame by frame, from the same draws."""
    batch = padded(room_batch())
    model = make_model(batch)
    losses = []
    for function in (lambda *a: model.loss(*a)[0], lambda *a: plain_loss(model, *a)):
        model.zero_grad()
        loss = function(batch, torch.Generator().manual_seed(7))
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        losses.append((loss.detach(), gradients))
    (loss, gradients), (plain, plain_gradients) = losses
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-3)
    error = (gradients - plain_gradients).norm() / plain_gradients.norm()
    assert error < 1e-3


def test_the_first_reward_of_an_episode_is_masked():
    batch = room_batch()
    rewards = batch.rewards.clone()
    rewards[:, 0] = 1e3
    model = make_model(batch)
    with torch.no_grad():
        a, _ = model.loss(batch, torch.Generator().manual_seed(7))
        b, _ = model.loss(batch._replace(rewards=rewards), torch.Generator().manual_seed(7))
    torch.testing.assert_close(a, b)


def test_without_the_open_loop_term_the_loss_is_minus_the_elbo():
    batch = room_batch()
    model = make_model(batch, open_loop_weight=0.0)
    loss, metrics = model.loss(batch, torch.Generator().manual_seed(7))
    assert loss == -metrics["elbo"]


def test_open_loop_term_agrees_with_a_slow_direct_computation():
    batch = padded(room_batch())
    model = make_model(batch)
    B, T, D = *batch.mask.shape, model.latent_dim
    with torch.no_grad():
        _, metrics = model.loss(batch, torch.Generator().manual_seed(7))
        generator = torch.Generator().manual_seed(7)
        eps = [torch.randn(B, D, generator=generator) for _ in range(2 * T - 1)]
        total = torch.zeros(())
        for b in range(B):
            z, q, memory = None, [], model.initial(1)[1]
            for t in range(T):
                prior = (
                    model.initial(1)[0]
                    if t == 0
                    else model.transition(z, batch.actions[b, t - 1][None])
                )
                features = model.features(batch.frames[b, t][None])
                q.append(model.posterior(features, prior, torch.zeros(1, 2), memory)[0])
                z = q[-1].mean + q[-1].std * eps[t][b]
            z = q[0].mean + q[0].std * eps[0][b]
            for t in range(1, T):
                p = model.transition(z, batch.actions[b, t - 1][None])
                z = p.mean + p.std * eps[T + t - 1][b]
                if batch.mask[b, t]:
                    std = model.config.reward_std * model.reward_scale
                    total += Normal(model.reward(z)[0], std).log_prob(batch.rewards[b, t])
                    if t > 1:
                        total -= kl_divergence(Normal(*q[t]), Normal(*p)).sum()
    torch.testing.assert_close(open_loop(metrics), total / batch.mask.sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_one_batch_can_be_overfitted(posterior):
    batch = room_batch()
    model = make_model(batch, posterior=posterior)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        residual = (batch.frames / 255 - model.mean_frame).square().sum() / batch.mask.sum()
    constant = 64 * 64 * 3 * (math.log(0.3) + 0.5 * math.log(2 * math.pi))
    for _ in range(300):
        loss, metrics = model.loss(batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    squared = -2 * 0.3**2 * (metrics["log_p_frames"] + constant)
    assert squared < 0.2 * residual  # of what the mean frame leaves unexplained
    assert metrics["log_p_rewards"] > 0.3


def test_the_filter_weighs_frame_and_prediction_by_their_precision():
    batch = room_batch()
    model = make_model(batch)
    features = model.features(batch.frames[:, 0])
    prior, memory = model.initial(len(features))
    action = torch.zeros(len(features), 2)
    wide, _ = model.posterior(features, prior, action, memory)
    sure = prior._replace(std=torch.full_like(prior.std, 1e-4))
    certain, _ = model.posterior(features, sure, action, memory)
    torch.testing.assert_close(certain.mean, prior.mean, atol=1e-4, rtol=0)
    assert (wide.std < prior.std).all()


def test_decoded_frames_are_images():
    batch = room_batch()
    model = make_model(batch)
    frames = model.decode(torch.zeros(2, model.latent_dim))
    assert frames.dtype == torch.uint8 and frames.shape == (2, 64, 64, 3)


@pytest.mark.parametrize(
    "setting",
    [
        {"posterior": "smoother"},
        {"latent_dim": 0},
        {"rank": -1},
        {"frame_std": 0.0},
        {"reward_std": math.nan},
    ],
)
def test_a_bad_setting_is_named(setting, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would object first
    with pytest.raises(ValueError, match=f"{next(iter(setting))}: got .*allowed"):
        dataclasses.replace(WorldModelConfig(), **setting)


def test_the_planners_step_pays_for_the_state_that_it_leads_to():
    model = make_model(room_batch())
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(5, model.latent_dim, generator=generator)
    action = torch.rand(5, 2, generator=generator)
    with torch.no_grad():
        expected = model.transition(z, action)
        following, reward = model.step(z, action)
        torch.testing.assert_close(following, expected.mean)
        torch.testing.assert_close(reward, model.reward(expected.mean))
        assert not torch.allclose(reward, model.reward(z))
        sample = expected.sample(torch.Generator().manual_seed(2))
        following, reward = model.sampled_step(torch.Generator().manual_seed(2))(z, action)
        torch.testing.assert_close(following, sample)
        torch.testing.assert_close(reward, model.reward(sample))


def test_what_is_padded_or_masked_initialises_nothing():
    batch = padded(room_batch())
    frames, rewards = batch.frames.clone(), batch.rewards.clone()
    frames[0, -2:], rewards[batch.reward_mask == 0] = 255, 1e3
    model, other = make_model(batch), make_model(batch._replace(frames=frames, rewards=rewards))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=name)
    seen = batch.frames[batch.mask.bool()].double().mean(0) / 255
    torch.testing.assert_close(model.mean_frame.double(), seen, atol=1e-6, rtol=0)


@pytest.mark.parametrize("continuation", [False, True])
def test_log_weights_agree_with_a_slow_direct_computation(continuation):
    batch = padded(room_batch(windows=3, length=4))
    model = make_model(batch, continuation=continuation)
    B, T, D = *batch.mask.shape, model.latent_dim
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        found = model.log_weights(batch, 2, torch.Generator().manual_seed(7))
        for k in range(2):
            eps = [torch.randn(B, D, generator=generator) for _ in range(T)]
            for b in range(B):
                total, z = torch.zeros(()), torch.zeros(1, D)
                for t in range(int(batch.mask[b].sum())):
                    p = model.initial(1)[0]
                    action = batch.actions[b, max(t - 1, 0)][None]
                    if t > 0:
                        p = model.transition(z, action)
                    features = model.features(batch.frames[b, t][None])
                    q, _ = model.posterior(features, p, action, torch.zeros(1, 0))
                    z = q.mean + q.std * eps[t][b]
                    total += Normal(*p).log_prob(z).sum() - Normal(*q).log_prob(z).sum()
                    image = model.mean_frame + model.decoder(z)[0]
                    frame = batch.frames[b, t] / 255
                    total += Normal(image, model.config.frame_std).log_prob(frame).sum()
                    if t > 0:
                        std = model.config.reward_std * model.reward_scale
                        total += Normal(model.reward(z)[0], std).log_prob(batch.rewards[b, t])
                    if continuation:
                        logits = model.continuation_net(z)[0, 0]
                        total += Bernoulli(logits=logits).log_prob(batch.continues[b, t])
                torch.testing.assert_close(found[k, b], total, rtol=1e-4, atol=1e-2)


def test_the_inverse_of_softplus():
    values = torch.tensor([1e-3, 0.1, 0.7, 1.0, 5.0, 30.0])
    raw = inverse_softplus(values)
    torch.testing.assert_close(torch.nn.functional.softplus(raw), values)
    assert raw[0] < -6 and raw[-1].item() == pytest.approx(30.0)


@pytest.mark.parametrize("kind", [FilterPosterior, RecurrentPosterior])
def test_a_posterior_begins_with_the_leading_features_and_a_small_std(kind):
    """Its std depends on the features by a tenth of what the layer drew."""
    torch.manual_seed(0)
    posterior = kind(5, 3, 2)
    layer = posterior.evidence if kind is FilterPosterior else posterior.head
    torch.manual_seed(0)
    if kind is RecurrentPosterior:
        torch.nn.GRUCell(7, posterior.memory_size)
    drawn = torch.nn.Linear(layer.in_features, layer.out_features)
    assert torch.equal(layer.weight[3:], 0.1 * drawn.weight[3:])
    assert (layer.bias[:3] == 0).all() and (layer.bias[3:] == -3).all()
    features = torch.randn(4, 5)
    prior = distributions.Normal(torch.zeros(4, 3), torch.full((4, 3), 1e4))  # which says nothing
    memory = torch.zeros(4, posterior.memory_size)
    found, _ = posterior(features, prior, torch.zeros(4, 2), memory)
    assert found.std.max() < 0.15
    if kind is FilterPosterior:
        torch.testing.assert_close(found.mean, features[:, :3], atol=1e-4, rtol=0)
    posterior.start_std(1.5)
    assert (layer.bias[:3] == 0).all() and (layer.bias[3:] == 1.5).all()


def test_a_decoded_frame_is_the_mean_frame_plus_what_the_decoder_adds_rounded():
    batch = room_batch()
    model = make_model(batch)
    levels = torch.arange(64 * 64 * 3).view(64, 64, 3) % 256
    model.mean_frame.copy_(levels / 255)
    with torch.no_grad():
        for parameter in model.decoder.profiles[-1].parameters():
            parameter.zero_()
    assert torch.equal(model.decode(torch.zeros(1, model.latent_dim))[0], levels.to(torch.uint8))
    model.mean_frame.fill_(0.3)
    assert (model.decode(torch.zeros(1, model.latent_dim)) == 77).all()  # 76.5
    model.mean_frame.fill_(1.2)
    assert (model.decode(torch.zeros(1, model.latent_dim)) == 255).all()


def test_without_rewards_their_scale_stays():
    model = make_model(room_batch())
    before = model.reward_offset.item(), model.reward_scale.item()
    model.fit_reward_scale(torch.zeros(0))
    assert (model.reward_offset.item(), model.reward_scale.item()) == before
