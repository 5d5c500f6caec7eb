"""Separate virtual environments for other libraries and their dependencies."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]


def peers_python(name: str, arguments: Sequence[str]) -> Path:
    """The interpreter of the virtual environment `.venv-NAME`, created by pip if missing.

    Args:
        name: of the environment.
        arguments: of `pip install`, run in the project's root.

    Raises:
        RuntimeError: pip fails.
    """
    home = ROOT / f".venv-{name}"
    python, stamp = home / "bin" / "python", home / "installed"
    with FileLock(home.with_name(f"{home.name}.lock")):  # several jobs may need it at once
        if not stamp.exists() or stamp.read_text() != "\n".join(arguments):
            venv.create(home, with_pip=True, clear=True)
            command = [python, "-m", "pip", "install", "--quiet", *arguments]
            if subprocess.run(command, cwd=ROOT).returncode != 0:
                raise RuntimeError(f"peers: pip could not install {' '.join(arguments)} into {home}")
            stamp.write_text("\n".join(arguments))
    return python
