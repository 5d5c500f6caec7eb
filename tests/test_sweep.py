"""The sweep of the comparison: which jobs it has, that each runs once, and what it refuses."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from filelock import FileLock

from benchmarks.comparison import baselines, command, sweep
from benchmarks.comparison.budgets import ALGORITHMS, BUDGETS, Budget
from benchmarks.engine.backends import PACKAGES

pytestmark = pytest.mark.slow


def test_a_sweep_refuses_unknown_names_and_other_versions(tmp_path):
    with pytest.raises(ValueError, match="algorithm: got 'dqn', allowed: the name of a built-in one"):
        sweep.Sweep(algorithms=("dqn",))
    with pytest.raises(ValueError, match=r"env: got 'Nowhere-v1', allowed: a registered id"):
        sweep.Sweep(env_ids=("Nowhere-v1",))
    with pytest.raises(ValueError, match="other_seeds: got 0"):
        sweep.Sweep(other_seeds=0)
    path = tmp_path / "RobotRoom-v0" / "ppo-seed0.json"
    path.parent.mkdir()
    before = '{"settings": {}, "versions": {"torch": "1"}}'
    path.write_text(before)
    with pytest.raises(ValueError, match=r"got versions {'torch': '1'}, allowed: .*installed"):
        sweep.run(sweep.Sweep(seeds=1, other_seeds=1, out=tmp_path))
    assert list(tmp_path.glob("*/*")) == [path] and path.read_text() == before


def test_a_sweep_has_every_job_once_and_all_of_a_seed_before_the_next():
    jobs = list(sweep.Sweep().jobs())
    assert len({path for path, *_ in jobs}) == len(jobs)
    assert [seed for *_, seed in jobs] == sorted(seed for *_, seed in jobs)
    for env_id in BUDGETS:
        counts = {a: sum(c[1:3] == (a, env_id) for c in jobs) for a in ALGORITHMS}
        few = dict.fromkeys(baselines.SETTINGS, 5)
        assert counts == few | {"world-model": 10, "plain": 10, "ppo": 10, "random": 1, "oracle": 1}


def test_a_sweep_runs_what_is_missing(tmp_path):
    config = sweep.Sweep(("random", "oracle"), ("RobotRoom-v0",), 1, 1, out=tmp_path)
    sweep.run(config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}
    assert len(before) == 2
    sweep.run(config)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}
    kept = json.loads(next(iter(before)).read_text())
    assert kept["versions"] == {name: version(name) for name in PACKAGES}


@pytest.mark.slow
def test_the_quick_benchmark_ends_in_a_report_with_a_label(tmp_path, monkeypatch, capsys):
    all_jobs = sweep.Sweep.jobs
    some = ("world-model", "ppo", "random")  # each in one environment, once, and for a moment
    monkeypatch.setattr(
        sweep.Sweep,
        "jobs",
        lambda self: [c for c in all_jobs(self) if c[1] in some and c[3] == 0][:3],
    )
    monkeypatch.setattr(sweep, "BUDGETS", dict.fromkeys(BUDGETS, Budget(0.99, 112, 0.5)))
    monkeypatch.setattr(command, "QUICK", tmp_path)
    command.main(command.Benchmark(quick=True))
    page = (tmp_path / "report.html").read_text()
    assert "A quick run" in page and len(list(tmp_path.glob("results/*/*.json"))) == 3
    assert "| steps to success of |" in capsys.readouterr().out


def test_an_unreachable_cluster_is_one_line(tmp_path):
    sweeping = [sys.executable, "-m", "benchmarks.comparison.sweep"]
    nowhere = ["--backend", "ray", "--address", "127.0.0.1:1"]
    done = subprocess.run([*sweeping, *nowhere, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and not list(tmp_path.glob("*/*"))
    assert (
        done.stderr.startswith("error: address: got '127.0.0.1:1'") and "Traceback" not in done.stderr
    )


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="another sweep is at work"):
        sweep.run(sweep.Sweep(("random",), ("RobotRoom-v0",), 1, 1, out=tmp_path))
    assert not list(tmp_path.glob("*/*"))
