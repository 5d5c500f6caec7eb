"""The ingredients that the agent does not have do what they are measured for."""

import math

import pytest
import torch
from test_world_model import padded, room_batch

from agent.planning import CEM, ICEM, MPPI, Problem, RandomShooting
from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.model import ingredients
from benchmarks.model.ablation import VARIANTS, difference
from benchmarks.planning.planners import rollouts

pytestmark = pytest.mark.slow

MODELS = {name: kind for name, kind in VARIANTS.items() if isinstance(kind, type)}


def made(kind, batch):
    torch.manual_seed(0)
    model = kind((64, 64, 3), 2, WorldModelConfig(hidden_dim=32))
    model.initialise(batch)
    return model


def loss_of(kind, batch):
    return made(kind, batch).loss(batch, torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", MODELS)
def test_every_other_model_trains_all_that_it_has(name):
    batch = padded(room_batch())
    model = made(MODELS[name], batch)
    loss, _ = model.loss(batch, torch.Generator().manual_seed(7))
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), parameter_name
    assert torch.isfinite(model.step(torch.zeros(3, 8), torch.zeros(3, 2))[0]).all()


def test_differences_are_paired_and_have_students_interval():
    base = [{"x": value} for value in (0.5, 0.1, 0.9)]
    other = [{"x": value} for value in (0.6, 0.4, 1.1)]
    mean, half = difference(other, base, "x")
    assert mean == pytest.approx(0.2)
    assert half == pytest.approx(4.302653 * 0.1 / 3**0.5)  # t of two degrees of freedom
    assert math.isnan(difference(other[:1], base[:1], "x")[1])


def test_rollouts_are_counted_as_they_are_made():
    rows = []

    def step(z, action):
        rows.append(len(z))
        return z, z.sum(-1)

    bound = torch.ones(2)
    for config in (
        ICEM(horizon=1),
        CEM(horizon=1),
        MPPI(horizon=1),
        RandomShooting(),
    ):
        rows.clear()
        config.plan(Problem(step, -bound, bound), torch.zeros(1, 2))
        assert rollouts(config) == sum(rows) / config.horizon
    assert rollouts(ICEM()) == 183


def test_parts_of_the_open_loop_term_are_left_out():
    batch = padded(room_batch())
    loss, m = loss_of(WorldModel, batch)
    rewards, _ = loss_of(ingredients.OpenLoopRewardsAlone, batch)
    latents, _ = loss_of(ingredients.OpenLoopLatentsAlone, batch)
    torch.testing.assert_close(rewards, -m["elbo"] - m["open_loop_log_p_rewards"])
    torch.testing.assert_close(latents, -m["elbo"] + m["open_loop_kl"])
    torch.testing.assert_close(rewards + latents + m["elbo"], loss)


def test_free_nats_leave_a_large_kl_alone_and_forgive_a_small_one():
    batch = room_batch()
    loss, metrics = loss_of(WorldModel, batch)
    free, _ = loss_of(ingredients.FreeNats, batch)
    torch.testing.assert_close(free - loss, (3 - metrics["kl"]).clamp(min=0))


def test_balancing_changes_gradients_and_no_value():
    batch = room_batch()
    plain, balanced = made(WorldModel, batch), made(ingredients.BalancedKL, batch)
    losses = [model.loss(batch, torch.Generator().manual_seed(7))[0] for model in (plain, balanced)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    a, b = (model.encoder.mix.weight.grad for model in (plain, balanced))
    assert not torch.allclose(a, b)


def test_overshooting_over_two_frames_is_the_open_loop_term():
    batch = room_batch(length=2)
    _, a = loss_of(WorldModel, batch)
    _, b = loss_of(ingredients.Overshooting, batch)
    torch.testing.assert_close(a["open_loop_log_p_rewards"], b["open_loop_log_p_rewards"])


def test_shifts_move_whole_windows_by_at_most_two_pixels(monkeypatch):
    batch, seen = room_batch(windows=20), []
    monkeypatch.setattr(
        WorldModel, "loss", lambda self, shifted, generator: seen.append(shifted.frames)
    )
    made(ingredients.RandomShifts, batch).loss(batch, torch.Generator().manual_seed(0))
    padded_frames = torch.nn.functional.pad(
        batch.frames.permute(0, 1, 4, 2, 3).float().flatten(0, 1), (2, 2, 2, 2), mode="replicate"
    ).view(20, 5, 3, 68, 68)
    shifts = set()
    for window, shifted in zip(padded_frames, seen[0].permute(0, 1, 4, 2, 3).float(), strict=True):
        found = [
            (dy, dx)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(window[..., dy : dy + 64, dx : dx + 64], shifted)
        ]
        assert found
        shifts.add(found[0])
    assert len(shifts) > 8
