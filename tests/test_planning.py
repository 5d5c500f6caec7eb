import dataclasses
import itertools
import math

import jaxtyping
import numpy as np
import pytest
import torch

from agent.planning import CEM, ICEM, MPPI, Plan, Problem, RandomShooting, imagined_return
from agent.planning.colour import coloured_noise

ONE = torch.ones(2)
SHORT = {"horizon": 3, "discount": 0.9}
STRONG = [
    CEM(**SHORT, candidates=400, elites=20, iterations=12, colour=0.0),
    ICEM(**SHORT, candidates=400, elites=20, iterations=12, colour=0.0, shrink=1.1),
    MPPI(**SHORT, candidates=800, iterations=40, proposal_std=0.3, temperature=0.02, colour=0.0),
]
EVERY = [*STRONG, RandomShooting(**SHORT, candidates=4000)]


def name(value):
    return type(value).__name__ if dataclasses.is_dataclass(value) else None


def integrator(target):
    """z' = z + a, reward −‖z' − target‖²."""

    def step(z, action):
        z = z + action
        return z, -(z - target).square().sum(-1)

    return step


def problem(step, low=-ONE, high=ONE, **hooks):
    return Problem(step, low, high, **hooks)


def plan(world, z, config, seed=0, warm_start=None):
    if not isinstance(world, Problem):
        world = problem(world)
    return config.plan(world, z, warm_start, torch.Generator().manual_seed(seed))


def worth(step, z, actions, discount=0.9):
    return imagined_return(problem(step), z, actions[:, None], discount)[:, 0]


@pytest.mark.parametrize("config", STRONG, ids=name)
def test_the_optimum_of_a_quadratic_inside_the_bounds_is_found(config):
    target = torch.tensor([0.3, -0.6])
    actions = plan(integrator(target), torch.zeros(1, 2), config).actions[0]
    # Going there at once and staying is optimal for any discount.
    expected = torch.stack([target, torch.zeros(2), torch.zeros(2)])
    torch.testing.assert_close(actions, expected, atol=0.05, rtol=0)


def test_random_shooting_comes_near_the_optimum_and_nearer_with_more_candidates():
    target, z = torch.tensor([0.3, -0.6]), torch.zeros(1, 2)
    step = integrator(target)
    few, many = (
        worth(step, z, plan(step, z, RandomShooting(**SHORT, candidates=count)).actions)
        for count in (10, 100_000)
    )
    best = worth(step, z, torch.stack([target, torch.zeros(2), torch.zeros(2)])[None])
    assert few < many <= best and many > best - 0.1


@pytest.mark.parametrize("config", STRONG[:2], ids=name)
def test_an_optimum_beyond_the_bounds_is_met_on_the_bound(config):
    actions = plan(integrator(torch.tensor([5.0, -5.0])), torch.zeros(1, 2), config).actions[0]
    torch.testing.assert_close(actions, torch.tensor([[1.0, -1.0]]).expand(3, 2))


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_each_action_has_bounds_of_its_own(config):
    low, high = torch.tensor([-0.2, 1.0]), torch.tensor([3.0, 1.5])
    world = problem(integrator(torch.tensor([9.0, -9.0])), low, high)
    found = plan(world, torch.zeros(1, 2), config)
    assert (found.actions >= low).all() and (found.actions <= high).all()
    assert found.actions[0, 0, 0] > 2 and found.actions[0, 0, 1] < 1.25


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_the_world_never_sees_an_action_beyond_the_bounds(config):
    seen = []

    def step(z, action):
        seen.append(action)
        return integrator(torch.tensor([5.0, -5.0]))(z, action)

    plan(step, torch.zeros(1, 2), config)
    assert max(action.abs().max() for action in seen) <= 1


