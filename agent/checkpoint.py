"""Checkpoints: directories that are written atomically and contain no pickles.

model.safetensors   parameters and buffers
config.json         format version, configs, spaces, counters, random states
optimizer.safetensors, replay.npz     optimiser state and replay, for resuming
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
        config = json.loads((path / name).read_text())
        version = config.get("format_version")
        if version == 4:
            config = _migrated(config)
        elif version != FORMAT_VERSION:
            raise ValueError(
                f"{path / name}: got format version {version}, allowed: 4, {FORMAT_VERSION}"
            )
        name = "model.safetensors"
        model = load_file(path / name)
        name = "optimizer.safetensors"
        optimizer = load_file(path / name)
        name = "replay.npz"
        with (path / name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            replay = {key: arrays[key] for key in arrays.files}
    except (
        OSError,
        EOFError,
        SafetensorError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path / name}: missing, damaged or cut short ({problem})") from error
    return Checkpoint(config, model, optimizer, replay)


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
