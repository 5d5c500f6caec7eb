"""Logging of a training run: TensorBoard, JSON lines and a progress bar."""

import json
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from agent.learner import Progress
from agent.progress_bar import ProgressBar


class RunLogger:
    """A callback for `Agent.learn` and `learn_from`; as a context manager it closes its files.

    Writes `metrics.jsonl` (one object per tenth update) and TensorBoard events under `directory`,
    and shows environment steps, updates, loss, recent success rate and the time left.

    Args:
        directory: created if missing; a resumed run appends.
        console: console of the progress bar; None: standard error.
    """

    def __init__(self, directory: Path, console: Console | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lines = (directory / "metrics.jsonl").open("a")
        self._writer = SummaryWriter(str(directory / "tensorboard"))
        self._last_update = -1
        self._began = time.perf_counter()
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
            "seconds": round(time.perf_counter() - self._began, 3),
            "timesteps": progress.num_timesteps,
            "updates": progress.num_updates,
            **progress.metrics,
        }
        if outcomes := self._bar.outcomes:
            record["success_rate"] = sum(outcomes) / len(outcomes)
        self._lines.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name not in ("timesteps", "updates"):
                self._writer.add_scalar(f"train/{name}", value, progress.num_updates)

    def __enter__(self) -> Self:
        """Show the progress bar."""
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the progress bar and the files."""
        self._bar.__exit__(*error)
        self._lines.close()
        self._writer.close()
