"""One job of the comparison: when it is evaluated, its film, floor and ceiling, its settings."""

import base64
import json
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest

from benchmarks.comparison import baselines, evaluation_curve, job
from benchmarks.comparison.budgets import BUDGETS, EPISODES, Budget
from benchmarks.comparison.evaluation_curve import EvaluationCurve

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
TINY = Budget(0.99, 112, 0.5)


@pytest.fixture(scope="module")
def jobs():
    return {a: job.run_job(a, "RobotRoom-v0", 3, TINY, a == "ppo") for a in ("world-model", "ppo")}


def test_a_run_is_evaluated_at_its_marks_and_at_its_end(jobs):
    ours, ppo = jobs["world-model"]["curve"], jobs["ppo"]["curve"]
    assert ours[-1]["env_steps"] == 112 and ours[-1]["planning_seconds"] > 0
    assert ours[-1]["planning_seconds"] < ours[-1]["seconds"]
    assert ppo[0]["env_steps"] == 1024  # a whole rollout, at the first mark
    assert ppo[-1]["seconds"] >= TINY.seconds and ppo[-1]["planning_seconds"] == 0
    assert {point["episodes"] for point in ours + ppo} == {EPISODES}


def test_the_film_has_as_many_frames_for_every_start(jobs):
    film = imageio.imread(base64.b64decode(jobs["ppo"]["clip"]), extension=".gif", index=None)
    assert film.shape[1:] == (64, 64, 3) and "clip" not in jobs["world-model"]
    env = gym.make("RobotRoom-v0")
    first, _ = env.reset(seed=job.CLIP_SEED)
    np.testing.assert_array_equal(film[0], first)  # flat colours survive a GIF's palette


@pytest.mark.parametrize("env_id", ["RobotRoom-v0", "RobotRoomDoor-v0"])
def test_the_oracle_is_the_ceiling_and_random_the_floor(env_id, monkeypatch):
    for module in (evaluation_curve, job):
        monkeypatch.setattr(module, "EPISODES", 20)
    (best,) = job.run_job("oracle", env_id, 0, TINY, False)["curve"]
    (worst,) = job.run_job("random", env_id, 0, TINY, False)["curve"]
    assert best["success_rate"] == best["spl"] == best["path_ratio"] == 1
    assert worst["spl"] < 0.2 and best["mean_return"] > worst["mean_return"]


class Still:
    """A policy that never moves."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.zeros((len(observation), 2), np.float32), None


def test_marks_that_are_passed_together_are_evaluated_once(monkeypatch):
    monkeypatch.setattr(evaluation_curve, "EPISODES", 2)
    curve = EvaluationCurve("RobotRoom-v0", [10, 20, 50], [1.0, 2.0])
    for steps, seconds in ((5, 0.1), (20, 0.2), (25, 0.3), (30, 1.5), (60, 2.5)):
        curve.update(Still(), steps, seconds)
    assert [point["env_steps"] for point in curve.points] == [20, 30, 60]


def objective(record):
    """Mean success over the evaluations, then at the end, both to a tenth; then the steps made."""
    rates = [point["success_rate"] for point in record["curve"]]
    return round(float(np.mean(rates)), 1), round(rates[-1], 1), record["curve"][-1]["env_steps"]


def test_the_chosen_settings_are_the_best_of_the_committed_tuning():
    for env_id, choices in baselines.CHOSEN.items():
        records = [json.loads(path.read_text()) for path in (RESULTS / "tune" / env_id).glob("*.json")]
        for algorithm, name in choices.items():
            tried = [record for record in records if record["algorithm"] == algorithm]
            assert {record["setting"] for record in tried} == set(baselines.SETTINGS[algorithm])
            best = max(tried, key=objective)
            assert objective(next(r for r in tried if r["setting"] == name)) == objective(best), (
                algorithm
            )
        assert {record["training_seed"] for record in records} == {100}  # none of the sweep's


def test_every_algorithm_has_a_setting_in_every_environment():
    for env_id in BUDGETS:
        for algorithm in baselines.SETTINGS:
            assert baselines.chosen(algorithm, env_id) in baselines.SETTINGS[algorithm]
