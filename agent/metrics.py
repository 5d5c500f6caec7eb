"""Logging of a training run: TensorBoard, JSON lines and a progress bar."""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Self

from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from agent.atomic import replace_file
from agent.learner import Progress
from agent.progress_bar import ProgressBar

OF_UPDATES = "train/"
"""Begins the tags whose steps are updates; all others count environment steps."""


class RunLogger:
    """A callback for `Agent.learn` and `learn_from`; as a context manager it closes its files.

    Writes `metrics.jsonl` (one object per tenth update) and TensorBoard events under `directory`,
    and shows environment steps, updates, loss, recent success rate and the time left.

    Args:
        directory: created if missing; a resumed run appends.
        console: console of the progress bar; None: standard error.
        progress: where training stands. What an interrupted run has logged beyond it is removed.
    """

    def __init__(
        self, directory: Path, console: Console | None = None, progress: Progress | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._last_update = -1
        if progress is not None and (directory / "metrics.jsonl").exists():
            self._last_update = cut_metrics(directory / "metrics.jsonl", progress.num_updates)
            for file in (directory / "tensorboard").glob("events.out.tfevents.*"):
                cut_events(file, progress)
        self._lines = (directory / "metrics.jsonl").open("a")
        self._writer = SummaryWriter(str(directory / "tensorboard"))
        self._bar = ProgressBar(console)

    def __call__(self, progress: Progress) -> None:
        """Log the progress."""
        for episode in progress.finished:
            step = progress.num_timesteps
            self._writer.add_scalar("episode/length", episode.length, step)
            self._writer.add_scalar("episode/return", episode.episode_return, step)
        self._bar(progress)
        if progress.metrics and progress.num_updates != self._last_update:
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        self._last_update = progress.num_updates
        record = {
            "seconds": round(progress.seconds, 3),
            "timesteps": progress.num_timesteps,
            "updates": progress.num_updates,
            **progress.metrics,
        }
        if progress.outcomes:
            record["success_rate"] = sum(progress.outcomes) / len(progress.outcomes)
        self._lines.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name not in ("timesteps", "updates"):
                self._writer.add_scalar(f"{OF_UPDATES}{name}", value, progress.num_updates)

    def flush(self) -> None:
        """Have everything on the disk, before a checkpoint that is beyond it."""
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._writer.flush()

    def __enter__(self) -> Self:
        """Show the progress bar."""
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the progress bar and the files."""
        self._bar.__exit__(*error)
        self._lines.close()
        self._writer.close()


def cut_metrics(path: Path, num_updates: int) -> int:
    """Remove the entries of `metrics.jsonl` after so many updates, and one that was cut short.

    Returns:
        The number of updates of the last entry that is left; −1 if there is none.
    """
    kept, last = [], -1
    for line in path.read_text().splitlines():
        try:
            updates = json.loads(line)["updates"]
        except (ValueError, LookupError, TypeError):
            break
        if not isinstance(updates, int) or updates > num_updates:
            break
        kept.append(line + "\n")
        last = updates
    replace_file(path, "".join(kept).encode())
    return last


def cut_events(path: Path, progress: Progress) -> None:
    """Remove what comes after `progress` from a file of TensorBoard's events."""
    contents = BytesIO()
    writer = RecordWriter(contents)
    for record in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(record)
        tags = [value.tag for value in event.summary.value]
        updates = bool(tags) and tags[0].startswith(OF_UPDATES)
        if not tags or event.step <= (progress.num_updates if updates else progress.num_timesteps):
            writer.write(record)
    replace_file(path, contents.getvalue())
