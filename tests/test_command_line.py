"""The console command: its table, its errors, and what it does without what it needs."""

import builtins
import importlib
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro

import robot_room
from robot_room.app import command_line
from robot_room.app.command_line import COMMANDS, main
from robot_room.app.runs.loading import loaded
from robot_room.app.runs.locking import held

ROOT = Path(__file__).parents[1]


@dataclass
class Options:
    """Nothing to choose but one thing."""

    once: bool = True
    """Whether to do it once."""


def test_the_table_has_every_command(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        main(arguments)
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_the_version_is_that_of_the_project(capsys):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    main(["--version"])
    assert capsys.readouterr().out == f"robot-room {version}\n"
    assert robot_room.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_an_unknown_command_is_refused_with_those_there_are():
    with pytest.raises(SystemExit, match="error: command: got 'nope', allowed: train, evaluate"):
        main(["nope"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and f"usage: robot-room {name}" in shown


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("train", "torch", r"install what it needs: pip install 'robot-room\[agent\]'"),
        ("play", "tyro", r"install what it needs: pip install 'robot-room\[agent\]'"),
        ("benchmark", "benchmarks", "not of the package; use a clone"),
    ],
)
def test_what_is_missing_is_one_line(name, missing, message, monkeypatch):
    found, fetch = builtins.__import__, command_line.importlib.import_module

    def lacking(module, *arguments, **more):
        if module.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return found(module, *arguments, **more)

    def fetch_lacking(module):
        if module.split(".")[0] == missing or (missing == "torch" and name == "train"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return fetch(module)

    monkeypatch.setattr(builtins, "__import__", lacking)
    monkeypatch.setattr(command_line.importlib, "import_module", fetch_lacking)
    with pytest.raises(SystemExit, match=message):
        main([name])


def test_old_names_still_work_and_are_not_in_the_help(capsys):
    main(["--help"])
    assert "train-prior" not in capsys.readouterr().out
    for name in ("train-prior", "train_prior", "train_restorer"):
        assert command_line.command_named(name) is COMMANDS["train-restorer"]
    for name in ("evaluate", "watch"):
        module = importlib.import_module(COMMANDS[name].module)
        options = getattr(module, COMMANDS[name].options)
        for option in ("--restorer", "--prior"):
            assert tyro.cli(options, args=["runs/x", option]).restorer


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "robot_room", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("usage: robot-room COMMAND")


def test_ctrl_c_says_what_is_kept(capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command_line.run(Options, interrupted, "All is saved.", arguments=[])
    assert ended.value.code == command_line.INTERRUPTED
    assert capsys.readouterr().err == "All is saved.\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown_on_a_terminal_that_knows_ascii_only(name):
    code = f"import sys; from robot_room.app.command_line import main; main(['{name}', '--help'])"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert done.returncode == 0 and b"--help" in done.stdout and b"error" not in done.stderr


@pytest.mark.parametrize("path", ["/proc/film.gif", "/nowhere/film.gif"])
def test_a_file_that_cannot_be_written_is_refused(path):
    with pytest.raises(ValueError, match=r"record: got .*film.gif, allowed: a file in a folder"):
        command_line.require_writable("record", Path(path))


def test_a_file_that_can_be_written_is_not_written_yet(tmp_path):
    command_line.require_writable("record", tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_there_is_refused_with_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"run: got nope, which has no agent; .* there is none in runs"
    ):
        loaded(Path("nope"), None, "{}", False)
    (tmp_path / "runs" / "first" / "agent").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"run: got nope, .*as runs/first"):
        loaded(Path("nope"), None, "{}", False)


def test_a_run_belongs_to_one_process_at_a_time(tmp_path):
    code = (
        "from pathlib import Path\nfrom robot_room.app.runs.locking import held\n"
        f"with held(Path({str(tmp_path)!r})):\n    pass"
    )
    with held(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "where a process is training" in done.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
