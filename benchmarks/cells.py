"""Cells of a sweep: each runs once, in a process that is not this one, and leaves a file."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks.backends import Backend, Failure, Processes, Record

ATTEMPTS = 2


class BrokenCellsError(RuntimeError):
    """Cells that failed each time they were tried; all others have their files."""


def run_cells(
    function: Callable[..., Record],
    cells: Mapping[Path, tuple[Any, ...]],
    settings: Record,
    workers: int = 1,
    cells_per_process: int = 1,
    backend: Backend | None = None,
    own: Mapping[Path, Record] | None = None,
) -> list[Record]:
    """Call `function(*arguments)` for every cell that has no file yet.

    What it returns is written to the cell's file, with versions and machine, when it is whole;
    Ctrl-C loses the cells under way, and the next call goes on with the rest. A cell that fails is
    tried once more, when all others have been.

    Args:
        function: importable, as it is called in another process, with one thread.
        cells: arguments by file.
        settings: what else a result depends on, kept in the record, so that results of other settings
            are not taken for these.
        workers: cells at a time; 1 where seconds are to be compared.
        cells_per_process: before a fresh one is started; more where cells are short.
        backend: where they run; None: in so many processes of this machine.
        own: by file, what else the result of that cell alone depends on; kept with the settings.

    Returns:
        The records of all cells, in order.

    Raises:
        ValueError: a file is there that is no record, or one of other settings; nothing is run.
        BrokenCellsError: some cells failed twice.
    """
    wanted = {path: settings | (own or {}).get(path, {}) for path in cells}
    for path in cells:
        if path.exists():
            read_record(path, wanted[path])
    due = {path: (function, args) for path, args in cells.items() if not path.exists()}
    backend = backend or Processes(workers, cells_per_process)
    failures: dict[Path, Failure] = {}
    with Progress("cells", MofNCompleteColumn(), TimeElapsedColumn(), disable=not due) as bar:
        task = bar.add_task("", total=len(cells), completed=len(cells) - len(due))
        for _ in range(ATTEMPTS):
            failures = {}
            for path, outcome in backend.run(due):
                if isinstance(outcome, Failure):
                    failures[path] = outcome
                else:
                    write_record(path, outcome | {"settings": wanted[path]})
                    bar.advance(task)
            due = {path: due[path] for path in failures}
            if not due:
                break
    if failures:
        reasons = "\n".join(f"{path}: {failure}" for path, failure in failures.items())
        raise BrokenCellsError(
            f"{len(failures)} of {len(cells)} cells failed {ATTEMPTS} times; the others have their "
            f"files, and the same command tries these again:\n{reasons}"
        )
    return [read_record(path, wanted[path]) for path in cells]


def command(config: type[Any], function: Callable[..., Any]) -> None:
    """Call a benchmark's function with what the command line says; what goes wrong is one line."""
    try:
        function(tyro.cli(config))
    except (ValueError, ImportError, BrokenCellsError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted. Finished cells are kept; the same command goes on.")
        sys.exit(130)


def at_least_one(config: Any, *names: str) -> None:
    """Refuse settings that are below one.

    Raises:
        ValueError: it names the first.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: got {getattr(config, name)}, allowed: at least 1")


def write_record(path: Path, record: Record) -> None:
    """Write a record, which appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.rename(path)


def read_record(path: Path, settings: Record | None = None) -> Record:
    """The record in a file.

    Raises:
        ValueError: it is none, or one of other settings.
    """
    try:
        record = json.loads(path.read_text())
        found = record["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: got no record ({error}); remove it to run its cell again") from error
    if settings is not None and found != json.loads(json.dumps(settings)):
        raise ValueError(f"{path}: got settings {found}, allowed: {settings}, or another --out")
    return record
