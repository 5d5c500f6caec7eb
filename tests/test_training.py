"""The state of learning is one object, and processor flags are left as they were."""

import copy
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_agent import SMALL

from agent import Agent, AgentConfig
from agent.control import ControlState, decide
from agent.denormals import flushed_denormals
from agent.exploration import Exploration
from agent.learner import MOST_SKIPPED, REFITTED, Learner, Progress, TrainingConfig
from agent.planning import ICEM
from agent.replay import Episode
from agent.training import OnlineRun
from agent.world_model import WorldModel, WorldModelConfig


@pytest.fixture(scope="module")
def learner():
    return Agent("RobotRoom-v0", SMALL, seed=3).learn(48).learner


def test_numbers_that_nothing_depends_on_count_as_zero_within_and_only_there():
    tiny = torch.tensor([1e-40])
    with flushed_denormals():
        assert (tiny * 1).item() == 0
    assert (tiny * 1).item() > 0


def test_flushing_that_a_user_has_switched_on_stays_on():
    tiny = torch.tensor([1e-40])
    torch.set_flush_denormal(True)
    try:
        with flushed_denormals():
            pass
        assert (tiny * 1).item() == 0
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.slow
def test_learners_with_one_state_go_on_with_the_same_bits(learner):
    state, others = copy.deepcopy(learner.state_dict()), []
    for seed in (98, 99):
        model = WorldModel((64, 64, 3), 2, learner.world_model.config)
        other = Learner(model, learner.config, np.random.SeedSequence(seed))
        other.load_state_dict(copy.deepcopy(state))
        for _ in range(5):
            other.update(left=0.5)
        others.append(other)
    a, b = others
    assert (
        a.progress.metrics == b.progress.metrics and a.progress.state_dict() == b.progress.state_dict()
    )
    assert a.progress.num_updates == learner.progress.num_updates + 5
    for left, right in zip(a.world_model.parameters(), b.world_model.parameters(), strict=True):
        assert torch.equal(left, right)
    draws = [each.generators.exploration.random(3).tolist() for each in others]
    assert draws[0] == draws[1]


