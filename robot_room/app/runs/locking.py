"""A run belongs to one training process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run's directory, which is created if it is missing, against other training processes.

    Raises:
        ValueError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        allowed = "another directory, or wait until it has finished"
        raise ValueError(f"run: got {run}, where a process is training; allowed: {allowed}") from error
    try:
        yield
    finally:
        lock.release()
