"""The wheel is built with and without a compiler."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
COMPILER = shutil.which("cc") is not None


@pytest.mark.parametrize("compiler", [False, True] if COMPILER else [False])
def test_a_wheel_has_the_compiled_loops_where_there_is_a_compiler(tmp_path, compiler):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("robot_room", "agent"):
        unwanted = shutil.ignore_patterns("__pycache__", "_kernels.*.so")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    environment = dict(os.environ) if compiler else {**os.environ, "CC": "no-compiler-of-this-name"}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    kernels = [n for n in zipfile.ZipFile(wheel).namelist() if "_kernels." in n and n.endswith("so")]
    assert kernels == (["robot_room/_kernels.abi3.so"] if compiler else [])
    assert ("cp311-abi3" if compiler else "py3-none-any") in wheel.name
    assert ("built without compiled loops" in done.stdout + done.stderr) == (not compiler)