@pytest.mark.slow
def test_the_state_of_another_model_is_refused(learner):
    sizes = type(learner.world_model.config)(hidden_dim=16)
    other = Learner(WorldModel((64, 64, 3), 2, sizes), learner.config, np.random.SeedSequence(0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(learner.state_dict())


class Doubled(WorldModel):
    """Counts every loss twice."""

    def loss(self, batch, generator=None):
        loss, metrics = super().loss(batch, generator)
        return 2 * loss, metrics


@pytest.mark.slow
def test_an_agent_learns_with_a_model_of_another_class():
    agent = Agent("RobotRoom-v0", SMALL, world_model=Doubled)
    before = [p.clone() for p in agent.world_model.parameters()]
    agent.learn(48)
    assert isinstance(agent.world_model, Doubled)
    metrics = agent.progress.metrics
    assert any(
        not torch.equal(a, b) for a, b in zip(before, agent.world_model.parameters(), strict=True)
    )
    elbo, open_loop = metrics["elbo"], metrics["open_loop_log_p_rewards"] - metrics["open_loop_kl"]
    assert metrics["loss"] == pytest.approx(-2 * (elbo + open_loop), rel=1e-5)


def test_a_model_of_another_class_is_loaded_as_that_class(tmp_path):
    Agent("RobotRoom-v0", SMALL, world_model=Doubled).save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"world_model: got .*WorldModel, allowed: .*Doubled"):
        Agent.load(tmp_path / "agent", world_model=WorldModel)
    assert isinstance(Agent.load(tmp_path / "agent").world_model, Doubled)
    again = Agent.load(tmp_path / "agent", world_model=Doubled)
    assert isinstance(again.world_model, Doubled)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainingConfig(learning_rate=float("inf")), "learning_rate: got inf"),
        (lambda: WorldModelConfig(frame_std=float("nan")), "frame_std: got nan"),
        (lambda: ICEM(discount=1.25), "discount: got 1.25"),
        (lambda: TrainingConfig(longest_episode=-3), "longest_episode: got -3"),
        (lambda: AgentConfig(planner="ICEM"), "planner: got 'ICEM', allowed: CEM or ICEM"),
        (lambda: Agent("RobotRoom-v0", SMALL, seed=-1), "seed: got -1"),
        (lambda: Agent("RobotRoom-v0", SMALL).learn(1.5), "total_timesteps: got 1.5"),
        (lambda: ICEM(horizon=10**9), "horizon: got 1000000000, allowed: .*at most 1000"),
        (lambda: ICEM(horizon=1000, candidates=10**5), "horizon: got 1000, allowed: at most 100 with"),
        (lambda: ICEM(particles=100, candidates=10**5), "particles: got 100, allowed: at most 10 with"),
        (
            lambda: WorldModelConfig(hidden_dim=10**6),
            "hidden_dim: got 1000000.*at most 4096",
        ),
        (
            lambda: TrainingConfig(batch_size=10**5, sequence_length=100),
            "batch_size: got 100000, allowed: at most 1310 windows of 100 frames",
        ),
        (lambda: Agent("RobotRoom-v0", seed=2**63), "seed: got 9223372036854775808"),
        (lambda: Agent(None), "env: got None, allowed: an id, a spec, an environment"),
        (lambda: Agent("RobotRoom-v0", {}), "config: got {}, allowed: AgentConfig"),
        (lambda: Agent("RobotRoom-v0", restorer=5), "restorer: got 5, allowed: Restorer"),
        (lambda: Agent("RobotRoom-v0", world_model=5), "world_model: got 5, allowed: a class"),
        (lambda: Agent("RobotRoom-v0", SMALL).learn_from(5), "episodes: got 5, allowed: several"),
        (lambda: Agent("RobotRoom-v0", SMALL).save(5), "path: got 5, allowed: a path"),
        (lambda: Agent.load(None), "path: got None, allowed: a path"),
    ],
)
def test_values_that_no_step_could_use_are_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numpy_numbers_are_numbers(tmp_path):
    config = AgentConfig(training=TrainingConfig(num_envs=np.int64(2), learning_rate=np.float32(0.01)))
    agent = Agent("RobotRoom-v0", config, seed=np.int64(1))
    agent.predict(np.zeros((64, 64, 3), np.uint8))
    agent.save(tmp_path / "agent")
    assert Agent.load(tmp_path / "agent").config == config


@pytest.mark.slow
def test_the_end_of_episodes_is_learned():
    """p(c = 0 | z) at the goal, where the room terminates, and far from it."""
    config = AgentConfig(WorldModelConfig(continuation=True))
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu").learn(200)
    env = gym.make("RobotRoom-v0", terminate_on_goal=False)
    model, prior, probability = agent.world_model, agent.world_model.initial(1), {}
    for place in ((0.03, 0.02), (0.3, 0.0), (-0.6, 0.5)):
        frame, _ = env.reset(options={"robot_position": place, "goal_position": (0, 0)})
        features = model.features(torch.from_numpy(frame)[None])
        q, _ = model.posterior(features, prior[0], torch.zeros(1, 2), prior[1])
        probability[place] = model.continuation(q.mean).item()
    assert probability[0.03, 0.02] < 0.5 < 0.9 < min(probability[0.3, 0.0], probability[-0.6, 0.5])


def test_bold_random_actions_are_often_on_the_bounds_and_lead_farther():
    generator, last = np.random.default_rng(0), np.zeros((20_000, 2), np.float32)
    starts = np.ones(20_000, np.bool_)
    for amplitude, share in ((1.0, 0.0), (2.0, 0.5), (4.0, 0.75)):
        actions = Exploration(random_amplitude=amplitude).random_actions(last, starts, generator)
        assert (np.abs(actions) == 1).mean() == pytest.approx(share, abs=0.01)
        inside = actions[np.abs(actions) < 1]
        assert inside.mean() == pytest.approx(0, abs=0.02)
        assert inside.std() == pytest.approx(3**-0.5, abs=0.01)  # uniform


class Marked(Exploration):
    """Its random actions can be told from the planner's."""

    def random_actions(self, last, episode_start, generator):
        assert len(last) == len(episode_start)
        return np.full_like(last, 0.125)


