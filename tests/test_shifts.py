"""The comparison under shifted factors: a small job of each algorithm, averages and the figure."""

import itertools

import pytest
from matplotlib.axes import Axes
from test_agent import SMALL

from benchmarks.comparison import shifts
from benchmarks.comparison.shifts import ALGORITHMS, TRAINED_IN, WHOLE, Shifts, averages, draw, run_job

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_job_tests_what_it_trained_in_every_room(algorithm, monkeypatch):
    rooms = []

    def evaluate(policy, room, episodes, *args, **kwargs):
        rooms.append(room if isinstance(room, str) else (room.id, room.kwargs.get("factors")))
        return evaluated(policy, room, episodes, *args, **kwargs)

    evaluated = shifts.evaluate
    monkeypatch.setattr(shifts, "evaluate", evaluate)
    monkeypatch.setattr(shifts, "AgentConfig", lambda: SMALL)
    monkeypatch.setattr(shifts, "BY_NAME", ("speed", "goal_colour"))
    record = run_job(algorithm, "RobotRoomVaried-v0", 0, 40, 2)
    assert list(record["success"]) == [*WHOLE, "speed", "goal_colour"]
    assert all(rate in (0, 0.5, 1) for rate in record["success"].values())
    wholes = [("RobotRoom-v0", None), (WHOLE[1], "training"), (WHOLE[2], "test")]
    alone = [("RobotRoom-v0", {name: "test"}) for name in ("speed", "goal_colour")]
    chosen = [] if algorithm == "world-model" else ["RobotRoomVaried-v0"] * 2  # with and without noise
    assert rooms == [*chosen, *wholes, *alone]


@pytest.fixture
def records(monkeypatch):
    """Success is 0.1, 0.2, … in the rooms, a hundredth more with each seed, algorithm and training."""
    monkeypatch.setattr(shifts, "BY_NAME", ("speed", "friction"))
    found = []
    for seed in range(2):
        for algorithm in ALGORITHMS:
            for env_id in TRAINED_IN:
                more = 0.01 * (seed + ALGORITHMS.index(algorithm) + TRAINED_IN.index(env_id))
                success = {
                    room: 0.1 * (i + 1) + more for i, room in enumerate((*WHOLE, "speed", "friction"))
                }
                own = {"algorithm": algorithm, "env_id": env_id, "seed": seed}
                found.append({**own, "success": success})
    return found


def test_averages_are_over_factors_alone_for_each_seed(records):
    rows = dict(averages(records))
    assert len(rows) == len(ALGORITHMS) * len(TRAINED_IN)
    scores = rows["drq-sac, trained in RobotRoomVaried-v0"]
    assert scores["mean over factors"] == pytest.approx([0.45 + 0.02, 0.45 + 0.03])
    assert scores["RobotRoomShifted-v0"] == pytest.approx([0.3 + 0.02, 0.3 + 0.03])


def test_the_figure_has_a_bar_for_every_room_and_policy(records, monkeypatch, tmp_path):
    bars = {}

    def bar(axes, places, heights, width, label):
        bars[label] = places, heights
        return drawn(axes, places, heights, width, label=label)

    drawn = Axes.bar
    monkeypatch.setattr(Axes, "bar", bar)
    rows = list(averages(records))
    draw(rows, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0
    assert list(bars) == [name for name, _ in rows]
    assert bars[rows[0][0]][1] == pytest.approx([10.5, 20.5, 30.5, 40.5, 50.5])
    places = sorted(place for found, _ in bars.values() for place in found)
    assert min(b - a for a, b in itertools.pairwise(places)) > 0.1  # none hides another


@pytest.mark.parametrize("name", ["seeds", "env_steps", "ppo_steps", "drq_sac_steps", "episodes"])
def test_budgets_are_at_least_one(name):
    with pytest.raises(ValueError, match=f"{name}: got 0, allowed: at least 1"):
        Shifts(**{name: 0})
