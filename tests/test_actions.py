"""Actions of an environment as vectors in [−1, 1]^A, continuous and discrete."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agent import Agent, AgentConfig
from agent.actions import (
    MOST_CHOICES,
    action_size,
    nearest,
    one_hot,
    scale_actions,
    served,
    unscale_actions,
)
from agent.exploration import Exploration
from agent.learner import TrainingConfig
from agent.planning import CEM, ICEM, MPPI, Problem, RandomShooting
from agent.planning.value import state_values
from agent.presets import EVERY_ROOM

BOX = gym.spaces.Box(np.float32([-2, 0]), np.float32([1, 10]))
CHOICE = gym.spaces.Discrete(3, start=5)


@pytest.mark.parametrize("space", [BOX, CHOICE])
def test_taken_actions_are_told_apart_again(space):
    space.seed(0)
    taken = np.stack([space.sample() for _ in range(50)])
    vectors = unscale_actions(space, taken)
    assert vectors.shape == (50, action_size(space)) and (np.abs(vectors) <= 1).all()
    again = scale_actions(space, vectors)
    assert again.dtype == space.dtype and all(space.contains(action) for action in again)
    np.testing.assert_allclose(again, taken, atol=1e-5)


def test_the_nearest_valid_vector_has_the_least_distance():
    vectors = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    valid = 2 * np.eye(3, dtype=np.float32) - 1
    distances = ((vectors[:, None] - valid) ** 2).sum(-1)
    np.testing.assert_array_equal(nearest(CHOICE, vectors), valid[distances.argmin(1)])
    np.testing.assert_array_equal(one_hot(torch.from_numpy(vectors)).numpy(), nearest(CHOICE, vectors))
    assert nearest(BOX, vectors) is vectors


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.MultiDiscrete([2, 2]),
        gym.spaces.Discrete(1),
        gym.spaces.Discrete(MOST_CHOICES + 1),
        gym.spaces.Box(-np.inf, np.inf, (2,)),
        gym.spaces.Box(0, 3, (2,), np.int64),
        gym.spaces.Box(-1, 1, (2, 2)),
    ],
)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match=r"action space: got .*allowed: a bounded Box.* or a Discrete"):
        served(space)


def test_actions_that_are_not_in_a_discrete_space_are_refused():
    with pytest.raises(ValueError, match="actions: got some that are not in Discrete"):
        unscale_actions(CHOICE, np.array([5, 8]))


def chain(z, action):
    """A walk on a line by −1, 0 or 1; the reward is where it leads."""
    assert (action.abs() == 1).all() and (action.sum(-1) == -1).all()  # one of three is 1
    moved = z + (action[:, 2:] - action[:, :1]) / 2
    return moved, moved[:, 0]


@pytest.mark.parametrize("planner", [CEM(), ICEM(), MPPI(), RandomShooting(candidates=300)])
def test_every_planner_finds_the_best_sequence_of_discrete_actions(planner):
    one = torch.ones(3)
    generator = torch.Generator().manual_seed(0)
    problem = Problem(chain, -one, one, discrete=True)
    plan = planner.plan(problem, torch.zeros(4, 1), None, generator)
    right = torch.tensor([-1.0, -1.0, 1.0]).expand(4, 3)
    assert torch.equal(plan.actions[:, 0], right) or isinstance(planner, RandomShooting)
    assert (plan.actions[..., 2].mean() > 0.5) and torch.equal(plan.actions, one_hot(plan.actions))


def test_values_of_states_try_every_discrete_action():
    """V of walking to the end of a line of nine places, by dynamic programming."""

    def ended(z, action):
        moved, _ = chain(z, action)
        moved = moved.clamp(-4, 4)
        return moved, (moved[:, 0] == 4).float()

    one = torch.ones(3)
    found = state_values(Problem(ended, -one, one, discrete=True), torch.zeros(1, 1), 0.9, 9)
    states, values = found.states[0, :, 0], found.values[0]
    assert set(states.tolist()) == {-4, -2, 0, 2, 4}
    best = {place: 0.0 for place in range(-4, 5)}
    for _ in range(300):  # each action is held for two steps
        best = {
            place: max(
                0.9 * (min(max(place + a, -4), 4) == 4)
                + 0.81 * (min(max(place + 2 * a, -4), 4) == 4)
                + 0.81 * best[min(max(place + 2 * a, -4), 4)]
                for a in (-1, 0, 1)
            )
            for place in best
        }
    for place, value in zip(states.tolist(), values.tolist(), strict=True):
        assert value == pytest.approx(best[int(place)], rel=0.01)


class Buttons(gym.ActionWrapper):
    """RobotRoom with five actions: stay, or go in one of four directions."""

    MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(5)

    def action(self, action):
        return np.array(self.MOVES[action], np.float32)


def test_exploration_takes_every_discrete_action():
    generator = torch.Generator().manual_seed(0)
    planned = one_hot(torch.tensor([[1.0, 0, 0]]).expand(3000, 3))
    taken = Exploration(exploration_std=0.3).switched(planned, generator)
    shares = (taken == 1).float().mean(0)
    torch.testing.assert_close(shares, torch.tensor([0.8, 0.1, 0.1]), atol=0.03, rtol=0)
    assert torch.equal(Exploration(exploration_std=0).switched(planned, generator), planned)


@pytest.mark.parametrize("settings", [{}, {**EVERY_ROOM}])
def test_discrete_actions_are_random_without_preference(settings):
    config = AgentConfig(training=TrainingConfig(updates_per_step=0.01, random_steps=1000))
    agent = Agent(
        Buttons(gym.make("RobotRoom-v0")), seed=0, device="cpu", **settings | {"config": config}
    )
    agent.learn(1000)
    actions = np.stack([action for episode in agent.replay.episodes for action in episode.actions])
    assert np.array_equal(actions, nearest(agent.action_space, actions))
    shares = (actions == 1).mean(0)
    assert shares == pytest.approx([0.2] * 5, abs=0.08)


@pytest.mark.slow
def test_a_room_with_buttons_is_learned(tmp_path):
    """One press moves in one direction; the way around is longer, but the goal is reached."""
    env = Buttons(gym.make("RobotRoom-v0"))
    agent = Agent(env, seed=0, device="cpu").learn(300)
    goal = 0
    for seed in range(20):
        frame, info = env.reset(seed=5_000 + seed)
        state, over = None, False
        while not over:
            action, state = agent.predict(frame, state)
            assert env.action_space.contains(action)
            frame, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        goal += info["is_success"]
    assert goal >= 17  # at random, about 2
    agent.save(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent", env=env)
    assert again.action_space == agent.action_space
    assert again.predict(frame)[0] == agent.predict(frame)[0]
    config = (tmp_path / "agent" / "config.json").read_text()
    assert '"dtype":"int64"' in config.replace(" ", "")
