"""Checkpoints: directories that are written atomically and contain no pickles.

model.safetensors   parameters and buffers
config.json         format version, configs, spaces, counters, random states
optimizer.safetensors, replay.npz     optimiser state and replay, for resuming
"""

import json
import math
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from agent.atomic import replaced_directory, settled_directory

FORMAT_VERSION = 5
RENAMED_IN_5 = {
    "world_model": {"latents": "latent_dim", "width": "hidden_dim", "maps": "num_keypoints"},
    "training": {"rooms": "num_envs", "windows": "batch_size", "window_length": "sequence_length"},
    "denoiser_training": {"batch": "batch_size"},
}
"""Renamed fields of format 4, by section: old name to new name."""


MALFORMED = (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""Exceptions raised by contents that can be read, but belong to no such object."""


class Checkpoint(NamedTuple):
    """The contents of a checkpoint."""

    config: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    replay: dict[str, NDArray[np.generic]]


PLANNERS_IN_5 = {
    "ShootingConfig": "RandomShooting",
    "CEMConfig": "CEM",
    "ICEMConfig": "ICEM",
    "MPPIConfig": "MPPI",
}
"""Renamed planners of format 4: old name to new name."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`, atomically; see `agent.atomic`.

    Raises:
        ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        OSError: the disk is full, or cannot be written to. The old checkpoint is left unchanged.
    """
    if path.exists() and not (path / "config.json").is_file():
        raise ValueError(f"path: got {path}, which is not a checkpoint; allowed: a new name")
    with replaced_directory(path) as folder:
        save_file(checkpoint.model, folder / "model.safetensors")
        save_file(checkpoint.optimizer, folder / "optimizer.safetensors")
        np.savez(folder / "replay.npz", **checkpoint.replay)  # pyright: ignore[reportArgumentType]
        config = {"format_version": FORMAT_VERSION, **checkpoint.config}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def flat_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimiser's state per parameter, keyed "INDEX.NAME"; see `restore_state`."""
    return {
        f"{index}.{name}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def restore_state(optimizer: Optimizer, flat: dict[str, Tensor]) -> None:
    """Load a state from `flat_state` into an optimiser."""
    state = optimizer.state_dict()
    for key, value in flat.items():
        index, name = key.split(".")
        state["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(state)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: it does not exist, has another format version, or a file is missing or truncated.
    """
    with settled_directory(path) as folder:
        if not folder.is_dir():
            raise ValueError(f"path: got {path}, which is not a directory; allowed: a saved agent")
        return _read(folder)


def _read(path: Path) -> Checkpoint:
    name = "config.json"
    try:
        config = json.loads(_regular(path / name).read_text())
        if not isinstance(config, dict):
            raise ValueError(f"{path / name}: got {type(config).__name__}, allowed: a JSON object")
        version = config.get("format_version")
        if version == 4:
            config = _migrated(config)
        elif version != FORMAT_VERSION:
            raise ValueError(
                f"{path / name}: got format version {version}, allowed: 4, {FORMAT_VERSION}"
            )
        name = "model.safetensors"
        model = load_file(_regular(path / name))
        _require_finite(path / name, model)
        name = "optimizer.safetensors"
        optimizer = load_file(_regular(path / name))
        _require_finite(path / name, optimizer)
        name = "replay.npz"
        replay = _arrays(_regular(path / name))
    except (
        OSError,
        EOFError,
        RecursionError,
        SafetensorError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path / name}: missing, damaged or cut short ({problem})") from error
    return Checkpoint(config, model, optimizer, replay)


def _require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path}: {name}: got NaN or infinity, allowed: finite numbers")


def _regular(path: Path) -> Path:
    """The path of a file that ends: neither a device, nor a pipe, nor a link to one.

    Raises:
        OSError: it is something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    return path


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz file, whose sizes are checked before memory is taken for them.

    Raises:
        EOFError, zipfile.BadZipFile: it is damaged, or not as `save_checkpoint` writes it.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
                raise zipfile.BadZipFile(f"{entry.filename} is larger than the file")
            with archive.open(entry) as file:
                arrays[entry.filename.removesuffix(".npy")] = _array(file, entry.file_size)
    return arrays


def _array(file: IO[bytes], size: int) -> NDArray[np.generic]:
    """The array in an .npy file of `size` bytes."""
    try:
        read = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(file)]
        shape, transposed, dtype = read(file)
    except (KeyError, ValueError) as error:
        raise EOFError(f"not an array: {error}") from error
    count = math.prod(shape)
    if dtype.hasobject or min(shape, default=1) < 0 or file.tell() + count * dtype.itemsize != size:
        raise EOFError(f"an array {shape} of {dtype} in {size} bytes")
    values = np.frombuffer(file.read(), dtype, count)
    return values.reshape(shape, order="F" if transposed else "C")


def _migrated(config: dict[str, Any]) -> dict[str, Any]:
    """Migrate a format 4 configuration to format 5; missing fields are reported by the reader."""
    config = dict(config)
    if "prior_training" in config:
        config["denoiser_training"] = config.pop("prior_training")
    agent = config.get("agent")
    if isinstance(agent, dict) and isinstance(kind := agent.get("planner_type"), str):
        agent = config["agent"] = {**agent, "planner_type": PLANNERS_IN_5.get(kind, kind)}
    sections = [config] if not isinstance(agent, dict) else [config, dict(agent)]
    for section in sections:
        for name, renamed in RENAMED_IN_5.items():
            if isinstance(section.get(name), dict):
                section[name] = {renamed.get(k, k): v for k, v in section[name].items()}
    if len(sections) == 2:
        config["agent"] = sections[1]
    return config
