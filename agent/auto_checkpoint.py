"""Automatic checkpoints: every minute, and on Ctrl-C."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

INTERVAL = 60.0  # s


class Saveable(Protocol):
    """Anything that can write a checkpoint of itself."""

    def save(self, path: Path, /) -> None:
        """Write a checkpoint."""


class AutoCheckpoint:
    """A callback that saves checkpoints, always between two updates.

    As a context manager it handles Ctrl-C: the target is saved at the next callback, which then
    raises KeyboardInterrupt. A second Ctrl-C interrupts immediately.

    Args:
        target: an `Agent` or a `DenoiserTrainer`.
        path: path of the checkpoint.
    """

    def __init__(self, target: Saveable, path: Path) -> None:
        self.target, self.path = target, path
        self.stop_requested = False
        self._saved = time.perf_counter()

    def __call__(self, *progress: object) -> None:
        """Save if a minute has passed; if Ctrl-C was pressed, save and raise KeyboardInterrupt."""
        if self.stop_requested or time.perf_counter() - self._saved > INTERVAL:
            self.target.save(self.path)
            self._saved = time.perf_counter()
        if self.stop_requested:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        """Install the SIGINT handler."""
        self._before = signal.signal(signal.SIGINT, self._request_stop)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous SIGINT handler."""
        signal.signal(signal.SIGINT, self._before)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