def test_some_environments_may_act_at_random_throughout_and_the_filter_is_told():
    config = AgentConfig(training=TrainingConfig(num_envs=4, random_steps=8, updates_per_step=0.1))
    explores = Marked(random_share=0.5, exploration_std=0.1)
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu", exploration=explores).learn(80)
    marked = np.concatenate([np.asarray(e.actions) for e in agent.replay.episodes]) == 0.125
    assert marked.all(1).sum() == 8 + 72 / 2 and (marked.all(1) == marked.any(1)).all()
    frames = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    state = ControlState.initial(agent.world_model, agent.planner, 4)
    rest = agent.world_model, agent.planner, frames, state, torch.ones(4, dtype=torch.bool)
    instead = torch.full((2, 2), 0.125)
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    free, forced = (
        decide(*rest, generator, instead=given)
        for generator, given in zip(generators, (None, instead), strict=True)
    )
    assert (forced[0].action[:2] == 0.125).all() and torch.equal(
        forced[1].belief.action, forced[0].action
    )
    assert torch.equal(forced[0].action[2:], free[0].action[2:])
    assert not torch.equal(forced[1].belief.predicted.mean[:2], free[1].belief.predicted.mean[:2])


@pytest.mark.parametrize(("num_envs", "whole"), [(1, 0), (3, 1)])
def test_a_share_of_fewer_environments_is_that_of_their_episodes(num_envs, whole):
    """Half of one environment, or of three: every other episode of the one between is random."""
    training = TrainingConfig(num_envs, random_steps=6, updates_per_step=0.01, longest_episode=5)
    explores = Marked(random_share=0.5, exploration_std=0.1)
    config = AgentConfig(training=training)
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu", exploration=explores)
    agent.learn(20 * num_envs)
    taken = np.concatenate([np.asarray(e.actions) for e in agent.replay.episodes]) == 0.125
    assert 0 <= taken.all(1).sum() - (20 * whole + 10) <= 6  # in the first steps, all act at random


def test_more_actions_take_more_random_steps():
    """Three for each number of an action, at least, and as many as the settings say."""
    explores = Marked(exploration_std=0.1)
    for steps, expected in ((1, 6), (4, 6), (8, 8)):
        training = TrainingConfig(2, random_steps=steps, updates_per_step=0.01)
        agent = Agent("RobotRoom-v0", AgentConfig(training=training), seed=0, exploration=explores)
        agent.learn(20)
        taken = np.concatenate([np.asarray(e.actions) for e in agent.replay.episodes]) == 0.125
        assert taken.all(1).sum() == expected


@pytest.mark.parametrize(("num_envs", "lengths"), [(1, [4] * 8), (2, [4] * 8), (8, [])])
def test_few_random_steps_are_of_several_episodes_also_in_one_environment(num_envs, lengths):
    training = TrainingConfig(num_envs, 32, updates_per_step=0.01, longest_episode=20)
    agent = Agent("RobotRoom-v0", AgentConfig(training=training), seed=5, device="cpu").learn(32)
    cut = [len(e.actions) for e in agent.replay.episodes if e.actions and not e.terminated]
    assert [length for length in cut if length == 4][: len(lengths)] == lengths
    assert max(cut) <= 4


def test_without_any_reward_later_episodes_are_as_long_as_they_may_be():
    """Only the first random steps are of short ones."""
    training = TrainingConfig(random_steps=24, updates_per_step=0.1, longest_episode=20)
    env = Late(gym.make("RobotRoom-v0"), 1000)
    explores = Exploration(until_reward=True)
    agent = Agent(env, AgentConfig(training=training), seed=0, device="cpu", exploration=explores)
    agent.learn(80)
    lengths = [len(episode.actions) for episode in agent.replay.episodes]
    assert lengths[0] == 3 and max(lengths) == 20


def test_offline_the_model_begins_from_many_frames(monkeypatch):
    seen = []
    begin = WorldModel.initialise
    monkeypatch.setattr(
        WorldModel, "initialise", lambda m, batch: (seen.append(batch.mask.numel()), begin(m, batch))
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 13, 64, 64, 3)).astype(np.uint8)
    episodes = [Episode(list(x), list(np.full((12, 2), 0.1, np.float32)), [0.5] * 12) for x in frames]
    Agent("RobotRoom-v0", SMALL, seed=0).learn_from(episodes)
    assert 900 < seen[0] <= 1024


