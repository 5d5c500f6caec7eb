"""Parts of one's own: tried when the agent is made, used, saved, and found again or asked for."""

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from agent import Agent, AgentConfig
from agent.config import Config, Count
from agent.deterministic import DeterministicModel
from agent.exploration import Exploration
from agent.gate import GateDecision
from agent.learner import TrainingConfig
from agent.planning import CEM, ICEM, RandomShooting, imagined_return
from agent.restoration.restorer import Identity
from agent.world_model import WorldModel, WorldModelConfig

SMALL = AgentConfig(
    WorldModelConfig(hidden_dim=16),
    CEM(candidates=8, elites=2, iterations=1),
    TrainingConfig(num_envs=2, random_steps=8, updates_per_step=0.5, batch_size=4),
)
PLAIN = replace(SMALL, world_model=WorldModelConfig())
ENV = "RobotRoom-v0"


def right(problem, z, generator):
    """Always to the right."""
    return torch.tensor([1.0, 0.0]).expand(len(z), 4, 2)


def shooting(problem, z, generator):
    plans = 2 * torch.rand(len(z), 16, 5, 2, generator=generator) - 1
    best = imagined_return(problem, z, plans, discount=0.9).argmax(1)
    return plans[torch.arange(len(z)), best]


class Compass(CEM):
    """A planner with a setting more."""


@dataclass(frozen=True)
class Settings(Config):
    size: Count = 5


class Tiny(DeterministicModel):
    config_type = Settings

    def __init__(self, frame_shape, action_size, config=None):
        self.config = config or Settings()
        super().__init__(frame_shape, action_size, self.config.size)
        self.look = nn.Linear(3, self.config.size)
        self.move = nn.Linear(self.config.size + action_size, self.config.size)
        self.value = nn.Linear(self.config.size, 1)

    def encode(self, frames):
        return self.look(frames.float().mean((1, 2)) / 255)

    def step(self, z, action):
        z = self.move(torch.cat([z, action], -1))
        return z, self.value(z)[..., 0]

    def loss(self, batch, generator=None):
        z = self.encode(batch.frames[:, 0])
        _, reward = self.step(z, batch.actions[:, 0])
        error = (reward - batch.rewards[:, 1]).square().mean()
        return error, {"reward_error": error}


class LeftThenStay(Exploration):
    def random_actions(self, last, episode_start, generator):
        return np.full_like(last, -1.0)

    def perturbed(self, action, generator):
        return torch.zeros_like(action)


def actions_of(agent):
    return [np.array(e.actions) for e in agent.replay.episodes]


# ---- planners --------------------------------------------------------------------------------------


def test_a_function_plans_over_the_models_step():
    agent = Agent(ENV, SMALL, planner=right)
    assert agent.planner.horizon == 4
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    actions, state = agent.predict(frames)
    np.testing.assert_array_equal(actions, [[1.0, 0.0]] * 3)
    agent.learn(24)
    actions, _ = agent.predict(frames, state)
    np.testing.assert_array_equal(actions, [[1.0, 0.0]] * 3)


def test_a_function_is_given_what_a_planner_is_given():
    agent = Agent(ENV, SMALL, planner=shooting)
    own = Agent(ENV, replace(SMALL, planner=RandomShooting(candidates=17, horizon=5, discount=0.9)))
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    (one, _), (other, _) = agent.decide(frames), own.decide(frames)
    z = one.belief.density.mean
    torch.testing.assert_close(z, other.belief.density.mean)
    generator = torch.Generator().manual_seed(agent.seed)
    plans = 2 * torch.rand(2, 16, 5, 2, generator=generator) - 1
    returns = torch.zeros(2, 16)
    for row in range(2):
        for k in range(16):
            state, weight = z[row : row + 1], 1.0
            for action in plans[row, k]:
                state, reward = agent.world_model.step(state, action[None])
                weight *= 0.9
                returns[row, k] += weight * reward[0]
    expected = plans[torch.arange(2), returns.argmax(1)]
    torch.testing.assert_close(one.plan.actions, expected)


