"""The value beyond the horizon: the Bellman equation by loops, shortest paths, use in plans."""

import itertools

import numpy as np
import pytest
import torch
from test_agent import SMALL

from agent import Agent
from agent.control import REFRESH
from agent.planning import ICEM, Problem, value
from agent.planning.value import ACTIONS, HELD, NEAREST, StateValues, state_values

LOW, HIGH = -torch.ones(2), torch.ones(2)
GOAL = torch.tensor([-0.7, 0.0])


def drive(z, action):
    """A point in a square with a wall, |x| < 0.15, below y = 0.5; minus the distance to the goal."""
    following = (z + 0.1 * action).clamp(-1, 1)
    shut = (following[:, 0].abs() < 0.149) & (following[:, 1] < 0.499)
    following = torch.where(shut[:, None], z, following)
    return following, -(following - GOAL).norm(dim=1)


def goes_on(z):
    return ((z - GOAL).norm(dim=1) > 0.1).float()


def test_the_bellman_equation_holds(monkeypatch):
    """Against loops over states, actions and steps, in numpy."""
    monkeypatch.setattr(value, "TOLERANCE", 1e-6)  # else sweeps end a per cent away
    problem, discount = Problem(drive, LOW, HIGH, continuation=goes_on), 0.95
    found = state_values(problem, torch.tensor([[0.7, 0.0]]), discount, 40)
    states, values = found.states[0].numpy().astype(float), found.values[0].numpy()
    width, goal = found.spacing.item() / 2, GOAL.numpy()
    assert states.shape == (40, 2) and np.allclose(states[0], [0.7, 0.0])

    def averaged(z):
        distances = np.linalg.norm(states - z, axis=1)
        near = np.argsort(distances)[:NEAREST]
        excess = distances[near] ** 2 - distances[near[0]] ** 2
        weights = np.exp(-excess / (2 * width**2))
        return (weights * values[near]).sum() / weights.sum()

    for number in range(0, 40, 7):
        returns = []
        for turn in range(ACTIONS):
            angle = 2 * np.pi * turn / ACTIONS
            action = np.array([np.cos(angle), np.sin(angle)])
            action = action / np.abs(action).max()
            z, total, remaining = states[number], 0.0, 1.0
            for _ in range(HELD):
                after = np.clip(z + 0.1 * action, -1, 1)
                if abs(after[0]) < 0.149 and after[1] < 0.499:
                    after = z
                remaining *= discount
                total -= remaining * np.linalg.norm(after - goal)
                remaining *= np.linalg.norm(after - goal) > 0.1
                z = after
            returns.append(total + remaining * averaged(z))
        assert values[number] == pytest.approx(max(returns), rel=5e-3)


def shortest_steps(start, cells=41):
    """Steps to within 0.1 of the goal on a fine grid, by breadth-first search over its corners."""
    side = 2 / (cells - 1)
    reach = round(0.1 / side)
    moves = [m for m in itertools.product(range(-reach, reach + 1), repeat=2) if m != (0, 0)]
    frontier, seen, steps = [start], {start}, 0

    def place(cell):
        return np.array(cell) * side - 1

    while frontier:
        if any(np.linalg.norm(place(cell) - GOAL.numpy()) <= 0.1 for cell in frontier):
            return steps
        steps, following = steps + 1, []
        for cell in frontier:
            for move in moves:
                to = cell[0] + move[0], cell[1] + move[1]
                if to in seen or not (0 <= to[0] < cells and 0 <= to[1] < cells):
                    continue
                if abs(place(to)[0]) < 0.149 and place(to)[1] < 0.499:
                    continue
                seen.add(to)
                following.append(to)
        frontier = following
    raise AssertionError("the goal cannot be reached")


def test_values_order_places_by_their_shortest_path_and_not_by_their_distance():
    """With a reward of −1 a step, −log of the remaining value is the number of steps."""

    def step(z, action):
        following, _ = drive(z, action)
        return following, -torch.ones(len(z))

    discount = 0.95
    problem = Problem(step, LOW, HIGH, continuation=goes_on)
    found = state_values(problem, torch.tensor([[0.7, 0.0]]), discount, 600)
    corners = [(24, 20), (36, 4), (36, 36), (24, 28), (10, 10), (12, 36), (30, 20), (4, 2)]
    z = torch.tensor(corners, dtype=torch.float32) * 0.05 - 1
    value = found(z).numpy()
    # Σ_{k=1..n} γ^k = γ (1 − γ^n) / (1 − γ)
    steps = np.log(1 + value * (1 - discount) / discount) / np.log(discount)
    true = np.array([shortest_steps(corner) for corner in corners])
    assert np.abs(steps - true).max() < 2.5
    behind, before = corners.index((24, 20)), corners.index((10, 10))
    assert true[behind] > 2 * true[before]  # although it is nearer to the goal


