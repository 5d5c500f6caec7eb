"""Jobs of a sweep: each runs once, in another process, and writes a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from agent.atomic import replace_file
from agent.checkpoint import require_regular
from benchmarks.engine import storage
from benchmarks.engine.backends import Backend, Failure, Processes, Record, machine
from robot_room.app import command_line

ATTEMPTS = 2
INTERRUPTED = "Interrupted. Finished jobs are kept; run the same command to continue."
OLD_KEYS = {"steps_over_oracle": "path_ratio"}
"""Keys of older records, and what they are called now."""


class FailedJobsError(RuntimeError):
    """Some jobs failed every time they were tried; all others have their files."""


def run_jobs(
    function: Callable[..., Record],
    jobs: Mapping[Path, tuple[Any, ...]],
    settings: Record,
    workers: int = 1,
    jobs_per_process: int = 1,
    backend: Backend | None = None,
    own: Mapping[Path, Record] | None = None,
    stored: str | None = None,
) -> list[Record]:
    """Call `function(*arguments)` for every job that has no file yet.

    The returned record is written to the job's file atomically, with versions and machine. Ctrl-C loses
    the running jobs, and the next call continues with the rest. A job that fails is tried once more
    after all others.

    Args:
        function: an importable function; it is called in another process with one thread.
        jobs: arguments by file.
        settings: everything else a result depends on. It is stored in the record, so that results with
            other settings are not mistaken for these.
        workers: number of jobs that run at a time.
        jobs_per_process: jobs that a process runs before it is replaced; more than 1 for short jobs.
        backend: where jobs run; None: `workers` processes of this machine.
        own: settings of single jobs, by file; stored with the others.
        stored: a folder that all machines reach, a path or a URI (`benchmarks.engine.storage`). A job
            leaves its record there, too, as soon as it is done, and is not run again if its record is
            there: nothing is lost with the machine that asked for the jobs.

    Returns:
        The records of all jobs, in order.

    Raises:
        ValueError: a file is not a record, or has other settings, or `stored` cannot be written to; no
            job has been run then.
        FailedJobsError: some jobs failed twice.
    """
    wanted = {path: settings | (own or {}).get(path, {}) for path in jobs}
    for path in jobs:
        if path.exists():
            read_record(path, wanted[path])
    places = {path: None if stored is None else storage.place(stored, path) for path in jobs}
    due = {
        path: (recorded, (function, args, wanted[path], places[path]))
        for path, args in jobs.items()
        if not path.exists()
    }
    if due and stored is not None:
        storage.require_writable(stored)
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
                    write_record(path, outcome)
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


def recorded(
    function: Callable[..., Record], arguments: tuple[Any, ...], settings: Record, place: str | None
) -> Record:
    """The record that `function` returns, with settings, versions and machine.

    It is written to `place`; if one of the same settings is there already, it is that one.
    """
    if place is not None and (found := storage.get(place)) is not None:
        record = parse_record(found.decode())
        if record.get("settings") == json.loads(json.dumps(settings)):
            return record
    record = function(*arguments) | machine() | {"settings": settings}
    if place is not None:
        storage.put(place, (json.dumps(record, indent=1) + "\n").encode())
    return record


def command(config: type[Any], function: Callable[..., Any]) -> None:
    """Parse the command line and call a benchmark's function; errors are reported in one line."""
    command_line.run(config, function, INTERRUPTED)


def at_least_one(config: Any, *names: str) -> None:
    """Check that settings are at least one.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: got {getattr(config, name)}, allowed: at least 1")


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically, and have it on the disk."""
    replace_file(path, (json.dumps(record, indent=1) + "\n").encode())


def read_record(path: Path, settings: Record | None = None) -> Record:
    """Read a record; see `parse_record` for older ones.

    Raises:
        ValueError: the file is not a record, or has other settings.
    """
    try:
        record = parse_record(require_regular(path).read_text())
        found = record["settings"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: got no record ({error}); remove it to run its job again") from error
    if settings is not None and found != json.loads(json.dumps(settings)):
        raise ValueError(f"{path}: got settings {found}, allowed: {settings}, or another --out")
    return record


def parse_record(text: str) -> Record:
    """Parse a record's JSON; keys of older records get the names they have now."""
    return json.loads(
        text, object_pairs_hook=lambda pairs: {OLD_KEYS.get(key, key): value for key, value in pairs}
    )
