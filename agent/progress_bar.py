"""A line that shows how far learning has come."""

from collections import deque
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agent.learner import Progress

EPISODES = 20  # that the share of successes is over


class ProgressBar:
    """A callback for `Agent.learn` and `learn_from`, and a context: the line is there inside it.

    Shows environment steps, updates, loss, success in the last episodes and the time left.

    Args:
        console: where the line goes; None: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.outcomes: deque[bool] = deque(maxlen=EPISODES)
        self._bar = Bar(
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task = self._bar.add_task("learning", total=None, status="steps")

    def __call__(self, progress: Progress) -> None:
        """Show how far learning has come."""
        for episode in progress.finished:
            if episode.is_success is not None:
                self.outcomes.append(episode.is_success)
        done, total, status = progress.num_timesteps, progress.target_timesteps, "steps"
        if progress.target_updates is not None:
            done, total, status = progress.num_updates, progress.target_updates, "updates offline"
        else:
            status += f" {progress.num_updates} updates"
        if progress.metrics:
            status += f", loss {progress.metrics['loss']:.1f}"
        if self.outcomes:
            status += f", success {sum(self.outcomes)}/{len(self.outcomes)}"
        self._bar.update(self._task, completed=min(done, total), total=total, status=status)

    def __enter__(self) -> Self:
        """Show the line."""
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave it as it is."""
        self._bar.stop()
