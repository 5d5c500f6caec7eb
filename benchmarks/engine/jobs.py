"""Jobs of a sweep: each runs once, in a process that is not this one, and leaves a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks.engine.backends import Backend, Failure, Processes, Record
from robot_room.app import command_line

ATTEMPTS = 2
INTERRUPTED = "Interrupted. Finished jobs are kept; the same command goes on."


class FailedJobsError(RuntimeError):
    """Jobs that failed each time they were tried; all others have their files."""


def run_jobs(
    function: Callable[..., Record],
    jobs: Mapping[Path, tuple[Any, ...]],
    settings: Record,
    workers: int = 1,
    jobs_per_process: int = 1,
    backend: Backend | None = None,
    own: Mapping[Path, Record] | None = None,
) -> list[Record]:
    """Call `function(*arguments)` for every job that has no file yet.

    What it returns is written to the job's file, with versions and machine, when it is whole;
    Ctrl-C loses the jobs under way, and the next call goes on with the rest. A job that fails is
    tried once more, when all others have been.

    Args:
        function: importable, as it is called in another process, with one thread.
        jobs: arguments by file.
        settings: what else a result depends on, kept in the record, so that results of other settings
            are not taken for these.
        workers: jobs at a time; 1 where seconds are to be compared.
        jobs_per_process: before a fresh one is started; more where jobs are short.
        backend: where they run; None: in so many processes of this machine.
        own: by file, what else the result of that job alone depends on; kept with the settings.

    Returns:
        The records of all jobs, in order.

    Raises:
        ValueError: a file is there that is no record, or one of other settings; nothing is run.
        FailedJobsError: some jobs failed twice.
    """
    wanted = {path: settings | (own or {}).get(path, {}) for path in jobs}
    for path in jobs:
        if path.exists():
            read_record(path, wanted[path])
    due = {path: (function, args) for path, args in jobs.items() if not path.exists()}
    backend = backend or Processes(workers, jobs_per_process)
    failures: dict[Path, Failure] = {}
    with Progress("jobs", MofNCompleteColumn(), TimeElapsedColumn(), disable=not due) as bar:
        task = bar.add_task("", total=len(jobs), completed=len(jobs) - len(due))
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
        raise FailedJobsError(
            f"{len(failures)} of {len(jobs)} jobs failed {ATTEMPTS} times; the others have their "
            f"files, and the same command tries these again:\n{reasons}"
        )
    return [read_record(path, wanted[path]) for path in jobs]


def command(config: type[Any], function: Callable[..., Any]) -> None:
    """Call a benchmark's function with what the command line says; what goes wrong is one line."""
    command_line.run(config, function, INTERRUPTED)


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
        raise ValueError(f"{path}: got no record ({error}); remove it to run its job again") from error
    if settings is not None and found != json.loads(json.dumps(settings)):
        raise ValueError(f"{path}: got settings {found}, allowed: {settings}, or another --out")
    return record
