"""Look up every pin among the known vulnerabilities, and check that every pin has its hashes.

    scripts/run audit

Where PyPI's advisories cannot be reached, only the hashes are checked, and a notice says so.
"""

import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

from hashes import HASHES, PINS, read

TOOL = "pip-audit==2.10.1"
ADVISORIES = f"https://pypi.org/pypi/{TOOL.replace('==', '/')}/json"  # of one; mirrors have none


def missing() -> list[str]:
    """Pins of constraints.txt without hashes, and hashes without a pin."""
    hashed = read(HASHES.read_text())
    return sorted({pin for pin in hashed if hashed[pin]} ^ read(PINS.read_text()).keys())


def reachable() -> bool:
    """Whether PyPI tells its advisories."""
    try:
        urllib.request.urlopen(ADVISORIES, timeout=20).close()
    except OSError:
        return False
    return True


def main() -> int:
    """Returns the exit status."""
    if wrong := missing():
        print(f"hashes.txt: got others than constraints.txt for {', '.join(wrong)}: scripts/run hashes")
        return 1
    if not reachable():
        mark = "::notice::" if "GITHUB_ACTIONS" in os.environ else ""
        print(f"{mark}scripts/run audit: skipped, since PyPI's advisories cannot be reached")
        return 0
    with tempfile.TemporaryDirectory() as folder:  # an environment of its own, for its own needs
        venv.create(folder, with_pip=True)
        tool = Path(folder, "Scripts" if os.name == "nt" else "bin")
        subprocess.run([tool / "python", "-m", "pip", "install", "--quiet", TOOL], check=True)
        options = [
            "--strict",
            "--require-hashes",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "-r",
            HASHES,
        ]
        return subprocess.run([tool / "pip-audit", *options]).returncode


if __name__ == "__main__":
    sys.exit(main())