class Late(gym.Wrapper):
    """A reward of 0 until the environment has made so many steps, then 1."""

    def __init__(self, env, steps):
        super().__init__(env)
        self.left = steps

    def step(self, action):
        self.left -= 1
        frame, _, terminated, truncated, info = self.env.step(action)
        return frame, float(self.left < 0), terminated, truncated, info


@pytest.mark.parametrize(("until_reward", "first"), [(False, 10), (True, 31)])
def test_random_actions_go_on_until_the_reward_varies(until_reward, first):
    """The first update comes with the first step of the planner."""
    updates = {}
    config = AgentConfig(training=TrainingConfig(random_steps=10, updates_per_step=0.1))
    explores = Exploration(until_reward=until_reward)
    env = Late(gym.make("RobotRoom-v0"), 30)
    agent = Agent(env, config, seed=0, device="cpu", exploration=explores)
    agent.learn(40, callback=lambda p: updates.setdefault(p.num_timesteps, p.num_updates))
    assert min(steps for steps, count in updates.items() if count > 0) == first
    assert agent.progress.num_updates == 4


def test_without_any_reward_the_last_step_is_followed_by_all_updates():
    config = AgentConfig(training=TrainingConfig(random_steps=10, updates_per_step=0.1))
    env = Late(gym.make("RobotRoom-v0"), 1000)
    agent = Agent(env, config, seed=0, device="cpu", exploration=Exploration(until_reward=True))
    agent.learn(40)
    assert agent.num_timesteps == 40 and agent.progress.num_updates == 4
    agent.learn(10)  # and the planner acts from then on
    assert 0 < agent.progress.planning_seconds < agent.progress.seconds


class Grouped(WorldModel):
    """Its decoder learns at a tenth of the rate."""

    def parameter_groups(self):
        slow = list(self.decoder.parameters())
        fast = [p for p in self.parameters() if all(p is not each for each in slow)]
        return [{"params": slow, "rate": 0.1}, {"params": fast, "rate": 1.0}]


def small_learner(**settings):
    torch.manual_seed(0)
    model = Grouped((16, 16, 3), 2, WorldModelConfig(hidden_dim=8, num_keypoints=4, latent_dim=4))
    config = TrainingConfig(batch_size=2, learning_rate=1e-3, **settings)
    learner = Learner(model, config, np.random.SeedSequence(0))
    frames = list(np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8))
    actions = list(np.full((8, 2), 0.5, np.float32))
    learner.replay.add(Episode(frames, actions, [float(t) for t in range(8)]))
    learner.initialise()
    return learner


@pytest.mark.parametrize(
    ("updates", "left", "share"),
    [
        (0, 1.0, 0.05),
        (4, 1.0, 0.25),
        (19, 1.0, 1.0),
        (500, 0.6, 1.0),
        (500, 0.25, 0.55),
        (500, 0.0, 0.1),
    ],
)
def test_the_learning_rate_warms_up_and_decays_in_every_group(updates, left, share):
    learner = small_learner()
    learner.progress.num_updates = updates
    learner.update(left)
    rates = [group["lr"] for group in learner.optimizer.param_groups]
    assert rates == pytest.approx([1e-4 * share, 1e-3 * share])
    assert learner.progress.metrics["learning_rate"] == pytest.approx(1e-3 * share)
    assert learner.progress.num_updates == updates + 1


def test_gradients_are_clipped_together():
    free, clipped = small_learner(clip_norm=1e9), small_learner(clip_norm=0.01)
    norms = []
    for learner in (free, clipped):
        learner.update(1.0)
        parts = [p.grad.norm() for p in learner.world_model.parameters() if p.grad is not None]
        norms.append(torch.stack(parts).norm().item())
        assert learner.progress.metrics["grad_norm"] == pytest.approx(norms[0], rel=1e-4)
    assert norms[0] > 0.01 and norms[1] == pytest.approx(0.01, rel=1e-3)


