"""The gate: on a world so simple that what should be believed can be written down."""

import math

import numpy as np
import pytest
import torch
from test_agent import SMALL

from agent import Agent
from agent.belief import Belief, BeliefState, _tempered, advance, innovation, observe
from agent.distributions import Normal, product
from agent.gate import AcceptAll, ConformalGate, SoftGate
from agent.restoration.critic import Critic
from agent.restoration.restorer import DiffusionRestorer, Identity, Restored
from agent.types import SOUND_DOUBT
from agent.world_model import WorldModel, WorldModelConfig

TOLD, MOVED = 0.1, 0.05  # stds of what a frame tells and of the transition


class Line(WorldModel):
    """z is a place on a line, which the first pixel shows in hundredths; an action moves by itself."""

    def __init__(self):
        super().__init__((16, 16, 3), 1, WorldModelConfig(latent_dim=1, hidden_dim=8))

    def features(self, frames):
        return frames[:, 0, 0, :1].float() / 100

    def posterior(self, features, prior, action, memory):
        return product(prior, Normal(features, torch.full_like(features, TOLD))), memory

    def transition(self, z, action):
        return Normal(z + action, torch.full_like(z, MOVED))

    def initial(self, batch):
        return Normal(torch.zeros(batch, 1), torch.full((batch, 1), 100.0)), torch.zeros(batch, 0)


class Eye(Identity):
    """Doubts a frame wholly where its second pixel is black, and else by its third pixel's value."""

    def restore(self, frames):
        doubt = torch.where(frames[:, 0, 1, 0] > 0, 255.0 - frames[:, 0, 2, 0], torch.inf)
        return Restored(frames, doubt, doubt)


GATE = ConformalGate(9.0)


def frame(place, plausible=True, doubt=0):
    picture = torch.full((1, 16, 16, 3), 255 if plausible else 0, dtype=torch.uint8)
    picture[0, 0, 0, 0] = round(100 * place)
    picture[0, 0, 2, 0] = 255 - doubt
    return picture


def follow(frames, restorer, gate=GATE, action=0.1):
    """Beliefs along frames, the same action after each."""
    line, step = Line(), torch.full((1, 1), action)
    state = BeliefState.initial(line, 1)
    beliefs = []
    for each in frames:
        beliefs.append(observe(line, restorer, gate, each, state))
        state = advance(line, beliefs[-1], step)
    return beliefs


def walk(count, start=0.5):
    return [frame(start + 0.1 * k) for k in range(count)]


def test_frames_that_were_expected_are_believed_as_without_a_gate():
    for believed, plain in zip(
        follow(walk(6), Eye()), follow(walk(6), Identity(), AcceptAll()), strict=True
    ):
        assert believed.used.all() and plain.used.all()
        torch.testing.assert_close(believed.density, plain.density)


def test_while_the_camera_lies_belief_coasts_and_its_variances_add_up():
    beliefs = follow([*walk(3), *[frame(2.0, plausible=False)] * 4, frame(1.2)], Eye())
    known = beliefs[2].density.mean
    for k in range(1, 5):
        blind = beliefs[2 + k]
        assert not blind.used.any()
        torch.testing.assert_close(blind.density.mean, known + 0.1 * k)
        assert blind.density.std.item() == pytest.approx(MOVED * math.sqrt(k))
    # The next frame is weighed against all that was added: a Kalman update written out.
    left = 5 * MOVED**2
    gain = left / (left + TOLD**2)
    expected = (1 - gain) * (known.item() + 0.5) + gain * 1.2
    assert beliefs[7].used.all()
    assert beliefs[7].density.mean.item() == pytest.approx(expected, abs=1e-5)


def test_one_plausible_frame_that_was_not_to_be_expected_is_left_out():
    beliefs = follow([*walk(3), frame(2.2), frame(0.8)], Eye())
    assert [bool(each.used) for each in beliefs] == [True, True, True, False, True]
    assert beliefs[3].restored.plausible.all() and beliefs[3].innovation.item() > 9
    assert beliefs[4].density.mean.item() == pytest.approx(0.9, abs=0.1)


def test_two_frames_that_agree_with_each_other_outvote_belief():
    beliefs = follow([*walk(3), frame(2.2), frame(2.3), frame(2.4)], Eye())
    assert [bool(each.used) for each in beliefs] == [True, True, True, False, True, True]
    # Belief has started anew at the second frame alone.
    torch.testing.assert_close(beliefs[4].density, beliefs[4].observation_density)
    assert beliefs[5].density.mean.item() == pytest.approx(2.4, abs=0.01)


def test_two_frames_that_disagree_or_are_implausible_do_not():
    apart = follow([*walk(3), frame(2.2), frame(1.7), frame(2.3)], Eye())
    assert not any(bool(each.used) for each in apart[3:])
    broken = follow([*walk(3), frame(2.2, plausible=False), frame(2.3)], Eye())
    assert not broken[4].used.any()  # what the first of them told counts for nothing