@pytest.mark.parametrize("kind", [CEM, ICEM], ids=lambda kind: kind.__name__)
def test_a_two_step_problem_agrees_with_brute_force(kind):
    """A valley: the second step pays only where the first, costly one has led."""

    def step(z, action):
        z = z + action
        pays = torch.where(z[:, 0] > 1.5, 10 * torch.ones(len(z)), -z[:, 0].clamp(min=0))
        return z, pays - 0.1 * z[:, 1] ** 2

    z = torch.tensor([[0.0, 0.4]])
    grid = torch.linspace(-1, 1, 21)
    sequences = torch.tensor(list(itertools.product(grid, repeat=4))).view(1, -1, 2, 2)
    returns = imagined_return(problem(step), z, sequences, 0.9)
    config = kind(horizon=2, candidates=300, elites=15, iterations=10, discount=0.9, colour=0.0)
    found = worth(step, z, plan(step, z, config).actions)
    assert found >= returns.max() - 0.02
    assert found > 0  # greedy control stays at 0


def test_the_first_reward_counted_has_weight_gamma():
    def step(z, action):
        return z + 1, z[:, 0] + 1  # rewards 1, 2, 3, … from z = 0

    z, actions = torch.zeros(1, 1), torch.zeros(1, 1, 3, 2)
    expected = 0.5 * 1 + 0.25 * 2 + 0.125 * 3
    assert imagined_return(problem(step), z, actions, 0.5).item() == expected
    hooked = problem(step, terminal_value=lambda z: 100 * z[:, 0], penalty=lambda z, a: z[:, 0] + 7)
    # Penalties 7, 8, 9 where each step starts; the value 300 of where the last one ends.
    expected += -0.5 * 7 - 0.25 * 8 - 0.125 * 9 + 0.125 * 300
    assert imagined_return(hooked, z, actions, 0.5).item() == expected


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_the_discount_decides_between_soon_and_much(config):
    def step(z, action):
        """Right: 1 now. Left: nothing now, 2 in the next step."""
        went_left = (z[:, 0] == 0) & (action[:, 0] < 0)
        reward = ((z[:, 0] == 0) & (action[:, 0] > 0)).float() + 2.0 * (z[:, 0] == 2)
        return torch.where(went_left, 2.0, 1.0)[:, None], reward

    z = torch.zeros(1, 1)
    config = dataclasses.replace(config, horizon=2)
    patient = plan(step, z, dataclasses.replace(config, discount=0.9)).actions
    hasty = plan(step, z, dataclasses.replace(config, discount=0.3)).actions
    assert patient[0, 0, 0] < 0 < hasty[0, 0, 0]


def test_a_terminal_value_sees_beyond_the_horizon():
    """Left is worth nothing on the way and everything at its end."""
    step = integrator(torch.tensor([0.5, 0.0]))
    config = STRONG[0]
    myopic = plan(step, torch.zeros(1, 2), config).actions
    world = problem(step, terminal_value=lambda z: -100 * z[:, 0])
    assert plan(world, torch.zeros(1, 2), config).actions[0, -1, 0] == -1 < myopic[0, -1, 0]


def test_an_uncertainty_penalty_keeps_out_of_the_unknown():
    step = integrator(torch.tensor([0.8, 0.0]))
    world = problem(step, penalty=lambda z, a: 100.0 * (z[:, 0] + a[:, 0] > 0.3))
    actions = plan(world, torch.zeros(1, 2), STRONG[0]).actions
    assert 0.25 < actions[0].cumsum(0)[:, 0].max() <= 0.3 + 1e-6


def test_particles_give_the_expectation():
    """A gamble with a fair mean: one rollout of it is far off, the mean of many is not."""
    generator = torch.Generator().manual_seed(0)

    def step(z, action):
        return z, action[:, 0] + 3 * torch.randn(len(z), generator=generator)

    z, actions = torch.zeros(2, 1), torch.linspace(-1, 1, 10).view(1, 5, 1, 2).expand(2, -1, -1, -1)
    expected = actions[:, :, 0, 0]
    one, many = (imagined_return(problem(step), z, actions, 1.0, count) for count in (1, 20_000))
    torch.testing.assert_close(many, expected, atol=0.1, rtol=0)
    assert (one - expected).abs().max() > 1


