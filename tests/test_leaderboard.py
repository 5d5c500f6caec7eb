"""The leaderboard: what an entry is checked for, and that the page is that of the folder."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.comparison import leaderboard
from benchmarks.comparison.budgets import BUDGETS
from benchmarks.comparison.leaderboard import PROTOCOLS, Leaderboard, entries, page, submit
from benchmarks.comparison.sweep import PROTOCOL
from robot_room.app.evaluation.protocol import HELD_OUT_SEED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
V0 = "RobotRoom-v0"


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "sweep"
    (folder / V0).mkdir(parents=True)
    for name in ("ddpg-seed0", "ddpg-seed1", "ddpg-seed2", "random-seed0"):
        shutil.copy(ROOT / f"benchmarks/results/sweep/{V0}/{name}.json", folder / V0)
    return folder


def config(results, **changes):
    usual = {"algorithm": "ddpg", "author": "A. Name", "results": results}
    return Leaderboard("submit", folder=results.parent / "board", **usual | changes)


def change(results, name, function):
    path = results / V0 / f"{name}.json"
    record = json.loads(path.read_text())
    function(record)
    path.write_text(json.dumps(record))


def test_the_sweep_of_today_makes_runs_of_the_newest_protocol():
    newest = PROTOCOLS[leaderboard.NEWEST]
    assert (newest.sweep, newest.first_start) == (PROTOCOL, HELD_OUT_SEED)
    rooms = {i: (budget.threshold, budget.evaluated_with) for i, budget in BUDGETS.items()}
    assert rooms == {i: (room.threshold, room.evaluated_with) for i, room in newest.rooms.items()}


def test_an_entry_holds_the_runs_as_they_were(results):
    path = submit(config(results))
    (entry,) = entries(path.parent.parent)
    assert (entry.protocol, entry.algorithm, entry.env_id) == ("v0", "ddpg", V0)
    for run in entry.runs:
        raw = json.loads((results / V0 / f"ddpg-seed{run.seed}.json").read_text())
        assert run.env_steps == raw["curve"][-1]["env_steps"] and run.spl == raw["curve"][-1]["spl"]
        first = next(p["env_steps"] for p in raw["curve"] if p["success_rate"] >= 0.99)
        assert run.steps_to_threshold == first
    assert len({run.record for run in entry.runs}) == 3
    assert path.stat().st_size < 5000
    submit(config(results, algorithm="random"))
    text = page(entries(path.parent.parent))
    assert "random, the floor" in text and "| ddpg | A. Name | 3 |" in text


def first_point(**values):
    return lambda record: record["curve"][0].update(values)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda r: r["settings"].update(protocol=2), "protocol: got 2, allowed: 3"),
        (lambda r: r["settings"].update(threshold=0.5), "threshold: got 0.5, allowed: 0.99"),
        (lambda r: r["settings"].update(evaluated_with={"x": 1}), "evaluated_with: got"),
        (lambda r: r["versions"].pop("torch"), "versions: got .*, allowed: also those of torch"),
        (first_point(seed=5000), "seed of an evaluation: got 5000, allowed: 1000000"),
        (first_point(episodes=10), "episodes of an evaluation: got 10, allowed: 100"),
        (first_point(success_rate=0.305), "success_rate: got 0.305"),
        (first_point(success_rate=1.5), "success_rate: got 1.5"),
        (first_point(spl=0.999), "spl: got 0.999, allowed: 0 to the success rate"),
        (first_point(steps_over_oracle=0.9), "path_ratio: got 0.9, allowed: at least 1"),
        (first_point(env_steps=10**6), "env_steps: got .* allowed: at least 1000000"),
    ],
)
def test_runs_that_are_not_of_the_protocol_are_refused(results, function, message):
    for seed in range(3):
        change(results, f"ddpg-seed{seed}", function)
    change(
        results,
        "random-seed0",
        lambda r: r["settings"].update(protocol=2) if "protocol" in message else 0,
    )
    (results / V0 / "random-seed0.json").unlink()
    with pytest.raises(ValueError, match=message):
        submit(config(results))
    assert not (results.parent / "board").exists()


def test_seeds_are_all_told(results):
    (results / V0 / "ddpg-seed1.json").unlink()
    with pytest.raises(
        ValueError, match=r"seeds: got \[0, 2\], allowed: 0, 1, 2 and so on, at least 3"
    ):
        submit(config(results))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "v9"}, "protocol: got 'v9', allowed: v0"),
        ({"algorithm": "dqn"}, "algorithm: got 'dqn', allowed: one that has run: ddpg, random"),
        ({"env_id": "RobotRoomSlip-v0"}, "env_id: got 'RobotRoomSlip-v0', allowed: a room"),
        ({"author": "<b>"}, "author: got '<b>'"),
        ({"url": "javascript:alert(1)"}, "url: got"),
    ],
)
def test_bad_requests_are_named(results, changes, message):
    with pytest.raises(ValueError, match=message):
        submit(config(results, **changes))


def test_entries_that_are_not_readable_are_named(results):
    path = submit(config(results))
    board, good = path.parent.parent, json.loads(path.read_text())
    for changes, message in (
        ({"protocol": "v9"}, "protocol: got 'v9', allowed: v0; newer ones need a newer version"),
        ({"runs": []}, "runs"),
        ({"env_id": "Other-v0"}, "env_id: got 'Other-v0'"),
        ({"algorithm": "<b>"}, "algorithm: got '<b>'"),
        ({"url": "x"}, "url: got 'x'"),
    ):
        path.write_text(json.dumps(good | changes))
        with pytest.raises(ValueError, match=message):
            entries(board)
    path.write_text("{")
    with pytest.raises(ValueError, match="got no entry"):
        entries(board)


def test_the_page_is_that_of_the_folder():
    text = (ROOT / "docs/results/leaderboard.md").read_text()
    assert text == page(entries(ROOT / "benchmarks/leaderboard"))