def test_nothing_can_surprise_who_has_not_seen_anything():
    beliefs = follow([frame(2.0, False), frame(2.0, False), frame(1.5), frame(1.6)], Eye())
    assert [bool(each.used) for each in beliefs] == [False, False, True, True]
    assert [bool(each.initialised) for each in beliefs] == [False, False, True, True]
    assert beliefs[2].density.mean.item() == pytest.approx(1.5, abs=0.01)


def test_a_restorer_without_a_gate_changes_no_belief():
    frames = [*walk(3), frame(2.2), frame(2.0, plausible=False)]
    beliefs = follow(frames, Eye(), AcceptAll())
    for believed, plain in zip(beliefs, follow(frames, Identity(), AcceptAll()), strict=True):
        assert believed.used.all() and believed.innovation.item() >= 0
        torch.testing.assert_close(believed.density, plain.density)


def test_rooms_are_gated_one_by_one():
    line = Line()
    scripts = [[*walk(3), frame(2.2)], [*walk(3), frame(0.8)], [*walk(3), frame(0.8, plausible=False)]]
    state = BeliefState.initial(line, 3)
    for moment in zip(*scripts, strict=True):
        belief = observe(line, Eye(), GATE, torch.cat(moment), state)
        state = advance(line, belief, torch.full((3, 1), 0.1))
    alone = [follow(script, Eye())[-1] for script in scripts]
    assert belief.used.tolist() == [False, True, False]
    for room, each in enumerate(alone):
        torch.testing.assert_close(belief.density.mean[room], each.density.mean[0])


def test_the_innovation_is_a_chi_square_where_predictions_are_right():
    generator = torch.Generator().manual_seed(0)
    told_std, predicted_std = 0.3 + torch.rand(2, 8, generator=generator)
    truth = torch.randn(20_000, 8, generator=generator)
    told = truth + told_std * torch.randn(truth.shape, generator=generator)
    predicted = truth + predicted_std * torch.randn(truth.shape, generator=generator)
    d2 = innovation(
        Normal(told, told_std.expand_as(told)), Normal(predicted, predicted_std.expand_as(told))
    )
    assert d2.mean().item() == pytest.approx(8, rel=0.02)
    assert d2.var().item() == pytest.approx(16, rel=0.05)


# ---- the soft gate ---------------------------------------------------------------------------------

SOFT = SoftGate(9.0)


def kalman(mean, variance, told, told_variance):
    """The product of two normal densities, as the textbook's gain."""
    gain = variance / (variance + told_variance)
    return mean + gain * (told - mean), (1 - gain) * variance


def test_sound_frames_that_were_expected_are_believed_as_without_a_gate():
    for soft, plain in zip(
        follow(walk(6), Eye(), SOFT), follow(walk(6), Identity(), AcceptAll()), strict=True
    ):
        assert torch.equal(soft.density.mean, plain.density.mean)
        assert torch.equal(soft.density.std, plain.density.std)


@pytest.mark.parametrize(("doubt", "sound"), [(SOUND_DOUBT, True), (SOUND_DOUBT + 1e-3, False)])
def test_a_frame_is_sound_up_to_the_limit_of_doubt_and_with_it(doubt, sound):
    far, near, known = torch.tensor([100.0]), torch.tensor([1.0]), torch.tensor([True])
    doubts = torch.tensor([doubt])
    for gate in (ConformalGate(9.0), SoftGate(9.0)):
        assert gate.decide(doubts, far, near, known).reset.tolist() == [sound]
    assert ConformalGate(9.0).decide(doubts, near, near, known).weight.tolist() == [float(sound)]


def test_what_a_frame_predicts_of_the_next_has_its_own_uncertainty_and_the_steps():
    line = Line()
    belief = observe(line, Identity(), AcceptAll(), frame(0.5), BeliefState.initial(line, 1))
    rival = advance(line, belief, torch.full((1, 1), 0.1)).single_frame_prediction
    assert rival.mean.item() == pytest.approx(0.6, abs=1e-3)
    assert rival.std.item() == pytest.approx(math.hypot(TOLD, MOVED), rel=1e-3)


def test_a_belief_takes_nothing_from_what_has_no_weight():
    """Not even if it is no number."""
    q, p = Normal(torch.tensor([[1.0]]), torch.tensor([[0.3]])), Normal(*torch.full((2, 1, 1), 0.7))
    none = Normal(*torch.full((2, 1, 1), torch.nan))
    for got, expected in (
        (_tempered(none, p, torch.tensor([0.0])), p),
        (_tempered(q, none, torch.tensor([1.0])), q),
    ):
        assert (got.mean, got.std) == (expected.mean, expected.std)


def test_doubt_inflates_a_frames_variance():
    """The filter written out: the frame's variance is 1 + h times as large."""
    for doubt in (1, 5, 250):
        belief = follow([*walk(3), frame(0.9, doubt=doubt)], Eye(), SOFT)[3]
        known = follow(walk(3), Eye(), SOFT)[2].density.mean.item()
        mean, variance = kalman(known + 0.1, MOVED**2, 0.9, TOLD**2 * (1 + doubt))
        assert belief.density.mean.item() == pytest.approx(mean, abs=1e-6)
        assert belief.density.std.item() ** 2 == pytest.approx(variance, rel=1e-5)