def test_planning_for_the_expectation_avoids_a_gamble_that_pays_seldom():
    generator = torch.Generator().manual_seed(0)

    def step(z, action):
        """Right: 1 for sure. Left: 3 in one case of ten."""
        won = torch.rand(len(z), generator=generator) < 0.1
        return z, torch.where(action[:, 0] > 0, 1.0, 3.0 * won)

    config = CEM(horizon=1, candidates=64, elites=6)
    careful = dataclasses.replace(config, particles=64)
    assert plan(step, torch.zeros(1, 1), careful).actions[0, 0, 0] > 0
    assert plan(step, torch.zeros(1, 1), config).returns[0, 0] > 2  # fooled by what came up


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_a_room_does_not_depend_on_its_neighbours(config):
    step = integrator(torch.tensor([0.5, 0.5]))
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    together = plan(step, z, config).actions
    for i in range(5):
        torch.testing.assert_close(together[i : i + 1], plan(step, z[i : i + 1], config).actions)


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_a_good_warm_start_is_never_made_much_worse(config):
    target, z = torch.tensor([0.3, -0.6]), torch.zeros(1, 2)
    step = integrator(target)
    best = torch.stack([target, torch.zeros(2), torch.zeros(2)])[None, None]
    fewer = {"elites": 2, "iterations": 3} if isinstance(config, CEM) else {}
    weak = dataclasses.replace(config, candidates=20, **fewer)
    warm = worth(step, z, plan(step, z, weak, warm_start=best).actions)
    assert warm > worth(step, z, plan(step, z, weak).actions)


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_candidates_come_the_best_first_with_what_they_are_worth(config):
    step, z = integrator(torch.tensor([0.5, 0.1])), torch.zeros(2, 2)
    found = plan(step, z, config)
    assert (found.returns.diff(dim=1) <= 0).all()
    torch.testing.assert_close(
        imagined_return(problem(step), z, found.candidates, config.discount), found.returns
    )


def test_a_plan_shifts_by_one_step():
    found = plan(integrator(torch.zeros(2)), torch.zeros(1, 2), STRONG[1])
    count = STRONG[1].alternatives
    shifted = found.shifted(count)
    assert shifted.shape == (1, 1 + count, 3, 2) and count == 6
    torch.testing.assert_close(shifted[:, 0, :2], found.actions[:, 1:])
    torch.testing.assert_close(shifted[:, 1:, :2], found.candidates[:, :count, 1:])
    assert (shifted[:, :, 2] == 0).all()


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_bounds_that_leave_zero_out_hold_from_one_plan_to_the_next(config):
    """What a plan is shifted by is zeros, which are not allowed here."""

    def step(z, action):
        return z, -(action[:, 0] - 11).square()

    world = problem(step, torch.tensor([10.0]), torch.tensor([12.0]))
    found, plans = None, None
    for _ in range(4):
        found = plan(world, torch.zeros(1, 1), config, warm_start=plans)
        plans = found.shifted(config.alternatives)
    assert (found.actions[0, :2, 0] - 11).abs().max() < 0.2


@pytest.mark.parametrize("reward", [0.0, 1.0])
@pytest.mark.parametrize("config", EVERY, ids=name)
def test_rewards_that_tell_nothing_give_a_plan_all_the_same(config, reward):
    found = plan(lambda z, a: (z, torch.full((len(z),), reward)), torch.zeros(1, 2), config)
    assert torch.isfinite(found.actions).all()


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_plans_have_the_precision_of_the_state(config):
    step, z = integrator(torch.zeros(2)), torch.zeros(1, 2, dtype=torch.float64)
    found = plan(step, z, config, warm_start=torch.zeros(1, 1, 3, 2))
    assert found.actions.dtype == torch.float64


def test_the_improved_method_shrinks_its_proposals():
    sizes = []

    def step(z, action):
        sizes.append(len(z))
        return z, z.sum(-1)

    config = ICEM(horizon=1, candidates=100, elites=10, iterations=9, shrink=1.25)
    config.plan(problem(step), torch.zeros(1, 2))
    assert sizes == [100, 80, 64, 51, 40, 32, 26, 20, 20]  # ⌊100 / 1.25^i⌋, at least 2 · 10


