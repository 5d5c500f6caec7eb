"""What the comparison makes of raw scores, and its page, in a real browser."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from benchmarks.comparison import figures, job, report, scores, sweep
from benchmarks.comparison.budgets import BUDGETS
from benchmarks.comparison.scores import Reached, Scores

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def point(env_steps, seconds, success_rate, spl):
    return {
        "env_steps": env_steps,
        "seconds": seconds,
        "planning_seconds": 0.0,
        "success_rate": success_rate,
        "spl": spl,
        "path_ratio": 2.0,
        "mean_return": -3.0,
        "decision_ms": 1.0,
    }


def record(algorithm, env_id, seed, curve, **changes):
    base = {
        "algorithm": algorithm,
        "env_id": env_id,
        "seed": seed,
        "curve": curve,
        "versions": {"torch": "1"},
        "python": "3.11",
        "processor": "abacus",
        "settings": {
            "protocol": sweep.PROTOCOL,
            "episodes": 100,
            **job.settings(algorithm, env_id, BUDGETS[env_id]),
        },
    }
    for name, value in changes.items():
        base[name] = base[name] | value if name == "settings" else value
    return base


def write(folder, made):
    for each in made:
        path = folder / each["env_id"] / f"{each['algorithm']}-seed{each['seed']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(each))


@pytest.fixture
def results(tmp_path):
    """Two rooms; ours arrives after 100, 120, 140 steps, PPO after 1,000, 3,000 and never."""
    made = []
    for env_id in ("RobotRoom-v0", "RobotRoomRandomGoal-v0"):
        budget = BUDGETS[env_id]
        for seed in range(3):
            ours = [point(50, 1, 0.2, 0.1), point(100 + 20 * seed, 2, 1.0, 0.9)]
            made.append(
                record("world-model", env_id, seed, [*ours, point(budget.env_steps, 9, 1, 0.95)])
            )
            late = point(1000 + 2000 * seed, 30.0, 1.0 if seed < 2 else 0.5, 0.6)
            made.append(record("ppo", env_id, seed, [point(500, 5, 0.1, 0.05), late]))
            made.append(record("sac", env_id, seed, [point(400, 50, 0.0, 0.0)]))
        made.append(record("random", env_id, 0, [point(0, 0, 0.05, 0.01)]))
    write(tmp_path, made)
    return tmp_path


def test_a_median_counts_runs_that_never_arrive_as_later_than_all():
    assert Reached([3.0, 1.0, 2.0], []).median == (2.0, False)
    assert Reached([1.0, 2.0], [5.0]).median == (2.0, False)
    assert Reached([1.0, 9.0], [4.0, 5.0]).median == (4.5, True)
    assert Reached([], [4.0, 6.0]).median == (5.0, True)
    # One that ended before the others arrived may have been next, or never.
    assert Reached([3.0, 4.0], [2.0]).median == (3.0, True)
    assert Reached([1.0, 2.0, 9.0], [1.5, 3.0]).median == (2.0, True)


def test_thresholds_and_the_ratio_of_medians(results):
    found = Scores(results)
    assert found.reached("ppo", "RobotRoom-v0", "env_steps") == Reached([1000.0, 3000.0], [5000.0])
    assert found.reached("world-model", "RobotRoom-v0", "env_steps").median == (120.0, False)
    # SAC has not arrived after 400 steps, so nobody knows that it is worse than PPO.
    best, ratio, bound = scores.over_ours(found, "RobotRoom-v0", "env_steps")
    assert (best, bound) == ("sac", True) and ratio == pytest.approx(400 / 120)
    # PPO had not reached it at the evaluation before, so it may have arrived just after that.
    assert found.reached("ppo", "RobotRoom-v0", "env_steps", earliest=True).values == [500.0, 500.0]


def test_a_rate_at_the_threshold_has_arrived(results):
    threshold = BUDGETS["RobotRoom-v0"].threshold
    for rate, arrived in ((threshold, True), (threshold - 0.01, False)):
        write(results, [record("ppo", "RobotRoom-v0", n, [point(700, 5, rate, 0.5)]) for n in range(3)])
        found = Scores(results).reached("ppo", "RobotRoom-v0", "env_steps")
        assert found == (Reached([700.0] * 3, []) if arrived else Reached([], [700.0] * 3))


def test_a_baseline_that_arrives_is_told_where_most_of_ours_do_not(results):
    """Even if it arrives after more steps than ours had."""
    rates = (1.0, 0.5, 0.5)
    ours = [[point(100, 1, 0.2, 0.1), point(500, 9, rate, 0.9)] for rate in rates]
    write(results, [record("world-model", "RobotRoom-v0", n, curve) for n, curve in enumerate(ours)])
    lines = [line for line in report.losses(Scores(results), {}) if "faster, or alone: ppo" in line]
    assert any(line.startswith("v0: ") and "environment steps" in line for line in lines)


def test_an_algorithm_that_is_in_no_aggregate_is_told(results):
    for seed in range(3):
        (results / "RobotRoomRandomGoal-v0" / f"sac-seed{seed}.json").unlink()
    write(results, [record("sac", "RobotRoomRandomGoal-v0", 7, [point(400, 50, 0.0, 0.0)])])
    said = "sac has no seed that ran in all environments: it is in no aggregate."
    assert said in report.losses(Scores(results), {})


def test_an_evaluation_counts_from_where_it_was_made():
    curve = [point(100 * i, i, 0.1 * i, 0.5) for i in range(1, 5)]
    made = record("ppo", "RobotRoom-v0", 0, curve)
    for value, number in ((0, 0), (100, 0), (101, 1), (200, 1), (399, 3), (400, 3), (500, 3)):
        assert scores.evaluation_at(made, "env_steps", value) == curve[number]


def test_where_ours_has_not_arrived_there_is_no_ratio(results):
    write(
        results, [record("world-model", "RobotRoom-v0", n, [point(50, 1, 0.2, 0.5)]) for n in range(3)]
    )
    best, ratio, bound = scores.over_ours(Scores(results), "RobotRoom-v0", "env_steps")
    assert (best, bound) == ("", False) and np.isnan(ratio)


def test_runs_that_fall_below_again_are_told(results):
    points = [point(50 * i, i, rate, 0.5) for i, rate in enumerate((0.2, 1.0, 0.7, 0.9, 1.0), 1)]
    write(results, [record("world-model", "RobotRoom-v0", 0, points)])
    found = Scores(results)
    assert found.relapses("world-model", "RobotRoom-v0") == [0.7]
    assert found.relapses("ppo", "RobotRoom-v0") == []  # one never had it
    said = (
        "v0: 1 of 3 runs of ours fell below 99% again after they first reached it, the lowest to 70%."
    )
    assert said in report.losses(found, {})


def test_a_goal_missed_by_little_does_not_read_as_met(results):
    rows = report.headlines(Scores(results), {"td3": scores.Estimate(0.948, 0.888, 1.0)})
    assert rows[-1][1:3] == ["0.948 (0.888 to 1.000) (td3)", "≥ 0.95"]


def test_a_longer_sweep_adds_its_ratios_and_nothing_else(results, capsys):
    long = results.with_name(f"{results.name}_long")
    page = results / "page.html"
    env_id = "RobotRoomRandomGoal-v0"
    more = {"settings": {"seconds": 5 * BUDGETS[env_id].seconds}}
    late = [point(20_000, 900, 0.2, 0.1), point(30_000, 1100, 1.0, 0.9)]
    write(long, [record("ppo", env_id, 0, late, **more)])
    write(long, [json.loads((results / env_id / "world-model-seed0.json").read_text())])
    report.main(report.Report(results, page, None))
    text = page.read_text()
    assert "200.0 (ppo)" in text and "1200 s, seeds: 1<" in text  # 20,000 over 100
    assert "RandomGoal, 95%, 1200 s" in text and "240 s, seeds: 3<" in text
    both = capsys.readouterr().out.split("\n\n")
    assert "| 95% in RandomGoal | 100 (1/1) | 30,000 (1/1) |" in both[1] and "30,000" not in both[0]
    write(long, [record("ppo", env_id, 1, late, versions={"torch": "2"}, **more)])
    (long / env_id / "ppo-seed0.json").unlink()
    (long / env_id / "world-model-seed0.json").unlink()
    with pytest.raises(ValueError, match=r"_long: got .*'2'.* allowed: .*'1'"):
        report.main(report.Report(results, page, None))
    assert page.read_text() == text


def test_a_baseline_that_arrives_sooner_is_named_first(results):
    fast = [point(50, 0.5, 1.0, 0.3), point(60, 0.6, 1.0, 0.3)]
    write(results, [record("ppo", "RobotRoom-v0", seed, fast) for seed in range(3)])
    lines = [line for line in report.losses(Scores(results), {}) if "faster" in line]
    assert len(lines) == 2 and all(line.startswith("v0") and "ppo" in line for line in lines)


def test_just_the_baselines_with_as_good_an_spl_are_named(results):
    """PPO's is raised to ours at the end, 0.95, and just below it; SAC's stays at 0."""
    for spl, named in ((0.95, 4), (0.94, 0)):
        for env_id in ("RobotRoom-v0", "RobotRoomRandomGoal-v0"):
            late = point(400, 5, 1.0, spl)
            write(results, [record("ppo", env_id, seed, [late]) for seed in range(3)])
        lines = [line for line in report.losses(Scores(results), {}) if "as good or better" in line]
        assert len(lines) == named and all("ppo" in line for line in lines)


@pytest.mark.parametrize(("seeds", "few"), [(4, True), (5, False), (6, False)])
def test_fewer_than_five_seeds_are_told(results, seeds, few):
    for algorithm in ("world-model", "ppo", "sac"):
        for env_id in ("RobotRoom-v0", "RobotRoomRandomGoal-v0"):
            curve = [point(100, 2, 1.0, 0.9)]
            write(results, [record(algorithm, env_id, seed, curve) for seed in range(seeds)])
    said = [line for line in report.losses(Scores(results), {}) if "fewer than five" in line]
    assert bool(said) == few
    assert all(f"ppo {seeds}" in line and f"sac {seeds}" in line for line in said)


def test_an_unfinished_sweep_has_a_report(results, tmp_path):
    for path in results.glob("RobotRoomRandomGoal-v0/world-model*"):
        path.unlink()  # no room that all have run in but v0
    said = [row[1] for row in report.headlines(Scores(results), {})]
    steps, seconds = "at least 3.3 (where sac ended without it)", "2.5 (ppo)"
    assert said == [steps, "ours has not run", seconds, "ours has not run"]
    report.main(report.Report(results, tmp_path / "page.html", None))
    page = (tmp_path / "page.html").read_text()
    assert "ours has not run" in page and "world-model has no seed" not in page
    for path in results.glob("*/[ps]*"):
        path.unlink()  # ours and random alone
    assert report.headlines(Scores(results), {}) == []
    report.main(report.Report(results, tmp_path / "page.html", None))
    for path in results.glob("*/w*"):
        path.unlink()
    report.main(report.Report(results, tmp_path / "page.html", None))
    assert "nothing is compared" in (tmp_path / "page.html").read_text()


def test_a_figure_at_equal_steps_is_that_of_the_next_evaluation(results):
    found = Scores(results)
    assert found.at("ppo", "RobotRoom-v0", "env_steps", 501, "spl") == [0.6] * 3
    assert found.at("ppo", "RobotRoom-v0", "env_steps", 500, "spl") == [0.05] * 3
    assert found.at("world-model", "RobotRoom-v0", "env_steps", 10_000, "spl") == [0.95] * 3


def test_statistics_are_those_of_rliable_and_scipy(results):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (4, 3)) / 5, rng.integers(0, 5, (6, 3)) / 5  # with ties
    assert scores.better(x, y) == pytest.approx(metrics.probability_of_improvement(x, y))
    found = Scores(results)
    mine = found.matrix("world-model", "env_steps", 1.0, "spl")
    assert mine.shape == (3, 2)
    middle, interval = scores.efficiency(found, "env_steps", (0.2, 1.0))["world-model"]
    at = found.matrix("world-model", "env_steps", 0.2, "spl")
    assert middle[0] == pytest.approx(stats.trim_mean(at.ravel(), 0.25))
    assert (interval[0] <= middle).all() and (middle <= interval[1]).all()
    chances = scores.probability_of_improvement(found, "env_steps", 1.0)
    assert chances["sac"].point == 1.0 and set(chances) == {"ppo", "sac"}


def test_where_a_baseline_wins_is_said_first(results):
    assert any("fewer than five" in line for line in report.losses(Scores(results), {}))
    better = record("ppo", "RobotRoom-v0", 0, [point(1000, 9, 1.0, 0.99)])
    write(results, [better | {"seed": seed} for seed in range(3)])
    found = Scores(results)
    chances = scores.probability_of_improvement(found, "env_steps", 1.0)
    lines = report.losses(found, {"env_steps": chances})
    assert "v0, after 500 steps: ppo is as good or better, SPL 0.990 against 0.950." in lines
    assert not any(
        "All environments together" in line for line in lines
    )  # ours is ahead in the other room
    elsewhere = better | {"env_id": "RobotRoomRandomGoal-v0"}
    elsewhere["settings"] = json.loads(next(results.glob("*Goal*/ppo*")).read_text())["settings"]
    write(results, [elsewhere | {"seed": seed} for seed in range(3)])
    chances = scores.probability_of_improvement(Scores(results), "env_steps", 1.0)
    assert any("equal steps: ppo is ahead" in x for x in report.losses(found, {"env_steps": chances}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "dqn"}, "algorithm: got 'dqn', allowed"),
        ({"env_id": "<script>"}, "env_id: got '<script>', allowed"),
        ({"settings": {"setting": "a:b"}, "algorithm": "<b>"}, "algorithm: got '<b>', allowed"),
        ({"settings": {"threshold": None}}, r"settings: got .*, allowed"),
        ({"versions": {"torch": "2"}}, r"got versions {'torch': '2'}, allowed: {'torch': '1'}"),
        ({"settings": {"protocol": 0}}, f"got protocol 0, allowed: {sweep.PROTOCOL}"),
        ({"settings": {"seconds": 5}}, f"got seconds 5, allowed: {BUDGETS['RobotRoom-v0'].seconds}"),
        ({"settings": {"arguments": "gamma=0.5"}}, "got arguments gamma=0.5, allowed: n_steps"),
        ({"curve": []}, r"curve: got \[\], allowed"),
        ({"curve": [{}]}, r"curve: got \[{}\], allowed"),
        ({"curve": [point(1, 1, float("nan"), 0)]}, "curve: got .*nan.*, allowed"),
        ({"seed": None}, "seed: got None, allowed"),
        ({"seed": 1}, "twice"),
        ({"clip": '"><script>alert(1)</script>'}, "clip: got .*script.*, allowed"),
        ({"clip": 5}, "clip: got 5, allowed"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(results, tmp_path, changes, message):
    odd = record("ppo", "RobotRoom-v0", 9, [point(1, 1, 0, 0)])
    for name, value in changes.items():
        odd[name] = odd[name] | value if name == "settings" else value
    (results / "RobotRoom-v0" / "z.json").write_text(json.dumps(odd))
    with pytest.raises(ValueError, match=message):
        report.main(report.Report(results, tmp_path / "page.html", tmp_path / "figure.png"))
    assert not (tmp_path / "page.html").exists()


def test_what_a_record_says_is_text_on_the_page(results, tmp_path):
    # Each of the strings that are free in a record, at a place that the page shows.
    script = "<script>alert(1)</script>"
    for path in sorted(results.rglob("*.json")):
        hostile = json.loads(path.read_text()) | {"python": script, "processor": script}
        hostile["versions"] = {"torch": script}
        path.write_text(json.dumps(hostile))
    report.main(report.Report(results, tmp_path / "page.html", None, label=script))
    page = (tmp_path / "page.html").read_text()
    assert "alert(1)" in page and script not in page


def test_builds_of_one_version_belong_together(results):
    write(results, [record("ppo", "RobotRoom-v0", 7, [point(1, 1, 0, 0)], versions={"torch": "1+cu9"})])
    assert len(Scores(results).runs("ppo", "RobotRoom-v0")) == 4


def test_intervals_have_unequal_seeds_and_one_seed_has_none(results):
    """Of seeds that differ, those count that have run in all rooms; of one, nothing is known."""
    write(results, [record("ppo", "RobotRoom-v0", 7, [point(1, 1, 0, 0.9)])])  # in one room only
    ppo = [point(600, 9, 0.5, spl) for spl in (0.1, 0.5, 0.9)]
    for env_id in ("RobotRoom-v0", "RobotRoomRandomGoal-v0"):
        write(results, [record("ppo", env_id, seed, [ppo[seed]]) for seed in range(3)])
        write(results, [record("td3", env_id, 0, [ppo[0]])])
    found = Scores(results)
    np.testing.assert_array_equal(found.matrix("ppo", "env_steps", 1, "spl")[:, 0], [0.1, 0.5, 0.9])
    ppo, td3, ours = (
        scores.aggregate(found, "env_steps", 1.0)[a] for a in ("ppo", "td3", "world-model")
    )
    assert ppo.point == pytest.approx(0.5) and 0.1 <= ppo.low < 0.5 < ppo.high <= 0.9
    assert td3.point == pytest.approx(0.1) and np.isnan(td3.low) and not np.isnan(ours.low)
    assert np.isnan(scores.probability_of_improvement(found, "env_steps", 1.0)["td3"].high)
    table = report.pooled(found, {"env_steps": {}, "seconds": {}})
    assert ["td3", "1"] in [row[:2] for row in table] and "0.10, one seed" in table[-2]


def test_lines_are_drawn_where_runs_were(results):
    found = Scores(results)
    assert found.span("sac", "env_steps") == (0.8, 0.2)  # 400 of 500 steps; 400 of 2,000
    lines: Any = figures.aggregates(found)[0].data
    ends = [max(next(line.x for line in lines if line.name == a)) for a in ("sac", "ppo")]
    assert ends[0] <= 0.2 < ends[1]


def test_half_a_file_and_no_file_are_refused(results, tmp_path):
    with pytest.raises(ValueError, match="no records"):
        Scores(tmp_path / "nothing")
    half = results / "RobotRoom-v0" / "a2c-seed0.json"
    half.write_text('{"algorithm": "a2c", ')
    with pytest.raises(ValueError, match=r"a2c-seed0\.json: got no record"):
        Scores(results)


@pytest.mark.screen
@pytest.mark.parametrize("where", ["made up", "committed"])
def test_the_page_stands_alone_in_a_browser(where, results, tmp_path, browser):
    page_file = RESULTS / "report.html"
    if where == "made up":
        page_file = tmp_path / "page.html"
        filmed = job.run_job("random", "RobotRoom-v0", 0, BUDGETS["RobotRoom-v0"], clip=True)
        end = [point(1000, 9, 1.0, 0.99)]
        write(results, [record("ppo", "RobotRoom-v0", 0, end, clip=filmed["clip"])])
        report.main(report.Report(results, page_file, tmp_path / "figure.png", "Quick & <small>"))
        assert (tmp_path / "figure.png").stat().st_size > 10_000
    page, complaints, asked = browser.new_page(viewport={"width": 1200, "height": 900}), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 8")
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    for plot in page.locator(".js-plotly-plot").all():
        box = plot.bounding_box()
        assert box["width"] > 800 and box["height"] > 300
        assert plot.locator("path.js-line").count() > 0  # lines are drawn, not axes alone
    for image in page.locator("img").all():
        assert image.evaluate("i => i.naturalWidth") == 64
    assert page.locator("img").count() > 0
    text = page.inner_text("body")
    assert (
        text.index("A robot in a small room")
        < text.index("how much faster")
        < text.index("Where a baseline wins")
        < text.index("What they look like")
    )
    assert "nan" not in text.lower().split() and "undefined" not in text
    if where == "made up":
        assert "Quick & <small>" in text
    shot = page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
    assert len(shot) > 50_000
