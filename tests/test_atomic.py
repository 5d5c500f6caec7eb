"""A directory that is replaced is the old one or the new one, wherever the process is killed."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.atomic import replaced_directory, settled_directory

ATOMIC = Path(__file__).parents[1] / "agent" / "atomic.py"
# Writes NEW, and is gone just before the k-th of the calls that change anything.
KILLED = """
import os, pathlib, runpy, shutil, sys
path, left = pathlib.Path(sys.argv[2]), int(sys.argv[3])
def counted(function):
    def call(*args, **kwargs):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return function(*args, **kwargs)
    return call
for module, name in ((os, "fsync"), (os, "mkdir"), (os, "rename"), (os, "rmdir"), (os, "unlink")):
    setattr(module, name, counted(getattr(module, name)))
with runpy.run_path(sys.argv[1])["replaced_directory"](path) as folder:
    for name in ("a", "b"):
        counted((folder / name).write_text)("new")
"""


def write(path, text):
    with replaced_directory(path) as folder:
        for name in ("a", "b"):
            (folder / name).write_text(text)


def contents(path):
    with settled_directory(path) as folder:
        return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize("existing", [True, False], ids=["replaced", "first"])
def test_a_kill_at_any_point_leaves_the_old_or_the_new_directory(tmp_path, existing):
    ends, calls = [], 0
    while not ends or ends[-1] != 0:
        path = tmp_path / str(calls) / "agent"
        path.parent.mkdir()
        if existing:
            write(path, "old")
        killed = [sys.executable, "-c", KILLED, str(ATOMIC), str(path), str(calls)]
        ends.append(subprocess.run(killed).returncode)
        found = contents(path) if path.exists() or list(path.parent.glob(".*.next")) else {}
        old = {"a": "old", "b": "old"} if existing else {}
        assert found in (old, {"a": "new", "b": "new"}), calls
        write(path, "newer")  # nothing that was left stands in the way, and nothing of it stays
        assert contents(path) == {"a": "newer", "b": "newer"}
        assert [each.name for each in path.parent.iterdir()] == ["agent"]
        calls += 1
    assert ends[:-1] == [9] * (calls - 1) and calls > 8


def test_an_error_while_writing_changes_nothing(tmp_path):
    write(tmp_path / "agent", "old")
    with pytest.raises(OSError, match="disk full"), replaced_directory(tmp_path / "agent") as folder:
        (folder / "a").write_text("new")
        raise OSError("disk full")
    assert contents(tmp_path / "agent") == {"a": "old", "b": "old"}
    assert [each.name for each in tmp_path.iterdir()] == ["agent"]


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "agent"
    link.symlink_to(tmp_path / "elsewhere" / "real", target_is_directory=True)
    for text in ("first", "second"):
        write(link, text)
        assert link.is_symlink() and contents(link) == {"a": text, "b": text}
    assert (tmp_path / "elsewhere" / "real" / "a").read_text() == "second"


def test_a_reader_never_sees_half_of_a_replacement(tmp_path):
    write(tmp_path / "agent", "0")
    seen, over = [], threading.Event()

    def read():
        while not over.is_set():
            seen.append(contents(tmp_path / "agent"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        write(tmp_path / "agent", str(number))
    over.set()
    reader.join()
    assert seen and all(set(found) == {"a", "b"} and found["a"] == found["b"] for found in seen)