def test_random_steps_come_first_then_plans_with_noise_and_updates_in_proportion():
    training = TrainingConfig(
        num_envs=4,
        random_steps=24,
        updates_per_step=0.5,
        batch_size=2,
        longest_episode=3,
        exploration_std=1e6,
        random_correlation=0.999,
    )
    config = AgentConfig(SMALL.world_model, SMALL.planner, training)
    seen = []
    agent = Agent("RobotRoom-v0", config, seed=0)
    agent.learn(36, lambda progress: seen.append((progress.num_timesteps, progress.num_updates)))
    assert agent.progress.num_updates == 18 and agent.num_timesteps == 36
    assert (20, 0) in seen and (24, 12) in seen  # the updates of random steps are made up for
    closed = [e for e in agent.replay.episodes if len(e.actions) == 3]
    assert len(closed) == 12
    early, late = closed[:8], closed[8:]
    for episode in early:  # repeated within an episode, drawn anew in the next
        assert np.ptp(np.stack(episode.actions), axis=0).max() == 0
    assert len({tuple(episode.actions[0]) for episode in early}) == 8
    assert max(np.abs(episode.actions[0]).max() for episode in early) < 1
    assert all(np.abs(np.stack(episode.actions)).min() == 1 for episode in late)


class Refitted(WorldModel):
    """It notes how many windows it is given, and in which step."""

    def refit(self, batch, rewards, returns_vary):
        assert batch.mask.sum(1).min() > 0 and len(rewards) >= 40 and returns_vary
        self.given = [*getattr(self, "given", []), len(batch.frames)]


def test_closed_forms_are_fitted_anew_as_the_steps_double():
    config = AgentConfig(training=TrainingConfig(num_envs=4, random_steps=20, updates_per_step=0.05))
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu", world_model=Refitted)
    agent.learn(200)
    assert len(agent.world_model.given) == 3  # at 40, 80 and 160 steps; at 20 it is initialised
    assert agent.world_model.given[0] < agent.world_model.given[1] <= REFITTED


def test_callbacks_are_called_every_ten_updates_and_at_the_end():
    """Online also after each step, when its updates are done."""
    learned, online, offline = Agent("RobotRoom-v0", SMALL, seed=0), [], []
    learned.learn(32, lambda progress: online.append((progress.num_updates, progress.stepped)))
    within = [updates for updates, stepped in online if not stepped]
    last = learned.progress.num_updates
    assert within == list(range(10, last + 1, 10)) and online[-1] == (last, True)

    frames = np.random.default_rng(0).integers(0, 128, (3, 13, 64, 64, 3)).astype(np.uint8)
    episodes = [Episode(list(x), list(np.full((12, 2), 0.1, np.float32)), [0.5] * 12) for x in frames]
    more = replace(SMALL, training=replace(SMALL.training, updates_per_step=0.8))
    agent = Agent("RobotRoom-v0", more, seed=0)
    agent.learn_from(episodes, lambda progress: offline.append(progress.num_updates))
    mean = agent.world_model.mean_frame.mean().item()
    assert mean == pytest.approx(0.25, abs=0.01)  # it was initialised
    target = int(36 * agent.config.training.updates_per_step)
    assert target > 20
    assert offline == sorted({*range(10, target + 1, 10), target})


def test_what_is_told_of_the_last_episodes_is_kept_as_far_as_it_counts():
    progress = Progress(seconds=2.5, planning_seconds=0.5)
    few = {"outcomes": [True, False], "returns": [1.0, -2.0, 3.0], "lengths": [4, 0, 2**62]}
    many = {
        "outcomes": [False] * 3 + [True] * 20,
        "returns": [float(i) for i in range(107)],
        "lengths": list(range(107)),
    }
    for given in (few, many):
        progress.load_state_dict(progress.state_dict() | given)
        assert (progress.outcomes, progress.returns, progress.lengths) == (
            given["outcomes"][-20:],
            given["returns"][-100:],
            given["lengths"][-100:],
        )
        assert (progress.seconds, progress.planning_seconds) == (2.5, 0.5)
    other = Progress()
    other.load_state_dict(progress.state_dict())
    assert other == progress


COUNTS = "num_timesteps target_timesteps num_updates skipped_updates skipped_in_a_row".split()


