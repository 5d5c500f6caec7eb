import dataclasses
import itertools

import pytest
import torch

from agent.planning import CEMConfig, cem, discounted_return

STRONG = CEMConfig(horizon=3, candidates=400, elites=20, iterations=12, discount=0.9, correlation=0.0)


def integrator(target):
    """z' = z + a, reward −‖z' − target‖²."""

    def step(z, action):
        z = z + action
        return z, -(z - target).square().sum(-1)

    return step


def plan(step, z, config, seed=0, warm_start=None, **bounds):
    if warm_start is None:
        warm_start = torch.zeros(len(z), config.horizon, 2)
    return cem(step, z, warm_start, config, torch.Generator().manual_seed(seed), **bounds)


def test_the_optimum_of_a_quadratic_inside_the_bounds_is_found():
    target = torch.tensor([0.3, -0.6])
    actions = plan(integrator(target), torch.zeros(1, 2), STRONG)[0]
    # Going there at once and staying is optimal for any discount.
    expected = torch.stack([target, torch.zeros(2), torch.zeros(2)])
    torch.testing.assert_close(actions, expected, atol=0.02, rtol=0)


def test_an_optimum_beyond_the_bounds_is_met_on_the_bound():
    actions = plan(integrator(torch.tensor([5.0, -5.0])), torch.zeros(1, 2), STRONG)[0]
    torch.testing.assert_close(actions, torch.tensor([[1.0, -1.0]]).expand(3, 2))


def test_other_bounds_are_respected():
    actions = plan(integrator(torch.tensor([9.0, -9.0])), torch.zeros(1, 2), STRONG, low=-0.2, high=3.0)
    assert actions.min() >= -0.2 and actions.max() <= 3.0
    torch.testing.assert_close(actions[0, 0], torch.tensor([3.0, -0.2]))


def test_a_two_step_problem_agrees_with_brute_force():
    """A valley: the second step pays only where the first, costly one has led."""

    def step(z, action):
        z = z + action
        return z, torch.where(z[:, 0] > 1.5, 10 * torch.ones(len(z)), -z[:, 0].clamp(min=0)) - 0.1 * z[
            :, 1
        ] ** 2

    config = CEMConfig(horizon=2, candidates=300, elites=15, iterations=10, discount=0.9)
    z = torch.tensor([[0.0, 0.4]])
    grid = torch.linspace(-1, 1, 21)
    sequences = torch.tensor(list(itertools.product(grid, repeat=4))).view(-1, 2, 2)
    returns = discounted_return(step, z.expand(len(sequences), 2), sequences, 0.9)
    found = discounted_return(step, z, plan(step, z, config), 0.9)
    assert found >= returns.max() - 0.02
    assert found > 0  # greedy control stays at 0


def test_the_first_reward_counted_has_weight_gamma():
    def step(z, action):
        return z + 1, z[:, 0] + 1  # rewards 1, 2, 3, … from z = 0

    total = discounted_return(step, torch.zeros(1, 1), torch.zeros(1, 3, 2), 0.5)
    assert total.item() == 0.5 * 1 + 0.25 * 2 + 0.125 * 3


def test_the_discount_decides_between_soon_and_much():
    def step(z, action):
        """Right: 1 now. Left: nothing now, 2 in the next step."""
        went_left = (z[:, 0] == 0) & (action[:, 0] < 0)
        reward = ((z[:, 0] == 0) & (action[:, 0] > 0)).float() + 2.0 * (z[:, 0] == 2)
        return torch.where(went_left, 2.0, 1.0)[:, None], reward

    z = torch.zeros(1, 1)
    config = CEMConfig(horizon=2, candidates=200, elites=20, iterations=5)
    patient = plan(step, z, dataclasses.replace(config, discount=0.9))
    hasty = plan(step, z, dataclasses.replace(config, discount=0.3))
    assert patient[0, 0, 0] < 0 < hasty[0, 0, 0]


def test_a_room_does_not_depend_on_its_neighbours():
    step = integrator(torch.tensor([0.5, 0.5]))
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    config = CEMConfig()
    together = plan(step, z, config)
    for i in range(5):
        torch.testing.assert_close(together[i : i + 1], plan(step, z[i : i + 1], config))


def test_a_good_warm_start_is_never_made_much_worse():
    target = torch.tensor([0.3, -0.6])
    step, z = integrator(target), torch.zeros(1, 2)
    best = torch.stack([target, torch.zeros(2), torch.zeros(2)])[None]
    weak = CEMConfig(horizon=3, candidates=20, elites=2, iterations=3)
    warm = discounted_return(step, z, plan(step, z, weak, warm_start=best), 0.9)
    cold = discounted_return(step, z, plan(step, z, weak), 0.9)
    assert warm > cold


@pytest.mark.parametrize(
    "setting",
    [
        {"horizon": 0},
        {"candidates": 0},
        {"elites": 1},
        {"elites": 101},
        {"iterations": 0},
        {"discount": 1.1},
        {"proposal_std": 0.0},
        {"correlation": 1.0},
    ],
)
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}: got .*allowed"):
        CEMConfig(**setting)


def test_arguments_that_cannot_work_are_refused():
    step, z = integrator(torch.zeros(2)), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="low, high: got"):
        plan(step, z, CEMConfig(), low=1.0, high=-1.0)
    with pytest.raises(ValueError, match="warm_start: got shape"):
        plan(step, z, CEMConfig(), warm_start=torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match="step: got returns that are not finite"):
        plan(lambda z, a: (z, z[:, 0] * torch.nan), z, CEMConfig())