def test_a_surprising_frame_moves_belief_by_a_bounded_step_and_not_by_nothing():
    """w = τ/d²: twice the surprise does not pull twice as hard, as it would without a gate."""
    steps = []
    for place in (1.4, 2.0, 2.5):  # 0.8 is expected
        belief = follow([*walk(3), frame(place)], Eye(), SOFT)[3]
        weight = belief.weight.item()
        assert weight == pytest.approx(9.0 / belief.innovation.item(), rel=1e-5) and weight < 1
        steps.append(belief.density.mean.item() - 0.8)
    assert 0 < steps[2] < steps[1] < steps[0] < 0.25


@pytest.mark.parametrize("first", [frame(2.2), frame(2.2, doubt=3), frame(0.1, plausible=False)])
def test_belief_that_began_wrong_finds_itself(first):
    """Whatever the first frame told, a few good ones outvote it."""
    beliefs = follow([first, *walk(10, 0.9)], Eye(), SOFT)
    assert beliefs[3].density.mean.item() == pytest.approx(1.1, abs=0.25)
    assert beliefs[10].density.mean.item() == pytest.approx(1.8, abs=0.06)


def test_frames_that_all_are_doubted_still_tell_where_it_is():
    """Nothing is ever sound, and belief has begun far off: it may not stay blind for ever."""
    frames = [frame(0.2 + 0.1 * k, doubt=20) for k in range(20)]
    beliefs = follow(frames, Eye(), SOFT)
    assert not any(each.used.any() for each in beliefs[1:])
    assert beliefs[-1].density.mean.item() == pytest.approx(2.1, abs=0.1)
    hard = follow([frame(2.2), *frames], Eye(), GATE)
    assert abs(hard[-1].density.mean.item() - 2.1) > 1  # the hard gate does stay blind


def test_the_share_of_variance_that_was_not_observed_is_carried_on():
    beliefs = follow([*walk(3), frame(0.8, doubt=3), frame(0.9, plausible=False)], Eye(), SOFT)
    seen = beliefs[3].density.std.item() ** 2
    expected = MOVED**2 + (1 - 1 / 4) * seen
    assert beliefs[4].density.std.item() ** 2 == pytest.approx(expected, rel=1e-5)


# ---- the agent -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent():
    return Agent("RobotRoom-v0", SMALL).learn(80)


class Trusting(DiffusionRestorer):
    def restore(self, frames):
        return Identity().restore(frames)


def rollout(agent, steps=4):
    frames = np.random.default_rng(0).integers(0, 255, (steps, 2, 64, 64, 3), np.uint8)
    state, decisions = None, []
    for each in frames:
        decision, state = agent.decide(each, state)
        decisions.append(decision)
    return decisions


def test_an_agent_whose_restorer_changes_nothing_acts_as_without(agent):
    plain = rollout(agent)
    nobody = Critic(None, torch.zeros(1, 2), torch.ones(1, 2), 0.0)  # pyright: ignore
    agent.restorer, agent.gate = Trusting(nobody), ConformalGate(math.inf)
    asked = rollout(agent)
    agent.gate = ConformalGate(0.0)
    gated = rollout(agent)
    agent.restorer, agent.gate = Identity(), AcceptAll()
    for a, b in zip(plain, asked, strict=True):
        assert torch.equal(a.action, b.action)
        assert torch.equal(a.belief.innovation, b.belief.innovation)  # the filter always knows it
    assert gated[0].belief.used.all() and not gated[1].belief.used.any()
    assert isinstance(gated[1].belief, Belief)


class Aversion(Critic):
    """Finds frames the odder the brighter they are."""

    def score(self, frames):
        return frames.float().mean((1, 2, 3))


def test_the_plan_that_looks_plausible_wins_where_plausibility_weighs(agent):
    frames = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), np.uint8)
    plain, _ = agent.decide(frames)
    dark = Aversion(None, torch.zeros(1, 2), torch.ones(1, 2), 0.0)  # pyright: ignore
    chosen = {}
    for weight in (1e-9, 1e9):
        agent.restorer = Trusting(dark, plan_weight=weight)
        chosen[weight], _ = agent.decide(frames)
    agent.restorer = Identity()
    best = plain.plan.candidates[:, :5].clamp(-1, 1)
    torch.testing.assert_close(chosen[1e-9].plan.actions, best[:, 0])
    brightness = []
    model = agent.world_model
    for k in range(5):
        z, seen = plain.belief.density.mean, []
        for action in best[:, k].unbind(1):
            z = model.transition(z, action).mean
            seen.append(model.decode(z).float().mean((1, 2, 3)))
        brightness.append(torch.stack(seen).mean(0))
    darkest = torch.stack(brightness).argmin(0)
    for room in range(2):
        torch.testing.assert_close(chosen[1e9].plan.actions[room], best[room, darkest[room]])