def test_a_planner_of_another_class_is_found_again_where_it_is_imported(tmp_path):
    agent = Agent(ENV, SMALL, planner=Compass(candidates=9, elites=3))
    agent.save(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent").planner == agent.planner
    other = Agent.load(tmp_path / "agent", planner=ICEM(horizon=3))
    assert other.planner == ICEM(horizon=3)
    assert Agent.load(tmp_path / "agent", planner=Compass).planner == agent.planner


def test_a_function_must_be_passed_again(tmp_path):
    Agent(ENV, SMALL, planner=right).save(tmp_path / "agent")
    with pytest.raises(
        ValueError, match=r"planner: got '.*test_parts\.right', allowed: .* pass planner="
    ):
        Agent.load(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent", planner=right)
    np.testing.assert_array_equal(again.predict(np.zeros((64, 64, 3), np.uint8))[0], [1.0, 0.0])


def test_a_planner_can_be_set_later():
    agent = Agent(ENV, SMALL)
    agent.planner = right
    np.testing.assert_array_equal(agent.predict(np.zeros((64, 64, 3), np.uint8))[0], [1.0, 0.0])
    with pytest.raises(ValueError, match="planner: got 5, allowed: a Planner"):
        agent.planner = 5
    assert agent.planner.function is right


@pytest.mark.parametrize(
    ("planner", "message"),
    [
        (lambda p, z, g: torch.full((len(z), 2), 1.5), r"planner: <lambda>: got an action of 1\.5"),
        (lambda p, z, g: torch.full((len(z), 2), torch.nan), "planner: <lambda>.*NaN"),
        (lambda p, z, g: torch.zeros(len(z), 3), r"planner: <lambda>.*\(2, 3\)"),
        (lambda p, z, g: [0.0, 0.0], "planner: <lambda>.*list"),
        (lambda p, z: z, "planner: <lambda> cannot be used: calling it raised TypeError"),
        ("ICEM", "planner: got 'ICEM', allowed: a Planner"),
        (int, "planner: got <class 'int'>, allowed: a Planner"),
    ],
)
def test_planners_that_break_the_protocol_are_refused_at_once(planner, message):
    with pytest.raises(ValueError, match=message):
        Agent(ENV, SMALL, planner=planner)


def test_actions_out_of_bounds_are_refused_also_later():
    calls = []

    def worse(problem, z, generator):
        calls.append(1)
        return torch.full((len(z), 2), 0.1 * len(calls))

    agent = Agent(ENV, SMALL, planner=worse)
    with pytest.raises(ValueError, match=r"worse: got an action of 1\.1, allowed: from -1 to 1"):
        for _ in range(20):
            agent.predict(np.zeros((64, 64, 3), np.uint8))


# ---- world models ----------------------------------------------------------------------------------


def test_a_model_learns_acts_is_saved_and_found_again(tmp_path):
    agent = Agent(ENV, PLAIN, world_model=Tiny)
    before = [parameter.clone() for parameter in agent.world_model.parameters()]
    agent.learn(24)
    assert agent.config.world_model == Settings()
    assert any((a != b).any() for a, b in zip(before, agent.world_model.parameters(), strict=True))
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(again.predict(frames)[0], agent.predict(frames)[0])


def test_an_instance_is_used_as_it_is(tmp_path):
    model = Tiny((64, 64, 3), 2, Settings(size=7))
    agent = Agent(ENV, PLAIN, world_model=model)
    assert agent.world_model is model and agent.config.world_model == Settings(7)
    agent.save(tmp_path / "agent")
    fresh = Tiny((64, 64, 3), 2, Settings(size=7))
    assert Agent.load(tmp_path / "agent", world_model=fresh).world_model is fresh
    assert torch.equal(fresh.move.weight, model.move.weight)
    with pytest.raises(
        ValueError, match=r"world_model: got settings .*size=5.*, allowed: .*7.*, as saved"
    ):
        Agent.load(tmp_path / "agent", world_model=Tiny((64, 64, 3), 2))


def test_trying_a_model_changes_nothing():
    class Normalised(Tiny):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.norm = nn.BatchNorm1d(3)

        def encode(self, frames):
            return self.look(self.norm(frames.float().mean((1, 2)) / 255))

    before = torch.random.get_rng_state()
    agent = Agent(ENV, PLAIN, world_model=Normalised)
    assert agent.world_model.training and agent.world_model.norm.num_batches_tracked == 0
    assert torch.equal(before, torch.random.get_rng_state())


def broken(**changes):
    return type("Broken", (Tiny,), changes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            broken(step=lambda self, z, action: (z[:, :2], z[:, 0])),
            r"world_model: Broken\.transition: got a tensor \(2, 2\), allowed: a tensor \(2, 5\)",
        ),
        (
            broken(step=lambda self, z, action: (z, z[:, :1])),
            r"world_model: Broken\.step: got a tensor \(2, 1\), allowed: a tensor \(2,\)",
        ),
        (
            broken(step=lambda self, z: (z, z[:, 0])),
            "Broken cannot be used: filtering raised TypeError",
        ),
        (broken(encode=lambda self, frames: 0 * frames[:, 0, 0] / 0), "world_model: Broken"),
        (
            broken(loss=lambda self, batch, generator=None: (torch.zeros(()), {})),
            r"world_model: Broken\.loss: got no gradient",
        ),
        (
            broken(loss=lambda self, batch, generator=None: (torch.zeros(3), {})),
            r"Broken\.loss: loss: got a tensor \(3,\), allowed: a tensor \(\)",
        ),
        (nn.Linear, "world_model: Linear cannot be used: making it raised|got Linear without"),
        (lambda *arguments: 5, r"world_model: got int, allowed: a torch\.nn\.Module with"),
        (Tiny((64, 64, 3), 3), "got action_size 3, allowed: 2, as the environment's"),
    ],
)
def test_models_that_break_the_protocol_are_refused_at_once(model, message):
    with pytest.raises(ValueError, match=message):
        Agent(ENV, PLAIN, world_model=model)


