"""Write hashes.txt: each pin of constraints.txt with the hashes of all its files.

    scripts/run hashes

Needs uv and PyPI. Torch's CPU build is another file than PyPI's of the same version, so the files at
`PIP_EXTRA_INDEX_URL` and `PIP_FIND_LINKS` are added to those of PyPI. Hashes that are there already
stay, since not every place sees every index. `scripts/run audit` uses the file.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS, HASHES = ROOT / "constraints.txt", ROOT / "hashes.txt"
HEAD = "# Made by `scripts/run hashes` from constraints.txt.\n"
CPU_BUILDS = ("torch",)


def read(text: str) -> dict[str, set[str]]:
    """The hashes of each pin of a requirements file, "name==version" without a local version."""
    found: dict[str, set[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if words := line.partition("#")[0].split():
            pin = words[0].partition("+")[0].lower().replace("_", "-")
            found.setdefault(pin, set()).update(word.removeprefix("--hash=") for word in words[1:])
    return found


def compiled(pins: str, *options: str) -> dict[str, set[str]]:
    """What uv says about pins."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--no-deps",
        "--generate-hashes",
        "--quiet",
    ]
    command += ["--no-header", "--no-annotate", *options, "-"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    done = subprocess.run(
        command, input=pins, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return read(done.stdout)


def main() -> None:
    """Write the file."""
    pins = PINS.read_text()
    found = compiled(pins)
    before = read(HASHES.read_text()) if HASHES.exists() else {}
    cpu = [pin for pin in found if pin.partition("==")[0] in CPU_BUILDS]
    if place := os.environ.get("PIP_EXTRA_INDEX_URL"):
        for pin, hashes in compiled("\n".join(cpu), "--index", place).items():
            found[pin] |= hashes
    if place := os.environ.get("PIP_FIND_LINKS"):
        for pin in cpu:
            for wheel in Path(place).glob(f"{pin.replace('==', '-')}*.whl"):
                found[pin].add(f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    text = HEAD
    for pin in sorted(found):
        kept = found[pin] | before.get(pin, set())
        text += " \\\n    ".join([pin, *(f"--hash={each}" for each in sorted(kept))]) + "\n"
    HASHES.write_text(text)
    print(f"{HASHES.name}: {len(found)} pins")


if __name__ == "__main__":
    main()
