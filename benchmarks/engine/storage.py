"""Files that several machines share: a mounted folder, or an object store.

A place is a path or a URI (`s3://bucket/folder`, `gs://…`, `file:///…`), read and written with the file
systems of pyarrow, as Ray does in its own `storage_path`.
"""

import importlib
import uuid
from pathlib import Path
from typing import Any


def place(folder: str, path: Path) -> str:
    """Where a job's file lies in a shared folder: its name and that of its own folder."""
    return "/".join((folder.rstrip("/"), *path.parts[-2:]))


def put(where: str, data: bytes) -> None:
    """Write a file as a whole."""
    files, path = _opened(where)
    if files.type_name != "local":  # an object appears when it is complete
        with files.open_output_stream(path) as stream:
            stream.write(data)
        return
    files.create_dir(str(Path(path).parent), recursive=True)
    partial = f"{path}.{uuid.uuid4().hex}.part"
    with files.open_output_stream(partial) as stream:
        stream.write(data)
    files.move(partial, path)


def get(where: str) -> bytes | None:
    """A file's content; None if there is no such file."""
    files, path = _opened(where)
    try:
        with files.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def require_writable(folder: str) -> None:
    """Write a small file and remove it.

    Raises:
        ValueError: that fails.
        ImportError: pyarrow is missing.
    """
    probe = f"{folder.rstrip('/')}/{uuid.uuid4().hex}"
    try:
        put(probe, b"")
        files, path = _opened(probe)
        files.delete_file(path)
    except (OSError, ValueError) as error:
        allowed = "a folder that can be written to, or a URI of one (s3://bucket/folder)"
        raise ValueError(f"storage: got {folder!r} ({error}), allowed: {allowed}") from error


def _opened(where: str) -> tuple[Any, str]:
    try:
        fs: Any = importlib.import_module("pyarrow.fs")
    except ImportError as error:
        raise ImportError("storage: pyarrow is missing; pip install 'robot-room[ray]'") from error
    return fs.FileSystem.from_uri(where if "://" in where else str(Path(where).resolve()))
