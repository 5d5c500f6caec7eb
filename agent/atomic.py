"""Directories and files that are replaced as a whole: a kill leaves the old one or the new one.

So does a power loss. The directory `NAME` is replaced in four steps, each of which happens or does not:

    .NAME.part-…      the new directory while it is written, then flushed to the disk
    → .NAME.next      complete
    NAME → .NAME.last the old one makes room
    .NAME.next → NAME

Whoever comes next finishes what was interrupted. Writers and readers hold a lock on the parent.
"""

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a directory cannot be locked
    fcntl = None


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """A new directory to write into, which becomes `path` at the end of the block.

    If the block raises, the new directory is removed and `path` is left unchanged. A symbolic link is
    followed: the directory that it points to is replaced.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        _finish(path)
        _remove_parts(path)
        part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex}")
        part.mkdir()
        try:
            yield part
            for file in (*part.rglob("*"), part):
                flush(file)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(_next(path))
        _finish(path)


def replace_file(path: Path, contents: bytes) -> None:
    """Write a file atomically; its folder is created if it is missing.

    Raises:
        OSError: the disk is full, or cannot be written to. The old file is left unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        _remove_parts(path)
        part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex}")
        try:
            part.write_bytes(contents)
            flush(part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        flush(path.parent)


@contextmanager
def settled_directory(path: Path) -> Iterator[Path]:
    """`path` for reading: an interrupted replacement is finished, and no other is under way."""
    path = path.resolve()
    if not path.parent.is_dir():
        yield path
        return
    with _locked(path.parent):
        _finish(path)
        yield path


def _finish(path: Path) -> None:
    """Take the steps that are left; none if nothing was interrupted."""
    if _next(path).is_dir():
        if path.is_dir():
            shutil.rmtree(_last(path), ignore_errors=True)
            path.rename(_last(path))
        _next(path).rename(path)
        flush(path.parent)
    if path.is_dir() and _last(path).is_dir():
        shutil.rmtree(_last(path), ignore_errors=True)


def _remove_parts(path: Path) -> None:
    """Remove what writers that were killed have left."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.part-*"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink()


def _next(path: Path) -> Path:
    return path.with_name(f".{path.name}.next")


def _last(path: Path) -> Path:
    return path.with_name(f".{path.name}.last")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder, where the platform and the file system have one."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # some network file systems refuse
            pass
        yield
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Have a file or folder on the disk before anything that comes later."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
