"""Cells of a sweep: each runs once, in a process that is not this one, and leaves a file."""

import json
import multiprocessing
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

PACKAGES = ("robot-room", "torch", "numpy", "gymnasium", "stable-baselines3")

Record = dict[str, Any]


def run_cells(
    function: Callable[..., Record],
    cells: Mapping[Path, tuple[Any, ...]],
    settings: Record,
    workers: int = 1,
    cells_per_process: int = 1,
) -> list[Record]:
    """Call `function(*arguments)` for every cell that has no file yet.

    What it returns is written to the cell's file, with versions and machine, when it is whole;
    Ctrl-C loses the cells under way, and the next call goes on with the rest.

    Args:
        function: importable, as it is called in another process, with one thread.
        cells: arguments by file.
        settings: what else a result depends on, kept in the record, so that results of other settings
            are not taken for these.
        workers: cells at a time; 1 where seconds are to be compared.
        cells_per_process: before a fresh one is started; more where cells are short.

    Returns:
        The records of all cells, in order.

    Raises:
        ValueError: a file is there that is no record, or one of other settings; nothing is run.
    """
    for path in cells:
        if path.exists():
            _read(path, settings)
    due = {path: arguments for path, arguments in cells.items() if not path.exists()}
    jobs = [(function, path, arguments, settings) for path, arguments in due.items()]
    if due:
        # Not concurrent.futures: its pool can hang where a worker is replaced (python/cpython#115634).
        with (
            Progress("cells", MofNCompleteColumn(), TimeElapsedColumn()) as bar,
            multiprocessing.get_context("spawn").Pool(workers, None, (), cells_per_process) as pool,
        ):
            task = bar.add_task("", total=len(cells), completed=len(cells) - len(due))
            for _ in pool.imap_unordered(_run, jobs):
                bar.advance(task)
    return [_read(path, settings) for path in cells]


def _run(job: tuple[Callable[..., Record], Path, tuple[Any, ...], Record]) -> None:
    function, path, arguments, settings = job
    torch.set_num_threads(1)
    where = {
        "settings": settings,
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
    }
    write_record(path, function(*arguments) | where)


def write_record(path: Path, record: Record) -> None:
    """Write a record, which appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.rename(path)


def _read(path: Path, settings: Record) -> Record:
    try:
        record = json.loads(path.read_text())
        found = record["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: got no record ({error}); remove it to run its cell again") from error
    if found != json.loads(json.dumps(settings)):
        raise ValueError(f"{path}: got settings {found}, allowed: {settings}, or another --out")
    return record
