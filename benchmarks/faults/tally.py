"""Counts of what came of many trials, kept in a file, so that they can be continued."""

import json
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.atomic import replace_file

KEPT_EXAMPLES = 20
SECONDS_BETWEEN_WRITES = 10.0


class Tally:
    """Outcomes of the trials of one kind, by name; as a context manager it writes its file.

    Args:
        path: its file; if it is there, its counts are continued.

    Attributes:
        counts: number of trials by outcome.
        figures: other numbers, which are overwritten.
    """

    def __init__(self, path: Path) -> None:
        saved = json.loads(path.read_text()) if path.exists() else {}
        self.path, self._written = path, time.monotonic()
        self.counts = Counter(saved.get("counts", {}))
        self.bad: list[str] = saved.get("bad", [])
        self.figures: dict[str, Any] = saved.get("figures", {})

    @property
    def trials(self) -> int:
        """Number of trials so far."""
        return self.counts.total()

    def tried(self, outcome: str) -> int:
        """Number of trials of one kind, the bad ones too."""
        return self.counts[outcome] + self.counts[f"{outcome}: BAD"]

    def add(self, outcome: str, bad: str = "") -> None:
        """Count a trial; `bad` says what was wrong with it, and is kept."""
        self.counts[f"{outcome}: BAD" if bad else outcome] += 1
        if bad:
            self.bad = [*self.bad, bad][:KEPT_EXAMPLES]
        if bad or time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the file."""
        record = {"counts": dict(sorted(self.counts.items())), "figures": self.figures, "bad": self.bad}
        replace_file(self.path, (json.dumps(record, indent=1) + "\n").encode())
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        """Begin or continue."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the file, whatever happened."""
        self.write()