def test_states_are_apart_and_values_of_environments_are_asked_together():
    problem = Problem(drive, LOW, HIGH, continuation=goes_on)
    found = [state_values(problem, torch.tensor([z]), 0.95, 300) for z in ((0.7, 0.0), (-0.5, -0.5))]
    for each in found:
        apart = torch.pdist(each.states[0])
        assert len(each.states[0]) == 300 and apart.min() > 0.04
        grid = torch.cartesian_prod(torch.linspace(-1, 1, 21), torch.linspace(-1, 1, 21))
        grid = grid[(grid[:, 0].abs() > 0.15) | (grid[:, 1] > 0.5)]
        covered = torch.cdist(grid, each.states[0]).amin(1)
        assert covered.max() < 0.25 and covered.mean() < 0.07
    both = StateValues(*(torch.cat(each) for each in zip(*found, strict=True)))
    asked = torch.tensor([[0.5, 0.5], [0.6, 0.1], [-0.5, 0.5], [-0.6, 0.1]])
    torch.testing.assert_close(both(asked), torch.cat([found[0](asked[:2]), found[1](asked[2:])]))


def test_where_little_can_be_reached_states_are_repeated():
    problem = Problem(lambda z, a: (z.clone(), z[:, 0]), LOW, HIGH)
    found = state_values(problem, torch.ones(1, 2), 0.9, 10)
    assert (found.states == 1).all() and found.states.shape == (1, 10, 2)
    torch.testing.assert_close(found.values, torch.full((1, 10), 9.0), rtol=0.02, atol=0)


def test_a_plan_goes_around_the_wall_with_it_and_not_without():
    """Six steps see only the wall; the way to the goal leads away from it."""

    def arrives(states):
        z, plans = torch.tensor([[0.3, -0.4]]), None
        planner = ICEM(horizon=6, discount=0.95)
        generator = torch.Generator().manual_seed(0)
        problem = Problem(drive, LOW, HIGH, continuation=goes_on)
        if states:
            problem = Problem(
                drive, LOW, HIGH, state_values(problem, z, 0.95, states), continuation=goes_on
            )
        for _ in range(40):
            plan = planner.plan(problem, z, plans, generator)
            z, _ = drive(z, plan.actions[:, 0])
            if goes_on(z) == 0:
                return True
            plans = plan.shifted(planner.alternatives)
        return False

    assert arrives(300) and not arrives(0)


def test_a_hook_of_a_wrong_shape_is_named():
    problem = Problem(lambda z, a: (z[:, :1], z[:, 0]), LOW, HIGH)
    with pytest.raises(ValueError, match="step: got shape"):
        state_values(problem, torch.zeros(1, 2), 0.9, 10)


def test_values_are_computed_at_the_start_and_anew_when_they_are_old():
    planner = ICEM(horizon=3, candidates=20, states=12)
    agent = Agent("RobotRoom-v0", SMALL, seed=0, device="cpu", planner=planner)
    generator = np.random.default_rng(0)
    state, ages, before, same = None, [], None, []
    for _ in range(REFRESH + 2):
        frames = generator.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
        _, state = agent.decide(frames, state)
        ages.append(state.age.tolist())
        same.append(before is not None and torch.equal(before, state.values.states))
        before = state.values.states
    assert ages == [[age, age] for age in [*range(REFRESH), 0, 1]]
    assert same == [False, *[True] * (REFRESH - 1), False, True]
    assert state.values.states.shape == (2, 12, agent.world_model.latent_dim)
    starts = np.array([False, True])
    _, again = agent.decide(frames, state, starts)
    assert again.age.tolist() == [2, 0]
    assert torch.equal(again.values.states[0], state.values.states[0])
    assert not torch.equal(again.values.states[1], state.values.states[1])


def test_without_states_nothing_is_computed():
    agent = Agent("RobotRoom-v0", SMALL, seed=0, device="cpu")
    _, state = agent.decide(np.zeros((2, 64, 64, 3), np.uint8))
    assert state.values.states.numel() == 0 and state.values.values.numel() == 0
