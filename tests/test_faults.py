"""The harness of faults itself: it counts, continues, and finds what is wrong."""

import os
import time
import tomllib
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from benchmarks.faults import fuzz, hostile, kills, mutants, resumes
from benchmarks.faults.__main__ import Faults, main
from benchmarks.faults.processes import forked, killed_at_call
from benchmarks.faults.tally import Tally

pytestmark = pytest.mark.slow

BREAKS = mutants.ROOT / "benchmarks/faults/breaks.toml"


@pytest.fixture
def own_datasets(tmp_path, monkeypatch):
    """What a trial sets for itself is as it was afterwards."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr(resumes.report, "record", resumes.report.record)


def test_counts_are_kept_and_continued(tmp_path):
    with Tally(tmp_path / "x.json") as tally:
        tally.add("fine")
        tally.add("fine", "but it was not")
    again = Tally(tmp_path / "x.json")
    assert again.counts == {"fine": 1, "fine: BAD": 1} and again.bad == ["but it was not"]
    assert again.trials == 2


def test_a_forked_trial_says_how_it_ended():
    assert forked(lambda: "done", 10)[:2] == (0, "done")
    assert forked(lambda: os._exit(3), 10).code == 3
    assert "ZeroDivisionError" in forked(lambda: str(1 / 0), 10).said
    assert forked(lambda: forked(lambda: "", 60, kill=True).said, 0.1).code == -9
    less, more = (forked(lambda n=n: str(len(bytearray(n))), 10).peak for n in (2**20, 2**28))
    assert more - less > 200 * 2**20


def test_a_process_is_killed_before_each_of_its_system_calls(tmp_path):
    path = tmp_path / "file"
    seen = set()
    number = 0
    while True:
        path.write_text("old")
        killed = killed_at_call(lambda: path.write_text("new"), number)
        seen.add(path.read_text())
        if not killed:
            break
        number += 1
    assert number >= 3 and seen == {"old", "", "new"}  # a file that is written in place can be lost


def test_a_few_senseless_calls(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would object first
    main(Faults("fuzz", count=300, out=tmp_path))
    main(Faults("fuzz", count=400, out=tmp_path))
    assert sum(Tally(tmp_path / "fuzz.json").counts.values()) == 400
    assert "refused" in capsys.readouterr().out


def test_a_call_that_breaks_is_bad(tmp_path, monkeypatch):
    broken = fuzz.Target("broken", lambda x: x.missing, {"x": 0})
    monkeypatch.setattr(fuzz, "targets", lambda: [broken])
    with pytest.raises(RuntimeError, match="5 faults did what they must not"):
        main(Faults("fuzz", count=5, out=tmp_path))


def test_a_reader_that_runs_code_or_dies_is_found():
    assert hostile._read(lambda path: os.system("true"), Path()).startswith("ran code: ['os.system']")
    assert hostile._read(lambda path: 1 / 0, Path()).startswith("ZeroDivisionError")
    assert hostile._read(lambda path: int("x"), Path()) == "refused"


def test_records_survive_kills(tmp_path):
    with Tally(tmp_path / "kills.json") as tally:
        kills.sweeps(tally, 5, np.random.default_rng(0))
    assert tally.counts == {"record killed": 5}


@pytest.mark.usefixtures("own_datasets")
def test_a_command_that_is_stopped_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(resumes, "KINDS", {"collect": resumes.KINDS["collect"]})
    main(Faults("resumes", count=2, out=tmp_path))
    assert Tally(tmp_path / "resumes.json").counts == {"resumed: collect": 2}


@pytest.mark.usefixtures("own_datasets")
def test_a_command_that_begins_anew_with_other_numbers_is_found(tmp_path, monkeypatch):
    def go(folder):
        (folder / "drawn").write_text(str(time.monotonic_ns()))

    kind = resumes.Kind(go, lambda folder: {"drawn": (folder / "drawn").read_text()})
    monkeypatch.setattr(resumes, "KINDS", {"forgetful": kind})
    with pytest.raises(RuntimeError, match="2 faults"):
        main(Faults("resumes", count=2, out=tmp_path))
    assert Tally(tmp_path / "resumes.json").bad[0] == "forgetful: drawn differs"


def test_what_differs_is_named():
    arrays = {"a": np.array([1.0, np.nan]), "b": [{"x": float("nan")}], "c": "text"}
    assert resumes._difference(arrays, {**arrays, "a": arrays["a"].copy()}) == ""
    for name, value in (("a", np.array([1.0, 2.0])), ("b", [{"x": 1.0}]), ("c", "other")):
        assert resumes._difference(arrays, {**arrays, name: value}) == f"{name} differs"
    assert "only one has ['d']" in resumes._difference(arrays, {**arrays, "d": 1})


def test_what_is_broken_by_hand_is_still_there():
    number = 0
    for module, names in mutants.TESTS.items():
        for each in mutants.breaks(module):
            compile(each.source, module, "exec")
            assert each.source != (mutants.ROOT / module).read_text()
            number += 1
        assert all((mutants.ROOT / f"tests/test_{name}.py").exists() for name in names.split())
    assert number == len(tomllib.loads(BREAKS.read_text())["break"])


def test_reasons_are_of_lines_that_are_still_there():
    for (module, before, _), reason in mutants.equivalent().items():
        code = (mutants.ROOT / module).read_text()
        assert all(line in code for line in before.split("\n")) and reason