@pytest.mark.parametrize("name", [*COUNTS, "lengths"])
def test_counts_are_whole_and_not_negative(name):
    def state(value):
        return Progress().state_dict() | {name: [value] if name == "lengths" else value}

    progress = Progress()
    for value in (0, 7, 2**62):
        progress.load_state_dict(state(value))
        assert progress.state_dict() == state(value)
    for value in (-1, 2**62 + 1, 1.5, "1", None):
        with pytest.raises(ValueError, match=f"{name}: got"):
            progress.load_state_dict(state(value))


@pytest.mark.parametrize("name", ["seconds", "planning_seconds"])
def test_seconds_are_finite_and_not_negative(name):
    for value in (-1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match=f"{name}: got"):
            Progress().load_state_dict(Progress().state_dict() | {name: value})


def test_updates_are_skipped_until_too_many_in_a_row_are_not_finite():
    learner = small_learner()
    finite = learner.world_model.loss

    def infinite(batch, generator):
        loss, metrics = finite(batch, generator)
        return loss, metrics | {"reconstruction": torch.tensor(float("inf"))}

    for _ in range(2):  # a finite one in between begins the count anew
        learner.world_model.loss = infinite
        before = copy.deepcopy(learner.world_model.state_dict())
        for _ in range(MOST_SKIPPED - 1):
            learner.update(1.0)
        for name, value in learner.world_model.state_dict().items():
            assert torch.equal(value, before[name])
        assert learner.progress.skipped_in_a_row == MOST_SKIPPED - 1
        learner.world_model.loss = finite
        learner.update(1.0)
        assert learner.progress.skipped_in_a_row == 0
    assert learner.progress.skipped_updates == 2 * (MOST_SKIPPED - 1)
    assert learner.progress.metrics["skipped_updates"] == 2 * (MOST_SKIPPED - 1)
    learner.world_model.loss = infinite
    for _ in range(MOST_SKIPPED - 1):
        learner.update(1.0)
    said = rf"reconstruction is inf at update {3 * MOST_SKIPPED} .*in the {MOST_SKIPPED - 1} before"
    with pytest.raises(FloatingPointError, match=said):
        learner.update(1.0)


class Counted(WorldModel):
    """It notes when it is initialised."""

    def initialise(self, batch):
        super().initialise(batch)
        self.initialised = getattr(self, "initialised", 0) + 1


def test_learning_stopped_among_updates_goes_on_with_them(monkeypatch):
    """Without another step before the updates of the last one are complete."""
    lefts, seen = [], []
    update = Learner.update
    monkeypatch.setattr(Learner, "update", lambda self, left: (lefts.append(left), update(self, left)))
    training = TrainingConfig(num_envs=2, random_steps=20, updates_per_step=1.0, batch_size=2)
    config = AgentConfig(SMALL.world_model, SMALL.planner, training)
    agent = Agent("RobotRoom-v0", config, seed=0, device="cpu", world_model=Counted)

    def stop(progress):
        seen.append((progress.num_timesteps, progress.num_updates, progress.stepped))
        return progress.num_updates != 10

    agent.learn(24, stop)
    assert seen[-1] == (20, 10, False)
    agent.resume(stop)
    assert agent.world_model.initialised == 1
    after = seen[seen.index((20, 10, False)) + 1 :]
    assert after == [(20, 20, False), (20, 20, True), (22, 22, True), (24, 24, True)]
    assert lefts == pytest.approx([1 - 20 / 24] * 20 + [1 - 22 / 24] * 2 + [0.0] * 2)


def run_among_updates():
    """What a run consists of, and its state."""
    agent = Agent("RobotRoom-v0", SMALL, seed=0, device="cpu")
    parts = agent.env, agent.learner, agent.planner
    run = OnlineRun.begun(*parts, seed=0)
    run.actions += 0.25
    run.updating = True
    return parts, run.state()


@pytest.mark.parametrize(
    "change", [lambda x: x[:1], lambda x: x.astype(np.float64), lambda x: x[:, :, None]]
)
def test_actions_of_another_run_are_refused(change):
    parts, state = run_among_updates()
    state["actions"] = change(state["actions"])
    with pytest.raises(ValueError, match=r"actions: got .*, allowed: float32"):
        OnlineRun.resumed(*parts, state)


def test_a_run_goes_on_from_its_own_state():
    parts, state = run_among_updates()
    again = OnlineRun.resumed(*parts, state)
    assert (again.actions == 0.25).all() and again.updating
