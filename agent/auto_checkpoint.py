"""Automatic checkpoints: at the start, every minute, at the end, and when a signal says stop."""

import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

INTERVAL = 60.0  # s
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Saveable(Protocol):
    """Anything that can write a checkpoint of itself."""

    def save(self, path: Path, /) -> None:
        """Write a checkpoint."""


class AutoCheckpoint:
    """A context manager and callback that saves checkpoints, always between two updates.

    The target is saved when the block begins, once a minute, and when the block ends without an error,
    so there is a checkpoint to resume from at any time. Ctrl-C and SIGTERM save at the next callback,
    which then raises KeyboardInterrupt; a second Ctrl-C interrupts immediately. If a periodic save
    fails, because the disk is full, the last checkpoint stays, a warning says so, and the next minute
    tries again.

    Args:
        target: an `Agent` or a `DenoiserTrainer`.
        path: path of the checkpoint.
        before: called before each save, to have on the disk what goes with the checkpoint.
    """

    def __init__(self, target: Saveable, path: Path, before: Callable[[], None] = lambda: None) -> None:
        self.target, self.path, self.before = target, path, before
        self.stop_requested = False
        self._saved = time.perf_counter()
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self, *progress: object) -> None:
        """Save if a minute has passed; if a stop was requested, save and raise KeyboardInterrupt."""
        if self.stop_requested:
            self._save()
            raise KeyboardInterrupt
        if time.perf_counter() - self._saved > INTERVAL:
            try:
                self._save()
            except OSError as error:
                self._saved = time.perf_counter()
                warnings.warn(f"no checkpoint was written ({error}); training continues", stacklevel=2)

    def __enter__(self) -> Self:
        """Save, and take over the signals."""
        self._save()
        self._before = {number: signal.signal(number, self._request_stop) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Save unless there was an error, and give the signals back."""
        try:
            if kind is None:
                self._save()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if kind is None and self.stop_requested:
            raise KeyboardInterrupt

    def _save(self) -> None:
        self.before()
        self.target.save(self.path)
        self._saved = time.perf_counter()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
