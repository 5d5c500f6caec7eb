"""What `Agent.learn` can be asked to tell, and who then tells it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypedDict

from annotated_types import Ge, Le

from agent.checkpoint import checked_path
from agent.config import Count, checked
from agent.learner import Progress
from agent.progress_bar import ProgressBar
from agent.training import Callback


class LogOptions(TypedDict, total=False):
    """How `learn` tells what it does, with the names of stable-baselines3."""

    tensorboard_log: str | Path | None
    """A folder. A new one in it, `tb_log_name_1`, `_2`, …, gets one file of TensorBoard's events,
    `metrics.csv` and `metrics.jsonl`. An agent that has learned before goes on in the last one; what
    had been logged beyond it is removed. None: nothing is written."""
    tb_log_name: str
    """"Agent" unless given. Runs that learn at the same time need different ones."""
    verbose: int
    """1: print a table; 0, the default: do not."""
    log_interval: int
    """Records, one for each vector step, from one table to the next; 10 unless given."""
    wandb: str | None
    """A project of Weights & Biases, to which the same numbers go; its package must be installed."""


def checked_log(log: LogOptions) -> LogOptions:
    """The options.

    Raises:
        TypeError: one is unknown.
        ValueError: one has a value that is not allowed.
    """
    known = LogOptions.__annotations__
    if unknown := sorted(set(log) - set(known)):
        raise TypeError(f"learn: got unexpected arguments {unknown}, allowed: {sorted(known)}")
    checked("verbose", log.get("verbose", 0), Annotated[int, Ge(0), Le(2)])
    checked("log_interval", log.get("log_interval", 10), Count)
    name = checked("tb_log_name", log.get("tb_log_name", "Agent"), str)
    if not name or Path(name).name != name:
        raise ValueError(f"tb_log_name: got {name!r}, allowed: the name of a folder")
    if (folder := log.get("tensorboard_log")) is not None:
        checked_path(folder)
    if checked("wandb", log.get("wandb"), str | None) and find_spec("wandb") is None:
        allowed = "None, or install the package: pip install wandb"
        raise ValueError(f"wandb: got {log.get('wandb')!r}, allowed: {allowed}")
    return log


@contextmanager
def told(
    callbacks: Sequence[Callback],
    progress_bar: bool,
    log: LogOptions,
    progress: Progress,
    hyperparameters: dict[str, Any],
) -> Iterator[list[Callback]]:
    """All callbacks, with those that show and write what is asked for.

    Evaluations come first, so that they are logged, and what may stop the run last.
    """
    folder, wandb, verbose = (log.get(name) for name in ("tensorboard_log", "wandb", "verbose"))
    with ExitStack() as stack:
        shown: list[Callback] = []
        if folder is not None or wandb is not None or verbose:
            from agent.metrics import RunLogger, next_run  # here, as TensorBoard takes a second

            goes_on, name = progress.num_timesteps > 0, log.get("tb_log_name", "Agent")
            run = None if folder is None else next_run(Path(str(folder)), name, goes_on)
            interval = log.get("log_interval", 10) if verbose else None
            logger = RunLogger(run, progress, hyperparameters, interval, log.get("wandb"))
            shown.append(stack.enter_context(logger))
        if progress_bar:
            shown.append(stack.enter_context(ProgressBar()))
        first = [each for each in callbacks if getattr(each, "evaluates", False)]
        yield [*first, *shown, *(each for each in callbacks if each not in first)]
