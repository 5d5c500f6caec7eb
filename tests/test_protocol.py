import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.comparison.learning import first_reached, rows
from robot_room import layouts, oracle
from robot_room.app.evaluation.protocol import Evaluation, evaluate, oracle_steps
from robot_room.vector_env import RobotRoomVectorEnv


class Still:
    """Never moves."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.zeros((len(observation), 2), np.float32), None


class TowardsTheGoal:
    """Reads the robot's position off the frame; remembers how often it was asked since the start."""

    def __init__(self):
        self.starts = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.starts.append(np.array(episode_start))
        actions = []
        for frame in observation:
            rows, columns = np.nonzero(frame[:, :, 1] > 170)
            x, y = (columns.mean() + 0.5) / 32 - 1, 1 - (rows.mean() + 0.5) / 32
            actions.append(np.clip([-x / 0.1, -y / 0.1], -1, 1))
        return np.array(actions, np.float32), None


def test_figures_of_a_policy_that_stands_still_are_known_exactly():
    result = evaluate(Still(), "RobotRoom-v0", episodes=60, seed=123)
    env = gym.make("RobotRoom-v0")
    distances = [env.reset(seed=123 + i)[1]["distance"] for i in range(60)]
    np.testing.assert_allclose(result.returns, -100 * np.array(distances))
    summary = result.summary()
    assert (summary["success_rate"], summary["mean_steps"], summary["episodes"]) == (0, 100, 60)
    assert summary["path_ratio"] > 10


def test_a_policy_that_goes_straight_is_close_to_the_oracle():
    policy = TowardsTheGoal()
    result = evaluate(policy, "RobotRoom-v0", episodes=70, seed=5)
    assert result.is_success.all()
    assert (result.steps >= result.oracle_steps).all()  # nothing beats the exact minimum
    assert result.summary()["path_ratio"] < 1.1
    assert policy.starts[0].all() and not policy.starts[1].any()


def test_the_number_of_rooms_in_step_does_not_matter(monkeypatch):
    one = evaluate(TowardsTheGoal(), "RobotRoom-v0", episodes=12, seed=5)
    monkeypatch.setattr("robot_room.app.evaluation.protocol.NUM_ENVS", 5)
    other = evaluate(TowardsTheGoal(), "RobotRoom-v0", episodes=12, seed=5)
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.returns, other.returns)


def test_figures_are_means_over_episodes_and_a_failure_counts_with_its_steps():
    result = Evaluation(
        "RobotRoom-v0",
        {},
        0,
        is_success=np.array([True, False, True]),
        steps=np.array([4, 100, 10]),
        returns=np.array([-1.0, -2.0, -6.0]),
        oracle_steps=np.array([2, 5, 10]),
        decision_ms=1.0,
    )
    summary = result.summary()
    assert summary["path_ratio"] == round((4 / 2 + 100 / 5 + 10 / 10) / 3, 4)
    assert summary["spl"] == round((2 / 4 + 0 + 10 / 10) / 3, 4)
    assert (summary["success_rate"], summary["mean_steps"]) == (pytest.approx(2 / 3), 38.0)
    assert summary["mean_return"] == -3.0
    unknown = dataclasses.replace(result, oracle_steps=None).summary()
    assert unknown["path_ratio"] is None and unknown["spl"] is None


class Passing(gym.Env):
    """The episode of seed s has s % 3 + 2 steps with reward s, and its second step alone succeeds."""

    observation_space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.taken = seed or 0, 0
        info = {"is_success": False, "oracle_steps": 1 + self.number % 2}
        return np.full((4, 4, 3), self.number % 256, np.uint8), info

    def step(self, action):
        self.taken += 1
        info = {"is_success": self.taken == 2, "oracle_steps": 0}
        over = self.taken == self.number % 3 + 2
        frame = np.full((4, 4, 3), self.number % 256, np.uint8)
        return frame, float(self.number), over, False, info


class Watching(Still):
    """Notes the frames at which it is told that an episode begins."""

    def __init__(self):
        self.begun = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        if len(observation) > 1:  # not while its time is taken
            self.begun += observation[np.asarray(episode_start)][:, 0, 0, 0].tolist()
        return super().predict(observation)


def test_every_episode_is_counted_once_with_its_own_seed_steps_and_optimum(monkeypatch):
    gym.register("Passing-v0", Passing)
    policy = Watching()
    try:
        monkeypatch.setattr("robot_room.app.evaluation.protocol.NUM_ENVS", 4)
        result = evaluate(policy, "Passing-v0", episodes=11, seed=20)
    finally:
        del gym.registry["Passing-v0"]
    seeds = 20 + np.arange(11)
    np.testing.assert_array_equal(result.steps, seeds % 3 + 2)
    np.testing.assert_array_equal(result.returns, seeds * result.steps)
    np.testing.assert_array_equal(result.oracle_steps, 1 + seeds % 2)
    assert result.is_success.all()  # once is enough
    assert set(policy.begun) >= set(seeds.tolist())


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="episodes: got 0"):
        evaluate(Still(), "RobotRoom-v0", episodes=0)
    for seed in (-1, 2**62 + 1):
        with pytest.raises(ValueError, match=f"seed: got {seed}"):
            evaluate(Still(), "RobotRoom-v0", episodes=1, seed=seed)


class Shy(Still):
    """Refuses to explore while its time is taken."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic or len(observation) > 1
        return super().predict(observation)


def test_the_time_of_a_decision_is_that_of_the_best_one():
    result = evaluate(Shy(), "RobotRoom-v0", episodes=2, deterministic=False)
    assert result.decision_ms > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.decision_ms = 0.0


@pytest.mark.parametrize("number", [1, 3])
def test_the_optimum_among_walls_is_that_of_each_rooms_own_layout(number):
    env = RobotRoomVectorEnv(number, walls="maze", num_layouts=20, layout_seed=1)
    _, info = env.reset(seed=5)
    found = oracle_steps(info, env.params, number)
    for i in range(number):
        walls = layouts.layout(env.params, int(info["layout"][i]))
        places = info["robot_position"][i : i + 1], info["goal_position"][i : i + 1]
        np.testing.assert_array_equal(found[i : i + 1], oracle.min_steps(*places, walls))
    assert found.shape == (number,) and (found > 0).all()


def test_where_no_optimum_is_known_it_is_0():
    assert oracle_steps({}, None, 3).tolist() == [0, 0, 0]
    for kwargs in ({"factors": {}}, {"frame_skip": 2}, {"action": "discrete"}):
        env = RobotRoomVectorEnv(2, **kwargs)
        _, info = env.reset(seed=0)
        info.pop("oracle_steps", None)
        assert oracle_steps(info, env.params, 2).tolist() == [0, 0]


def test_the_threshold_is_found_and_its_absence_reported():
    def point(steps, success):
        return {
            "env_steps": steps,
            "episodes": 1000 if success >= 0.99 else 200,
            "seconds": steps / 10,
            "success_rate": success,
            "path_ratio": 1.0,
            "peak_memory_gib": 0.5,
        }

    good = {
        "algorithm": "ppo",
        "threshold": 0.99,
        "curve": [point(1, 0.5), point(2, 0.99), point(3, 1.0)],
    }
    bad = {"algorithm": "ppo", "threshold": 0.99, "curve": [point(1, 0.5)]}
    reached = first_reached(good)
    assert reached is not None and reached["env_steps"] == 2 and first_reached(bad) is None
    assert next(rows([good, bad]))[1:3] == ["1 of 2", "2 (2 to 2)"]
    assert next(rows([bad]))[1:3] == ["0 of 1", "never"]
