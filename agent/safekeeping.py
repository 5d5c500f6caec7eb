"""A run that may be stopped at any time: it saves itself every minute, and at Ctrl-C."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

INTERVAL = 60.0  # s


class Learner(Protocol):
    """What learns, and saves itself."""

    def save(self, path: Path, /) -> None:
        """Write a checkpoint."""


class Safekeeping:
    """A callback that saves what learns, between two updates and never within one.

    As a context it takes Ctrl-C over: the learner is saved at the next callback, which then raises
    KeyboardInterrupt. A second Ctrl-C interrupts at once.

    Args:
        learner: an `Agent`, or a `DenoiserTrainer`.
        path: of the checkpoint.
    """

    def __init__(self, learner: Learner, path: Path) -> None:
        self.learner, self.path = learner, path
        self.stop_requested = False
        self._saved = time.perf_counter()

    def __call__(self, *progress: object) -> None:
        """Save if it is time; save and raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.stop_requested or time.perf_counter() - self._saved > INTERVAL:
            self.learner.save(self.path)
            self._saved = time.perf_counter()
        if self.stop_requested:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        """Take SIGINT over."""
        self._before = signal.signal(signal.SIGINT, self._request_stop)
        return self

    def __exit__(self, *error: object) -> None:
        """Give SIGINT back."""
        signal.signal(signal.SIGINT, self._before)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
