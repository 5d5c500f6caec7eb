"""The wheel with and without a compiler, the source, and what the package index is told."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
COMPILER = shutil.which("cc") is not None


@pytest.fixture
def source(tmp_path):
    """A clone without what was built in it. `.gitignore` counts: it names files that are not packed."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("robot_room", "agent"):
        unwanted = shutil.ignore_patterns("__pycache__", "_kernels.*so", "_kernels.*pyd")
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    return folder


def build(kind, source, out, **environment):
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built, done.stdout + done.stderr


def test_a_wheel_has_the_compiled_loops_where_there_is_a_compiler(source, tmp_path):
    """In one clone after another, as in a release: what the first build leaves must not matter."""
    for compiler in [True, False] if COMPILER else [False]:
        environment = {} if compiler else {"CC": "no-compiler-of-this-name"}
        wheel, said = build("wheel", source, tmp_path / str(compiler), **environment)
        names = zipfile.ZipFile(wheel).namelist()
        kernels = [name for name in names if "_kernels." in name and name.endswith(("so", "pyd"))]
        assert kernels == (["robot_room/_kernels.abi3.so"] if compiler else [])
        assert ("cp311-abi3" if compiler else "py3-none-any") in wheel.name
        assert ("built without compiled loops" in said) == (not compiler)


def test_the_source_distribution_has_no_binary(source, tmp_path):
    if COMPILER:
        build("wheel", source, tmp_path / "wheel")
    archive, _ = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(archive) as packed:
        names = packed.getnames()
    assert any(name.endswith("robot_room/_kernels.c") for name in names)
    assert not [name for name in names if name.endswith((".so", ".pyd", ".o")) or "/build/" in name]


@pytest.fixture
def hook():
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("hatch_build")
    finally:
        sys.path.remove(str(ROOT))


def test_links_and_pictures_lead_to_the_tag(hook):
    text = "![a](docs/a.png) [b](b.md#c) [d](https://e.f/g) [h](#i) [j k](docs/l)"
    expected = (
        "![a](https://x.y/raw/v1/docs/a.png) [b](https://x.y/blob/v1/b.md#c) [d](https://e.f/g) "
        "[h](#i) [j k](https://x.y/blob/v1/docs/l)"
    )
    assert hook.absolute(text, "https://x.y", "v1") == expected


def test_the_package_index_is_told_absolute_addresses(hook, tmp_path, monkeypatch):
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    known = hook.repository(tmp_path)
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    metadata = {"version": "1.2.3"}
    hook.AddressesHook(str(tmp_path), {}).update(metadata)
    address = known or "https://github.com/owner/name"
    assert metadata["urls"]["Repository"] == address
    text = metadata["readme"]["text"]
    assert f"]({address}/raw/v1.2.3/docs/agent_view.gif)" in text
    assert not re.findall(r"\]\((?!https?:|#)", text)
    for target in re.findall(rf"{re.escape(address)}/(?:raw|blob)/v1.2.3/([^)#]+)", text):
        assert (ROOT / target).exists(), target
    settings = (tmp_path / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(
        re.sub('^repository = ".*"', 'repository = "https://host/r/"', settings, flags=re.M)
    )
    assert hook.repository(tmp_path) == "https://host/r"


def test_every_pin_has_hashes_and_every_hash_has_a_pin():
    command = [sys.executable, "-c", "import audit; print(audit.missing())"]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
