"""Checkpoints: directories that are written atomically and contain no pickles.

config.json         format version, configs, spaces, counters
model.safetensors   parameters and buffers
optimizer.safetensors, replay.npz, state.safetensors    optimiser, replay, and all other arrays: the
                    states of random generators and of an interrupted run; for resuming

A checkpoint of weights only, for sharing, has the first two files, and says so in config.json.
"""

import json
import math
import os
import re
import stat
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from agent.atomic import replaced_directory, settled_directory
from agent.random_states import packed

FORMAT_VERSION = 6
RENAMED_IN_5 = {
    "world_model": {"latents": "latent_dim", "width": "hidden_dim", "maps": "num_keypoints"},
    "training": {"rooms": "num_envs", "windows": "batch_size", "window_length": "sequence_length"},
    "denoiser_training": {"batch": "batch_size"},
}
"""Renamed fields of format 4, by section: old name to new name."""
PLANNERS_IN_5 = {
    "ShootingConfig": "RandomShooting",
    "CEMConfig": "CEM",
    "ICEMConfig": "ICEM",
    "MPPIConfig": "MPPI",
}
"""Renamed planners of format 4: old name to new name."""

MALFORMED = (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""Exceptions raised by contents that can be read, but belong to no such object."""

Arrays = dict[str, NDArray[np.generic]]
Whole = Annotated[int, Meta(ge=0, le=2**62)]
"""A counter or a size in a file."""
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A number in a file, neither NaN nor infinite."""
Settings = dict[str, bool | int | float | str | None]
"""Fields of a `Config` in a file; the `Config` itself checks them."""

Contents = TypeVar("Contents", bound=Struct)


class Checkpoint(NamedTuple, Generic[Contents]):
    """The contents of a checkpoint."""

    config: Contents
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    replay: Arrays
    state: Arrays
    weights_only: bool = False


def save_checkpoint(path: str | Path, checkpoint: Checkpoint[Any]) -> None:
    """Replace the checkpoint at `path`, atomically; see `agent.atomic`.

    With `weights_only`, optimiser, replay and state are left out, and parameters are rounded to half
    precision, of which loading makes float32 again.

    Raises:
        ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        OSError: the disk is full, or cannot be written to. The old checkpoint is left unchanged.
    """
    path = checked_path(path)
    if path.exists() and not (path / "config.json").is_file():
        raise ValueError(f"path: got {path}, which is not a checkpoint; allowed: a new name")
    state = {name: np.ascontiguousarray(array) for name, array in checkpoint.state.items()}
    model, few = checkpoint.model, checkpoint.weights_only
    if few:
        model = {
            name: value.half() if value.is_floating_point() else value for name, value in model.items()
        }
    with replaced_directory(path) as folder:
        try:
            save_file(model, folder / "model.safetensors")
            if not few:
                save_file(checkpoint.optimizer, folder / "optimizer.safetensors")
                safetensors_numpy.save_file(state, folder / "state.safetensors")
        except SafetensorError as error:  # which hides the operating system's
            raise OSError(str(error)) from error
        if not few:
            np.savez(folder / "replay.npz", **checkpoint.replay)  # pyright: ignore[reportArgumentType]
        config = {"format_version": FORMAT_VERSION, **({"weights_only": True} if few else {})}
        config |= msgspec.to_builtins(checkpoint.config)
        (folder / "config.json").write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")


def flat_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimiser's state per parameter, keyed "INDEX.NAME"; see `restore_state`."""
    return {
        f"{index}.{name}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def restore_state(optimizer: Optimizer, flat: dict[str, Tensor]) -> None:
    """Load a state from `flat_state` into an optimiser.

    Raises:
        ValueError: it is not a state of the optimiser's parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    for key, value in flat.items():
        index, _, name = key.partition(".")
        known = index.isdecimal() and int(index) < len(parameters)
        shape = () if name == "step" or not known else tuple(parameters[int(index)].shape)
        if not known or tuple(value.shape) != shape:
            got = f"{key} {tuple(value.shape)}"
            raise ValueError(f"optimizer.safetensors: got {got}, allowed: as the parameters")
        state["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(state)


def require_shapes(tensors: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse parameters of another model, which may be on the meta device, where it takes no memory.

    Raises:
        ValueError: the parameter's name, and both shapes.
    """
    for name, like in model.state_dict().items():
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != tuple(like.shape):
            allowed = f"{tuple(like.shape)}, as the settings in config.json say"
            raise ValueError(f"model.safetensors: {name}: got {got}, allowed: {allowed}")


def load_checkpoint(path: str | Path, contents: type[Contents]) -> Checkpoint[Contents]:
    """Read a checkpoint whose config.json is of the type `contents`.

    Raises:
        ValueError: it does not exist, has another format version, a file is missing or truncated, or
            a field of config.json has a value that is not allowed.
    """
    path = checked_path(path)
    with settled_directory(path) as folder:
        if not folder.is_dir():
            raise ValueError(f"path: got {path}, which is not a directory; allowed: a saved agent")
        return _read(folder, contents)


def _read(path: Path, contents: type[Contents]) -> Checkpoint[Contents]:
    name = "config.json"
    try:
        config = json.loads(require_regular(path / name).read_text(), parse_constant=_refuse_constant)
        if not isinstance(config, dict):
            raise ValueError(f"{path / name}: got {type(config).__name__}, allowed: a JSON object")
        version = config.get("format_version")
        if version not in (4, 5, FORMAT_VERSION) or isinstance(version, bool):
            raise ValueError(
                f"{path / name}: got format version {version}, allowed: 4, 5, {FORMAT_VERSION}"
            )
        few = config.pop("weights_only", False)
        if not isinstance(few, bool):
            raise ValueError(f"{path / name}: weights_only: got {few!r}, allowed: true or false")
        old: Arrays = {}
        if version != FORMAT_VERSION:
            config, old = _migrated(config)
        checked = converted(path / name, config, contents)
        name = "model.safetensors"
        model = _parameters(require_regular(path / name))
        _require_finite(path / name, model)
        if few:
            return Checkpoint(checked, model, {}, {}, {}, weights_only=True)
        name = "optimizer.safetensors"
        optimizer = _parameters(require_regular(path / name))
        _require_finite(path / name, optimizer)
        name = "replay.npz"
        replay = _arrays(require_regular(path / name))
        name = "state.safetensors"
        state = old if version != FORMAT_VERSION else _tensors(require_regular(path / name))
    except (
        OSError,
        EOFError,
        RecursionError,
        SafetensorError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        *MALFORMED,
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path / name}: missing, damaged or cut short ({problem})") from error
    return Checkpoint(checked, model, optimizer, replay, state)


def checked_path(path: Any) -> Path:
    """A path as such.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
        raise ValueError(f"path: got {path!r}, allowed: a path")
    return Path(path)


T = TypeVar("T")


def converted(source: Path | str, value: Any, kind: type[T]) -> T:
    """JSON that was read from a file as an object of a type that `msgspec` knows.

    Raises:
        ValueError: a field is missing or has a value that is not allowed.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        pattern = r"Expected (.+?)(?:, got .+?)?(?: - at `\$\.?(.*)`)?"
        said = re.fullmatch(pattern, str(error))
        if said is None:  # a field is missing, and it says where
            raise ValueError(f"{source}: {error}") from error
        allowed, place = said.groups()
        keys = re.findall(r"[^.\[\]]+", place or "")
        with suppress(LookupError, TypeError):
            for key in keys:
                value = value[int(key) if isinstance(value, list) else key]
        got = f"got {value!r:.200}, allowed: {allowed.replace('`', '')}"
        raise ValueError(f"{source}: {place or 'contents'}: {got}") from error


def _refuse_constant(name: str) -> float:
    raise ArithmeticError(f"got {name}, allowed: finite numbers")


def _parameters(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    They are read, not mapped: whoever shortens a mapped file kills the processes that use it, and the
    library keeps two small objects of each mapped tensor for ever.
    """
    return load_file(path, backend="pread")


def _tensors(path: Path) -> Arrays:
    """The arrays of a safetensors file."""
    return {name: np.array(array) for name, array in safetensors_numpy.load_file(path).items()}


def _require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path}: {name}: got NaN or infinity, allowed: finite numbers")


def require_regular(path: Path) -> Path:
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
        entries = archive.infolist()
        packed_up = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed_up or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise zipfile.BadZipFile("its arrays are larger than the file")
        for entry in entries:
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


def _migrated(config: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """A configuration of format 4 or 5 as one of format 6, and the arrays that it held itself.

    Missing fields are reported by the reader.
    """
    config = dict(config)
    arrays: Arrays = {}
    for name, state in config.pop("generators", {}).items():
        array = packed(state) if isinstance(state, dict) else np.array(state, np.uint8)
        arrays[f"generators.{name}"] = array
    if config["format_version"] == 5:
        return config, arrays
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
    return config, arrays
