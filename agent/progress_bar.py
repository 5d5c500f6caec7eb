"""The progress bar of training."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agent.learner import Progress


class ProgressBar:
    """A callback for `Agent.learn` and `learn_from`; shown while used as a context manager.

    Shows environment steps, updates, loss, success rate of the last episodes and the time left.

    Args:
        console: the console to draw on; None: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bar = Bar(
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task = self._bar.add_task("learning", total=None, status="steps")

    def __call__(self, progress: Progress) -> None:
        """Update the progress bar."""
        done, total, status = progress.num_timesteps, progress.target_timesteps, "steps"
        if progress.target_updates is not None:
            done, total, status = progress.num_updates, progress.target_updates, "updates offline"
        else:
            status += f" {progress.num_updates} updates"
        if progress.metrics:
            status += f", loss {progress.metrics['loss']:.1f}"
        if progress.skipped_updates > 0:
            status += f", {progress.skipped_updates} skipped"
        if progress.outcomes:
            status += f", success {sum(progress.outcomes)}/{len(progress.outcomes)}"
        self._bar.update(self._task, completed=min(done, total), total=total, status=status)

    def __enter__(self) -> Self:
        """Start the progress bar."""
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the progress bar; it stays visible."""
        self._bar.stop()