def searched(config, warm_start=None):
    """The candidates of each iteration, with returns, best first: one action of one dimension."""
    seen = []

    def step(z, action):
        returns = -(action[:, 0] - 0.37).abs()
        order = returns.argsort(descending=True)
        seen.append(action[order, 0].clone())
        return z, returns

    low, high = torch.tensor([-9.0]), torch.tensor([9.0])
    found = plan(problem(step, low, high), torch.zeros(1, 1), config, warm_start=warm_start)
    return seen, found


@pytest.mark.parametrize("kind", [CEM, ICEM, MPPI, RandomShooting], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("plans", [1, 4])
def test_as_many_candidates_are_evaluated_as_stated(kind, plans):
    sizes = []

    def step(z, action):
        sizes.append(len(z))
        return z, z.sum(-1)

    settings = {"elites": 12} if issubclass(kind, CEM) else {}
    config = kind(horizon=3, candidates=14, **settings)
    for rooms in (1, 20):
        sizes.clear()
        plan(step, torch.zeros(rooms, 2), config, warm_start=torch.zeros(rooms, plans, 3, 2))
        assert set(sizes) == {14 * rooms}


@pytest.mark.parametrize("kind", [CEM, ICEM], ids=lambda kind: kind.__name__)
def test_elites_are_kept_as_candidates_of_the_next_iteration(kind):
    config = kind(horizon=1, candidates=20, elites=5, iterations=3)
    kept = 5 if kind is CEM else round(config.kept * 5)
    seen, _ = searched(config)
    for before, after in itertools.pairwise(seen):
        assert torch.isin(before[:kept], after).all()
        assert not torch.isin(before[kept:], after).any()


def test_the_last_iteration_alone_also_tries_the_mean():
    config = ICEM(horizon=1, candidates=20, elites=5, iterations=4, kept=0.0, momentum=0.25)
    mean, (seen, _) = 0.0, searched(config)
    for number, (before, after) in enumerate(itertools.pairwise(seen), 1):
        mean = 0.25 * mean + 0.75 * before[:5].mean().item()
        tried = ((after - mean).abs() < 1e-5).any()
        assert tried == (number == 3)
    (seen,), _ = searched(dataclasses.replace(config, iterations=1))
    assert (seen == 0).sum() == 1  # the first mean is a candidate already


def test_a_proposal_is_refitted_to_the_elites_with_momentum():
    config = ICEM(horizon=2, candidates=30, elites=4, momentum=0.3, kept=0.5)
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(1, 30, 2, 2, generator=generator)
    found = Plan(candidates[:, 0], candidates, torch.linspace(1, 0, 30)[None])
    old_mean, old_std = torch.ones(1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    mean, std, kept = config.refit(found, old_mean, old_std)
    elites = candidates[0, :4].numpy()
    np.testing.assert_allclose(mean[0], 0.7 * elites.mean(0) + 0.3, rtol=1e-5)
    np.testing.assert_allclose(std[0, 0], 0.7 * elites.std(0, ddof=1) + 0.3 * 3, rtol=1e-5)
    torch.testing.assert_close(kept, candidates[:, :2])


def test_the_softmax_of_returns_does_not_depend_on_their_scale():
    config = MPPI(horizon=2, candidates=50, iterations=2, temperature=0.5)
    target = torch.tensor([0.3, -0.6])
    found = []
    for scale in (1.0, 1e4):
        actions = plan(
            lambda z, a, scale=scale: (z + a, -scale * (z + a - target).square().sum(-1)),
            torch.zeros(1, 2),
            config,
        )
        found.append(actions)
    torch.testing.assert_close(found[0].actions, found[1].actions, rtol=1e-3, atol=1e-3)
    # With one iteration the plan is the weighted mean, written out.
    once = plan(integrator(target), torch.zeros(1, 2), dataclasses.replace(config, iterations=1))
    returns, candidates = once.returns[0].double().numpy(), once.candidates[0].double().numpy()
    weights = np.exp((returns - returns.max()) / (0.5 * returns.std(ddof=1)))
    expected = np.einsum("k,kha->ha", weights / weights.sum(), candidates)
    np.testing.assert_allclose(once.actions[0], expected.clip(-1, 1), atol=1e-5)


@pytest.mark.parametrize("config", STRONG, ids=name)
def test_the_search_begins_inside_of_bounds_that_leave_zero_out(config):
    step = integrator(torch.zeros(1))
    world = problem(step, torch.tensor([10.0]), torch.tensor([12.0]))
    found = plan(world, torch.zeros(1, 1), dataclasses.replace(config, iterations=1))
    assert (found.candidates > 10).float().mean() > 0.3


@pytest.mark.parametrize("horizon", [1, 5, 6])
@pytest.mark.parametrize("colour", [0.0, 1.0, 2.5])
def test_noise_has_the_spectrum_of_its_colour(horizon, colour):
    """Its periodogram falls as 1 / f^β and its variance is one, at every time."""
    like = torch.zeros(1, horizon, 2)
    noise = coloured_noise(200_000, like, colour, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(noise.var(0), 1, rtol=0.02)
    np.testing.assert_allclose((noise[..., 0] * noise[..., 1]).mean(), 0, atol=0.01)
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean((0, 2))
    expected = np.maximum(np.arange(horizon // 2 + 1), 1.0) ** -colour
    np.testing.assert_allclose(power / power[0], expected, rtol=0.03)


@pytest.mark.parametrize("colour", [2.5, 10.0, 20.0])
def test_noise_of_any_colour_is_finite(colour):
    """Steep spectra leave eigenvalues that rounding makes negative."""
    for horizon in (2, 7, 30, 64):
        noise = coloured_noise(50, torch.zeros(1, horizon, 1), colour, None)
        assert torch.isfinite(noise).all()


@pytest.mark.parametrize("config", EVERY, ids=name)
def test_as_many_plans_are_carried_over_as_the_planner_says(config):
    carried = {"RandomShooting": 0, "CEM": 0, "ICEM": round(0.3 * 20), "MPPI": 0}
    found = plan(integrator(torch.zeros(2)), torch.zeros(1, 2), config)
    assert config.alternatives == carried[type(config).__name__]
    assert found.shifted(config.alternatives).shape == (1, 1 + config.alternatives, 3, 2)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (RandomShooting, {"horizon": 0}),
        (RandomShooting, {"candidates": 0}),
        (RandomShooting, {"particles": 0}),
        (RandomShooting, {"discount": 1.1}),
        (CEM, {"discount": math.nan}),
        (CEM, {"elites": 1}),
        (CEM, {"elites": 100}),
        (CEM, {"iterations": 0}),
        (CEM, {"proposal_std": 0.0}),
        (CEM, {"colour": -1.0}),
        (ICEM, {"elites": 75}),
        (ICEM, {"shrink": 0.9}),
        (ICEM, {"kept": 1.1}),
        (ICEM, {"momentum": 1.0}),
        (MPPI, {"temperature": 0.0}),
        (MPPI, {"horizon": -3}),
    ],
)
def test_settings_that_cannot_work_are_refused(kind, setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}: got .*allowed"):
        kind(**setting)


@pytest.fixture
def without_shape_checks(monkeypatch):
    """The checks of shapes that only tests have would object first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("without_shape_checks")
def test_bounds_that_cannot_hold_are_refused():
    infinite = torch.tensor([1.0, torch.inf])
    for low, high in [
        *[(ONE, -ONE), (ONE, ONE), (-ONE, torch.ones(3)), (-ONE * torch.nan, ONE)],
        *[(-infinite, infinite), ([-1.0], [1.0]), ([-1.0], torch.ones(1)), (-torch.ones(1), [1.0])],
    ]:
        with pytest.raises(ValueError, match="low, high: got"):
            problem(integrator(0.0), low, high)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("config", EVERY, ids=name)
def test_a_warm_start_of_another_shape_is_refused(config):
    for shape in [(1, 1, 4, 2), (2, 1, 3, 2), (1, 5000, 3, 2), (1, 1, 3, 1), (1, 0, 3, 2)]:
        with pytest.raises(ValueError, match="warm_start: got shape"):
            plan(integrator(ONE), torch.zeros(1, 2), config, warm_start=torch.zeros(shape))


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (problem(lambda z, a: (z, z[:, 0] * torch.nan)), "step: got returns that are not finite"),
        (problem(lambda z, a: (z, z)), r"step: got shape \(400, 2\), allowed: \(400,\)"),
        (problem(lambda z, a: (z[:, :1], z[:, 0])), r"step: got shape \(400, 1\), allowed: \(400, 2\)"),
        (problem(integrator(0.0), penalty=lambda z, a: a), "penalty: got shape"),
        (
            problem(integrator(0.0), penalty=lambda z, a: z[:, 0] * torch.nan),
            "step, penalty: got returns that are not finite",
        ),
        (problem(integrator(0.0), terminal_value=lambda z: z), "terminal_value: got shape"),
        (problem(integrator(0.0), continuation=lambda z: z), "continuation: got shape"),
        (
            problem(integrator(0.0), continuation=lambda z: z[:, 0] * torch.nan),
            "step, continuation: got returns that are not finite",
        ),
    ],
)
def test_a_world_that_returns_nonsense_is_refused(world, message):
    with pytest.raises(ValueError, match=message):
        STRONG[0].plan(world, torch.zeros(1, 2))


def test_returns_stop_where_the_episode_does():
    """Σ γ^k (∏_{j<k} c_j) r_k, one step at a time."""
    step = integrator(torch.tensor([0.5, -0.5]))
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 2, generator=generator)
    actions = torch.rand(2, 5, 4, 2, generator=generator) * 2 - 1

    def continuation(z):
        return z[:, 0].sigmoid()

    def terminal_value(z):
        return z.sum(-1)

    hooks = {"continuation": continuation, "terminal_value": terminal_value}
    returns = imagined_return(problem(step, **hooks), z, actions, 0.9)
    for n, k in itertools.product(range(2), range(5)):
        state, alive, total = z[n][None], 1.0, 0.0
        for t in range(4):
            state, reward = step(state, actions[n, k, t][None])
            total += 0.9 ** (t + 1) * alive * reward.item()
            alive *= continuation(state).item()
        total += 0.9**4 * alive * terminal_value(state).item()
        assert returns[n, k].item() == pytest.approx(total, rel=1e-5)


def test_a_plan_ends_an_episode_whose_rewards_are_costs():
    """Every step costs 1, and left of −1 the episode ends: the plan goes left, which reward alone
    does not tell."""
    world = problem(
        lambda z, a: (z + a, -torch.ones(len(z))),
        continuation=lambda z: (z[:, 0] > -1.5).float(),
    )
    actions = plan(world, torch.zeros(1, 2), STRONG[1]).actions[0]
    assert actions[:2, 0].sum() <= -1.5
    returns = imagined_return(world, torch.zeros(1, 2), actions[None, None], 0.9)
    assert returns.item() == pytest.approx(-0.9 - 0.81)


@pytest.mark.usefixtures("without_shape_checks")
def test_a_state_that_is_none_is_refused():
    for z in (torch.zeros(2), torch.full((1, 2), torch.nan)):
        with pytest.raises(ValueError, match="z: got shape"):
            STRONG[0].plan(problem(integrator(0.0)), z)


def test_the_first_candidates_fill_the_bounds_by_their_std():
    """In half-widths of the bounds, here 2; one in ten counts as an elite where it is not said."""
    problem = Problem(lambda z, a: (z, a.sum(-1)), torch.tensor([-1.0]), torch.tensor([3.0]))
    planner = CEM(candidates=4000, elites=10, iterations=1, horizon=2, colour=0.0, proposal_std=0.5)
    plan = planner.plan(problem, torch.zeros(1, 1), None, torch.Generator().manual_seed(0))
    assert plan.candidates.std().item() == pytest.approx(1.0, abs=0.03)
    assert type(RandomShooting().num_elites) is int
