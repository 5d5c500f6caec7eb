import json

import pytest

from benchmarks.cells import run_cells


def test_a_cell_runs_once_and_leaves_its_record(tmp_path):
    cells = {tmp_path / "out" / f"{i}.json": ({"value": i},) for i in range(3)}
    records = run_cells(dict, cells, {}, workers=2)
    assert [record["value"] for record in records] == [0, 1, 2]
    assert records[0]["versions"]["torch"]
    path = tmp_path / "out" / "1.json"
    kept = {"value": "kept", "settings": {}}
    path.write_text(json.dumps(kept))
    assert run_cells(dict, cells, {})[1] == kept
    assert sorted(each.name for each in path.parent.iterdir()) == ["0.json", "1.json", "2.json"]


def test_a_cell_that_fails_leaves_nothing_and_the_others_stay(tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    run_cells(dict, {good: ({"value": 1},)}, {})
    with pytest.raises(TypeError):
        run_cells(dict, {good: ({"value": 1},), bad: (3,)}, {})
    assert good.exists() and list(tmp_path.iterdir()) == [good]


def test_a_half_written_record_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "0.json"
    path.write_text('{"value": ')
    with pytest.raises(ValueError, match="got no record"):
        run_cells(dict, {path: ({},)}, {})
    assert path.read_text() == '{"value": '


def test_results_of_other_settings_are_not_taken_for_these(tmp_path):
    path, other = tmp_path / "0.json", tmp_path / "1.json"
    run_cells(dict, {path: ({"value": 1},)}, {"steps": 5, "sizes": (1, 2)})
    before = path.read_text()
    assert run_cells(dict, {path: ({},)}, {"steps": 5, "sizes": (1, 2)})[0]["value"] == 1
    with pytest.raises(ValueError, match=r"got settings .*5.*, allowed: .*6"):
        run_cells(dict, {other: ({},), path: ({},)}, {"steps": 6, "sizes": (1, 2)})
    assert path.read_text() == before and not other.exists()
