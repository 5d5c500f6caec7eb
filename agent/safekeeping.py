"""A run that may be stopped at any time: it saves itself every minute, and at Ctrl-C."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Self

from agent.agent import Agent
from agent.training import Progress

INTERVAL = 60.0  # s


class Safekeeping:
    """A callback for `Agent.learn` that saves the agent, between two updates and never within one.

    As a context it takes Ctrl-C over: the agent is saved at the next callback, which then raises
    KeyboardInterrupt. A second Ctrl-C interrupts at once.

    Args:
        agent: what learns.
        path: of the checkpoint.
    """

    def __init__(self, agent: Agent, path: Path) -> None:
        self.agent, self.path = agent, path
        self.stop_requested = False
        self._saved = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        """Save if it is time; save and raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.stop_requested or time.perf_counter() - self._saved > INTERVAL:
            self.agent.save(self.path)
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
