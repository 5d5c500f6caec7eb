"""Seconds from a command to an agent that moves in a window, and from the wheel to it.

    scripts/run wheel
    xvfb-run -s "-noreset -screen 0 1920x1080x24" python -m benchmarks.environment.first_picture

The screen of $DISPLAY is looked at until something is shown on it, and then until that changes. The
wheel is installed where everything that it needs is already.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import ImageGrab
from rich.console import Console

from benchmarks.engine.jobs import at_least_one, write_record
from robot_room.app import command_line

PATIENCE = 60.0  # s


@dataclass
class FirstPicture:
    """Time it and write the raw times."""

    rounds: int = 5
    """Starts of each kind."""
    wheels: Path = Path("dist")
    """The folder of the wheel, made by `scripts/run wheel`."""
    out: Path = Path("benchmarks/results/first_picture.json")
    """File for the raw times."""

    def __post_init__(self) -> None:
        at_least_one(self, "rounds")


def screen() -> NDArray[np.uint8]:
    """What the screen shows."""
    return np.asarray(ImageGrab.grab(), np.uint8)


def seconds_until(condition: Callable[[], bool], began: float) -> float:
    """Seconds since `began` when the condition holds for the first time.

    Raises:
        TimeoutError: it does not for a minute.
    """
    while not condition():
        if time.perf_counter() - began > PATIENCE:
            raise TimeoutError(f"nothing was shown for {PATIENCE:g} s")
        time.sleep(0.02)
    return time.perf_counter() - began


def watched(began: float, packages: Path | None = None) -> tuple[float, float]:
    """Start `robot-room watch` and stop it: seconds until a window is there, and until it moves.

    Args:
        began: when the time begins.
        packages: where the package is installed; None: as it is in this environment.
    """
    empty, there = screen(), {} if packages is None else {"PYTHONPATH": str(packages)}
    start = "from robot_room.app.command_line import main; main()"
    command = [sys.executable, "-c", start, "watch"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | there) as process:
        try:
            shown = seconds_until(lambda: bool((screen() != empty).any()), began)
            time.sleep(0.2)  # a window is drawn in several steps
            first = screen()
            moved = seconds_until(lambda: bool((screen() != first).any()), began)
        finally:
            process.terminate()
    return shown, moved


def main(config: FirstPicture) -> None:
    """Run the benchmark.

    Raises:
        ValueError: there is no wheel, or more than one.
    """
    wheels = list(config.wheels.glob("*.whl"))
    if len(wheels) != 1:
        raise ValueError(
            f"wheels: got {len(wheels)} in {config.wheels}, allowed: 1, of scripts/run wheel"
        )
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    shown, moved, from_wheel = [], [], []
    for _ in range(config.rounds):
        times = watched(time.perf_counter())
        shown.append(times[0])
        moved.append(times[1])
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            subprocess.run([*install, folder, str(wheels[0])], check=True)
            from_wheel.append(watched(began, Path(folder))[1])
    raw = {"shown": shown, "moved": moved, "wheel, moved": from_wheel}
    record = {name: [round(value, 3) for value in values] for name, values in raw.items()}
    write_record(config.out, record | {"machine": platform.machine()})
    for name, values in raw.items():
        Console().print(f"{name:14} {np.median(values):.1f} s ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    command_line.run(FirstPicture, main)