def test_what_is_missing_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"got Linear without latent_dim, action_size.*Deterministic"):
        Agent(ENV, PLAIN, world_model=model)


def test_settings_of_another_model_are_refused():
    config = replace(SMALL, world_model=Settings())
    with pytest.raises(
        ValueError, match="world_model: got settings of Settings, allowed: WorldModelConf"
    ):
        Agent(ENV, config, world_model=WorldModel)


# ---- exploration -----------------------------------------------------------------------------------


def test_exploration_decides_how_data_are_collected(tmp_path):
    agent = Agent(ENV, SMALL, exploration=LeftThenStay).learn(24)
    actions = np.concatenate(actions_of(agent))
    assert {tuple(a) for a in actions} == {(-1.0, -1.0), (0.0, 0.0)}
    assert (actions == -1).all(1).sum() == 8
    agent.save(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent").exploration == agent.exploration


def test_the_default_exploration_is_that_of_the_training_settings(tmp_path):
    config = replace(SMALL, training=replace(SMALL.training, exploration_std=0.0))
    agents = [Agent(ENV, config), Agent(ENV, SMALL, exploration=Exploration(0.7, 0.0))]
    one, other = (actions_of(agent.learn(24)) for agent in agents)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    agents[1].save(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent").exploration == Exploration(0.7, 0.0)


def test_a_bonus_for_novelty_changes_what_is_planned():
    class Rightwards(Exploration):
        def problem(self, problem, model):
            return replace(problem, penalty=lambda z, action: -1e3 * action[:, 0])

    config = replace(SMALL, planner=CEM(candidates=60, elites=6))
    agent = Agent(ENV, config, exploration=Rightwards(exploration_std=0.0)).learn(24)
    chosen = np.concatenate([e.actions for e in agent.replay.episodes if e.actions])[-6:, 0]
    assert chosen.mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"random_actions": lambda self, last, s, g: last[:, :1]},
            r"exploration: Odd cannot .* \(2, 1\)",
        ),
        (
            {"perturbed": lambda self, action, g: action + 2},
            "exploration: Odd .* got 2, allowed: from -1",
        ),
        ({"problem": lambda self, problem, model: None}, "exploration: Odd .* returned NoneType"),
    ],
)
def test_explorations_that_break_the_protocol_are_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        Agent(ENV, SMALL, exploration=type("Odd", (Exploration,), changes))
    with pytest.raises(ValueError, match="exploration: got 5, allowed"):
        Agent(ENV, SMALL, exploration=5)


