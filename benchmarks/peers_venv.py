"""Environments for peers, so that nobody has to live with their dependencies."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def peers_python(name: str, arguments: Sequence[str]) -> Path:
    """The interpreter of the environment `.venv-NAME`, made and filled by pip if need be.

    Args:
        name: of the environment.
        arguments: of `pip install`, run in the project's root.

    Raises:
        subprocess.CalledProcessError: pip fails.
    """
    home = ROOT / f".venv-{name}"
    python, stamp = home / "bin" / "python", home / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(arguments):
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True, cwd=ROOT)
        stamp.write_text("\n".join(arguments))
    return python
