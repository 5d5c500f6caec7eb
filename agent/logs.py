"""Where records of numbers go: JSON lines, CSV, TensorBoard, the console, Weights & Biases.

A record is a dict from names with slashes, as stable-baselines3's, to numbers. Files are flushed at
each. A run that is resumed keeps the first records, up to its checkpoint, and goes on in the same
files: `kept` is how many that are.
"""

import csv
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from agent.atomic import replace_file

Record = Mapping[str, float]


class Log(Protocol):
    """A place for records."""

    def write(self, step: int, record: Record) -> None:
        """Add a record."""

    def flush(self) -> None:
        """Have everything on the disk."""

    def close(self) -> None:
        """Close files."""


class _File:
    """A file that is appended to."""

    def __init__(self, path: Path) -> None:
        self._file: IO[Any] = path.open("a", newline="")

    def flush(self) -> None:
        """Have everything on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines(_File):
    """`metrics.jsonl`: an object for each record."""

    def __init__(self, path: Path, kept: int) -> None:
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)[:kept]
            replace_file(path, "".join(lines).encode())
        super().__init__(path)

    def write(self, step: int, record: Record) -> None:
        """See `Log.write`."""
        self._file.write(json.dumps(dict(record)) + "\n")
        self._file.flush()

    @staticmethod
    def read(path: Path) -> list[dict[str, float]]:
        """The records of a file, up to one that was cut short or is damaged."""
        records: list[dict[str, float]] = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not isinstance(record, dict):
                break
            records.append(record)
        return records


class Csv(_File):
    """`metrics.csv`: a row for each record; it is written anew when a record has a new name."""

    def __init__(self, path: Path, kept: int) -> None:
        self._path, self._names = path, []
        if path.exists():
            self._rewrite(kept)
        super().__init__(path)

    def write(self, step: int, record: Record) -> None:
        """See `Log.write`."""
        if new := [name for name in record if name not in self._names]:
            self._file.close()
            self._rewrite(None, new)
            super().__init__(self._path)
        csv.writer(self._file).writerow([record.get(name, "") for name in self._names])
        self._file.flush()

    def _rewrite(self, kept: int | None, new: Sequence[str] = ()) -> None:
        """Write the first rows, or all, with the names that there are and new ones."""
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            self._names = [*(reader.fieldnames or ()), *new]
            rows = list(reader)[:kept]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self._names)
        writer.writerows([[row.get(name) or "" for name in self._names] for row in rows])
        replace_file(self._path, text.getvalue().encode() if self._names else b"")


class TensorBoard:
    """One file of TensorBoard's events.

    Args:
        folder: the folder of the file.
        kept: the records to keep; everything after them is removed.
        hyperparameters: shown in TensorBoard's table of runs.
    """

    def __init__(self, folder: Path, kept: int, hyperparameters: Mapping[str, Any]) -> None:
        found = sorted(folder.glob("events.out.tfevents.*"))
        path = found[0] if found else folder / f"events.out.tfevents.{int(time.time()):010d}.run"
        if found:
            contents, records = io.BytesIO(), 0
            writer = RecordWriter(contents)
            for event in (raw for file in found for raw in RawEventFileLoader(str(file)).Load()):
                records += any(
                    v.HasField("simple_value") for v in Event.FromString(event).summary.value
                )
                if records > kept:
                    break
                writer.write(event)
            replace_file(path, contents.getvalue())
            for file in found[1:]:
                file.unlink()
        self._file = path.open("ab")
        self._writer = RecordWriter(self._file)
        if not found:
            self._write(file_version="brain.Event:2")
            plain = {
                name: value if isinstance(value, bool | int | float | str) else str(value)
                for name, value in hyperparameters.items()
            }
            for summary in hparams(plain, {"rollout/ep_rew_mean": 0.0, "rollout/success_rate": 0.0})[
                :2
            ]:
                self._write(summary=summary)
            self._file.flush()

    def write(self, step: int, record: Record) -> None:
        """See `Log.write`."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items()]
        self._write(step=step, summary=Summary(value=values))
        self._file.flush()

    def add_image(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Add a picture (H, W, 3)."""
        png = imageio.imwrite("<bytes>", picture, extension=".png")
        height, width = picture.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._write(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def _write(self, **fields: Any) -> None:
        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def flush(self) -> None:
        """See `Log.flush`."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """See `Log.close`."""
        self._file.close()


class Console:
    """A table on standard output, as stable-baselines3's, after every `interval` records."""

    def __init__(self, interval: int) -> None:
        self._interval, self._records = interval, 0

    def write(self, step: int, record: Record) -> None:
        """See `Log.write`."""
        self._records += 1
        if self._records % self._interval == 0:
            print(table(record), flush=True)

    def flush(self) -> None:
        """There is nothing to do."""

    def close(self) -> None:
        """There is nothing to do."""


def table(record: Record) -> str:
    """A record as a table of text, in groups by the part of each name before the slash."""
    rows: list[tuple[str, str]] = []
    for name, value in sorted(record.items()):
        group, _, rest = name.rpartition("/")
        if (f"{group}/", "") not in rows:
            rows.append((f"{group}/", ""))
        rows.append((f"   {rest}", f"{value:.3g}" if isinstance(value, float) else str(value)))
    left, right = (max((len(row[side]) for row in rows), default=0) for side in (0, 1))
    line = "-" * (left + right + 7)
    return "\n".join([line, *(f"| {a:<{left}} | {b:<{right}} |" for a, b in rows), line])


class WeightsAndBiases:
    """A run of Weights & Biases, whose package `wandb` must be installed.

    Args:
        project: its project.
        folder: the run's folder, where its id is kept, so that it is gone on with; None: a new run.
        hyperparameters: shown as its configuration.
    """

    def __init__(self, project: str, folder: Path | None, hyperparameters: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - only where it is asked for

        options: dict[str, Any] = {"project": project, "config": dict(hyperparameters)}
        known = None if folder is None else folder / "wandb_id"
        if folder is not None:
            options["name"] = folder.name
        if known is not None and known.exists():
            options |= {"id": known.read_text().strip(), "resume": "allow"}
        self._run: Any = wandb.init(**options)
        if known is not None:
            replace_file(known, f"{self._run.id}\n".encode())

    def write(self, step: int, record: Record) -> None:
        """See `Log.write`."""
        self._run.log(dict(record), step=step)

    def flush(self) -> None:
        """Weights & Biases sends records by itself."""

    def close(self) -> None:
        """See `Log.close`."""
        self._run.finish()