def test_settings_that_no_file_could_hold_are_refused_at_once():
    @dataclass(frozen=True)
    class Lists(Config):
        sizes: tuple = (3, 4)

    @dataclass(frozen=True)
    class Towards(Exploration):
        place: list = None

    class Listed(Tiny):
        def __init__(self, frame_shape, action_size, config=None):
            super().__init__(frame_shape, action_size)
            self.config = Lists()

    with pytest.raises(ValueError, match=r"world_model: Lists\.sizes: got \(3, 4\), allowed: a bool"):
        Agent(ENV, PLAIN, world_model=Listed((64, 64, 3), 2))
    with pytest.raises(ValueError, match=r"exploration: Towards\.place: got \[1\]"):
        Agent(ENV, SMALL, exploration=Towards(place=[1]))


# ---- restorer and gate -----------------------------------------------------------------------------


def test_a_restorer_and_a_gate_are_tried():
    class Half(Identity):
        def restore(self, frames):
            return super().restore(frames[:, ::2])

    class Sure(Identity):
        def restore(self, frames):
            return super().restore(frames)._replace(doubt=-torch.ones(len(frames)))

    class Odd:
        def decide(self, *arguments):
            return GateDecision(torch.ones(1), torch.zeros(1) > 0)

    class Heavy:
        def decide(self, *arguments):
            return GateDecision(torch.full((2,), 2.0), torch.zeros(2) > 0)

    with pytest.raises(
        ValueError, match=r"restorer: Half .*\(2, 32, 64, 3\), allowed: .*\(2, 64, 64, 3\)"
    ):
        Agent(ENV, SMALL, restorer=Half())
    with pytest.raises(ValueError, match=r"gate: Odd .*\(1,\), allowed: .*\(2,\)"):
        Agent(ENV, SMALL, gate=Odd())
    with pytest.raises(ValueError, match=r"restorer: Sure .*doubt: .*allowed: floats from 0"):
        Agent(ENV, SMALL, restorer=Sure())
    with pytest.raises(ValueError, match=r"gate: Heavy .*weight: .*allowed: floats from 0 to 1"):
        Agent(ENV, SMALL, gate=Heavy())


# ---- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        ("planner_type", "stranger_parts.Evil", r"planner: got 'stranger_parts\.Evil', allowed: ICEM"),
        ("exploration_type", "stranger_parts.Evil", "exploration: got 'stranger_parts"),
        ("world_model_type", "stranger_parts.Evil", "world_model: got 'stranger_parts"),
        ("planner_type", "os.system", r"planner: got 'os\.system', allowed"),
        ("world_model_type", "os.system", r"world_model: got 'os\.system', allowed"),
    ],
)
def test_no_module_is_imported_by_a_name_in_a_file(section, name, message, tmp_path, monkeypatch):
    Agent(ENV, SMALL).save(tmp_path / "agent")
    (tmp_path / "stranger_parts.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "agent" / "config.json"
    config = json.loads(path.read_text())
    (config if section == "world_model_type" else config["agent"])[section] = name
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        Agent.load(tmp_path / "agent")
    assert "stranger_parts" not in sys.modules


def test_code_whose_parameters_have_changed_is_refused(tmp_path):
    agent = Agent(ENV, SMALL, planner=Compass(candidates=9, elites=3))
    agent.save(tmp_path / "agent")
    path = tmp_path / "agent" / "config.json"
    config = json.loads(path.read_text())
    config["agent"]["planner"]["needles"] = 3
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"planner: got settings .*needles.*; pass planner= to load"):
        Agent.load(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent", planner=CEM()).planner == CEM()
