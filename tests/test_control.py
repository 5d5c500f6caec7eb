"""Receding-horizon control: what is planned from, what is done, and what is believed afterwards."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from agent.control import ControlState, decide
from agent.exploration import Exploration
from agent.planning import ICEM, Plan, Planner, Problem
from agent.world_model import WorldModel, WorldModelConfig

PLANNER = ICEM(candidates=12, elites=3, iterations=2, horizon=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WorldModel((16, 16, 3), 2, WorldModelConfig(hidden_dim=16, num_keypoints=4, latent_dim=4))


def pictures(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8))


def asked(model, state, starts, planner=PLANNER, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return decide(
        model, planner, pictures(len(starts)), state, torch.tensor(starts), generator, **settings
    )


def test_belief_advances_with_the_action_that_is_taken_noise_included(model):
    state = ControlState.initial(model, PLANNER, 3)
    plain, _ = asked(model, state, [True] * 3)
    decision, after = asked(model, state, [True] * 3, exploration=Exploration(exploration_std=0.5))
    assert not torch.allclose(decision.action, plain.action)
    torch.testing.assert_close(after.belief.action, decision.action)
    with torch.no_grad():
        expected = model.transition(decision.belief.density.mean, decision.action)
    torch.testing.assert_close(after.belief.predicted.mean, expected.mean)


def test_exploration_adds_noise_of_its_std_and_stays_in_the_bounds(model):
    state = ControlState.initial(model, PLANNER, 400)
    plain, _ = asked(model, state, [True] * 400)
    torch.testing.assert_close(plain.action, plain.plan.actions[:, 0])
    little, _ = asked(model, state, [True] * 400, exploration=Exploration(exploration_std=0.1))
    inside = little.action.abs() < 1
    noise = (little.action - little.plan.actions[:, 0])[inside]
    assert noise.std().item() == pytest.approx(0.1, rel=0.15)
    much, _ = asked(model, state, [True] * 400, exploration=Exploration(exploration_std=50.0))
    assert much.action.abs().max() == 1 and (much.action.abs() == 1).float().mean() > 0.9


def test_an_action_beyond_the_bounds_is_named(model):
    @dataclasses.dataclass(frozen=True)
    class Wild(Exploration):
        def perturbed(self, action, generator):
            return torch.tensor([[1.0, -1.0], [0.5, 1.5]])

    state = ControlState.initial(model, PLANNER, 2)
    with pytest.raises(ValueError, match=r"Wild: got an action of 1.5, allowed: from -1 to 1"):
        asked(model, state, [True, True], exploration=Wild())


def test_without_exploration_nothing_is_drawn_and_novelty_is_a_bonus(model):
    generator, action = torch.Generator().manual_seed(0), torch.rand(5, 2)
    before = generator.get_state()
    assert torch.equal(Exploration(exploration_std=0.0).perturbed(action, generator), action)
    assert torch.equal(generator.get_state(), before)

    class Curious:
        novelty = staticmethod(lambda m: m.sum(1))

    plain = Problem(lambda z, a: (z, z[:, 0]), -torch.ones(2), torch.ones(2))
    seeking = Exploration(until_reward=True).problem(plain, Curious())
    z = torch.rand(5, 3)
    torch.testing.assert_close(seeking.penalty(z, action), -z.sum(1))
    assert Exploration().problem(plain, Curious()) is plain


def test_an_episode_that_starts_knows_nothing_of_the_last_one(model):
    _, used = asked(model, ControlState.initial(model, PLANNER, 2), [True, True])
    fresh, _ = asked(model, ControlState.initial(model, PLANNER, 2), [True, True], seed=1)
    again, _ = asked(model, used, [True, False], seed=1)
    torch.testing.assert_close(again.belief.density.mean[0], fresh.belief.density.mean[0])
    torch.testing.assert_close(again.action[0], fresh.action[0])
    assert not torch.allclose(again.belief.density.mean[1], fresh.belief.density.mean[1])


@dataclasses.dataclass(frozen=True)
class Noting(Planner):
    """A planner that notes what it is asked."""

    noted: dict = dataclasses.field(default_factory=dict)
    alternatives = 1

    def plan(self, problem, z, warm_start=None, generator=None):
        self.noted.update(problem=problem, z=z, warm_start=warm_start)
        actions = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2).repeat(len(z), 1, 1)
        candidates = torch.stack([actions, -actions], 1)
        return Plan(actions, candidates, torch.zeros(len(z), 2))


def test_planning_starts_from_belief_and_from_the_last_plan_one_step_on(model):
    planner = Noting(horizon=3)
    decision, state = asked(model, ControlState.initial(model, planner, 2), [True, True], planner)
    problem = planner.noted["problem"]
    torch.testing.assert_close(planner.noted["z"], decision.belief.density.mean)
    assert problem.low.tolist() == [-1, -1] and problem.high.tolist() == [1, 1]
    assert (planner.noted["warm_start"] == 0).all() and problem.continuation is None
    z, action = torch.zeros(2, 4), torch.full((2, 2), 0.5)
    torch.testing.assert_close(problem.step(z, action), model.step(z, action))
    asked(model, state, [False, True], planner)
    expected = torch.tensor([[-0.18, 0.18], [0.54, 0.9], [0, 0]])
    warm_start = planner.noted["warm_start"]
    torch.testing.assert_close(warm_start[0], torch.stack([expected, expected, -expected])[:2])
    assert (warm_start[1] == 0).all()
    several = dataclasses.replace(planner, particles=2)  # of which each samples
    asked(model, state, [True, True], several)
    one, other = (several.noted["problem"].step(z, action)[0] for _ in range(2))
    assert not torch.allclose(one, other)


def test_only_the_first_plan_of_an_episode_is_searched_for_repeatedly(model):
    """Each search begins where the last one ended, and other episodes go on from their own plans."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Watched(ICEM):
        def plan(self, problem, z, warm_start=None, generator=None):
            plan = super().plan(problem, z, warm_start, generator)
            seen.append((warm_start, plan))
            return plan

    planner = Watched(candidates=12, elites=4, iterations=2, horizon=3, first_searches=3)
    _, state = asked(model, ControlState.initial(model, planner, 2), [True] * 2, planner)
    assert len(seen) == 3 and (seen[0][0] == 0).all()
    for (_, before), (begun, _) in pairwise(seen):
        best = [before.actions[:, None], before.candidates[:, : planner.alternatives]]
        torch.testing.assert_close(begun, torch.cat(best, 1))
    seen.clear()
    asked(model, state, [False, True], planner)
    assert len(seen) == 3
    for begun, _ in seen:
        torch.testing.assert_close(begun[0], state.plans[0])
    torch.testing.assert_close(seen[2][0][1], seen[1][1].kept(planner.alternatives)[1])
    seen.clear()
    asked(model, state, [False] * 2, planner)
    assert len(seen) == 1


def test_a_state_is_its_arrays(model):
    _, state = asked(model, ControlState.initial(model, PLANNER, 2), [True, True])
    again = ControlState.initial(model, PLANNER, 2).replaced(state.arrays())
    for name, array in state.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name], err_msg=name)
    assert len(state.shapes) == len(state.arrays()) == 12
    for harm, message in (
        (lambda array: array[:1], r"plans: got float32 \(1, "),
        (lambda array: array.astype(np.float64), "plans: got float64"),
        (lambda array: array * np.nan, "plans: got NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            state.replaced(state.arrays() | {"plans": harm(state.arrays()["plans"])})
