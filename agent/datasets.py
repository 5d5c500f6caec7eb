"""Reading of episodes from Minari datasets.

A dataset may come from a stranger, so its two files are read here and not by Minari, which makes the
environment that a dataset names where the dataset lacks a space. Nothing in it is imported or called,
and memory is taken only for what the files hold.
"""

import inspect
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import msgspec
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from agent.actions import ActionSpace, action_size, unscale_actions
from agent.atomic import settled_directory
from agent.checkpoint import MALFORMED, Whole, converted, require_regular
from agent.replay import Episode, checked_episode


class SavedDataset(msgspec.Struct, kw_only=True):
    """metadata.json of a dataset."""

    total_episodes: Whole
    total_steps: Whole
    data_format: Literal["hdf5"]
    observation_space: str
    action_space: str
    env_spec: str | None = None
    algorithm_name: str | None = None
    jpeg_encoding: bool = True


def load_episodes(
    dataset_id: str, env_spec: EnvSpec | None, observations: gym.spaces.Box, actions: ActionSpace
) -> Iterator[Episode]:
    """Frames, actions scaled to [−1, 1] and rewards, read lazily from disk.

    Args:
        dataset_id: the Minari id; looked up in MINARI_DATASETS_PATH or ~/.minari/datasets.
        env_spec: the environment it must come from; not checked if the dataset has no spec. Arguments
            that no frame shows, as those that only add to `info`, may differ.
        observations: the agent's observation space.
        actions: the agent's action space.

    Raises:
        ValueError: Minari is missing, there is no such dataset, it is from another environment, or it
            is damaged; the latter may be found out only while it is read.
    """
    try:
        import minari
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise ValueError(
            f"dataset: got {dataset_id!r}, allowed: only with Minari, pip install 'robot-room[data]'"
        ) from error
    with settled_directory(Path(get_dataset_path(dataset_id))) as folder:
        if not (folder / "data").is_dir():
            raise ValueError(
                f"dataset: got {dataset_id!r}, allowed: one of {sorted(minari.list_local_datasets())}; "
                "record one with robot-room collect, or minari download"
            )
    data = folder / "data"
    metadata = read_metadata(data)
    spaces = metadata.observation_space, metadata.action_space
    if not all(_is_space(*pair) for pair in zip(spaces, (observations, actions), strict=True)):
        got = " and ".join(f"{space:.100}" for space in spaces)
        raise ValueError(
            f"dataset: got {dataset_id!r} with spaces {got}, allowed: {(observations, actions)}"
        )
    if metadata.env_spec is not None:
        recorded = recorded_environment(data, metadata)
        wanted = None if env_spec is None else (env_spec.id, _as_read(env_spec.kwargs))
        if env_spec is None or wanted is None or _seen(recorded, env_spec) != _seen(wanted, env_spec):
            raise ValueError(
                f"dataset: got one of {recorded}, allowed: one of the environment that is learned, "
                f"{wanted}"
            )

    def episodes() -> Iterator[Episode]:
        shape, size = observations.shape, action_size(actions)
        with opened(data) as file:
            for number in range(metadata.total_episodes):
                with _named(data, number):
                    jpeg, discrete = metadata.jpeg_encoding, not isinstance(actions, gym.spaces.Box)
                    found = read_episode(file, number, observations, jpeg, discrete)
                    frames, taken, rewards = found
                    terminated = read_termination(file, number)
                    scaled = unscale_actions(actions, taken)
                    episode = Episode(
                        list(frames), list(scaled), rewards.tolist(), terminated=terminated
                    )
                    yield checked_episode(episode, shape, size)

    return episodes()


def read_metadata(data: Path) -> SavedDataset:
    """The metadata of the dataset in a folder `data`.

    Raises:
        ValueError: they are missing or damaged.
    """
    path = data / "metadata.json"
    try:
        return converted(path, json.loads(require_regular(path).read_bytes()), SavedDataset)
    except (OSError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: missing or damaged ({type(error).__name__}: {error})") from error


def recorded_environment(data: Path, metadata: SavedDataset) -> tuple[str, dict[str, Any]]:
    """The id and arguments of the environment that a dataset was recorded in.

    Raises:
        ValueError: they are damaged.
    """
    try:
        spec = json.loads(metadata.env_spec or "{}")
        name, arguments = spec["id"], spec["kwargs"]
        if isinstance(name, str) and isinstance(arguments, dict):
            return name, arguments
    except (ValueError, RecursionError, *MALFORMED):
        pass
    got = repr(metadata.env_spec)
    raise ValueError(f"{data / 'metadata.json'}: env_spec: got {got:.200}, allowed: a spec as JSON")


@contextmanager
def opened(data: Path) -> Iterator[Any]:
    """The file of the episodes in a folder `data`, as `h5py.File`.

    Raises:
        ValueError: it is missing or damaged.
    """
    import h5py

    path = data / "main_data.hdf5"
    try:
        file = h5py.File(require_regular(path), "r")
    except (OSError, *MALFORMED) as error:
        raise ValueError(f"{path}: missing or damaged ({type(error).__name__}: {error})") from error
    with file:
        yield file


def read_episode(
    file: Any, number: int, space: gym.Space[Any], jpeg: bool, discrete: bool = False
) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """The observations (arrays, nested as their space is), actions and rewards of an episode.

    Raises:
        ValueError, LookupError, TypeError, OSError, RuntimeError: it is missing or damaged.
    """
    group = _child(file, f"episode_{number}")
    actions = _read(group, "actions", 1 if discrete else 2, "iu" if discrete else "fiu")
    rewards = _read(group, "rewards", 1, "fiu")
    if not len(actions) == len(rewards):
        counts = f"{len(actions)} actions, {len(rewards)} rewards"
        raise ValueError(f"got {counts}, allowed: as many rewards as actions")
    return _observations(group, "observations", space, jpeg, len(rewards) + 1), actions, rewards


def read_termination(file: Any, number: int) -> bool:
    """Whether an episode terminated, or was cut off.

    Raises:
        ValueError, LookupError, TypeError, OSError, RuntimeError: that is missing or damaged.
    """
    terminations = _read(_child(file, f"episode_{number}"), "terminations", 1, "b")
    return bool(len(terminations) and terminations[-1])


def read_success(file: Any, number: int) -> NDArray[np.bool_] | None:
    """Whether an episode was at its goal at each step; None if that was not recorded.

    Raises:
        ValueError, LookupError, TypeError, OSError, RuntimeError: it is damaged.
    """
    group = _child(file, f"episode_{number}")
    if "infos" not in group or "is_success" not in _child(group, "infos"):
        return None
    return _read(group["infos"], "is_success", 1, "b")


def _observations(group: Any, name: str, space: gym.Space[Any], jpeg: bool, count: int) -> Any:
    """As many observations as `count`, of a Box, or of a Dict of such."""
    from minari.dataset.minari_storage import is_image_space

    if isinstance(space, gym.spaces.Dict):
        inner = _child(group, name)
        return {key: _observations(inner, key, part, jpeg, count) for key, part in space.items()}
    shape = space.shape or ()
    if jpeg and is_image_space(space):
        found = np.stack([_decoded(image, shape) for image in _read(group, name, None, "u")])
    else:
        found = _read(group, name, 1 + len(shape), np.dtype(space.dtype).kind)
    if len(found) != count:
        raise ValueError(f"{name}: got {len(found)}, allowed: one more than rewards, {count}")
    return found


@contextmanager
def _named(data: Path, number: int) -> Iterator[None]:
    """Say where an error came from."""
    try:
        yield
    except (ValueError, OSError, EOFError, *MALFORMED) as error:
        problem = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{data / 'main_data.hdf5'}: episode_{number}: {problem}") from error


def _child(group: Any, name: str) -> Any:
    """A member of a group, which lies in this file itself."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name}: got nothing or a link, allowed: an entry of this file")
    return group[name]


def _read(group: Any, name: str, dimensions: int | None, kinds: str) -> NDArray[Any]:
    """A dataset, which must be as long as the space that it has in the file."""
    import h5py

    found = _child(group, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name}: got a group, allowed: an array")
    lists = h5py.check_vlen_dtype(found.dtype) == np.uint8  # images of several sizes
    if dimensions is None:
        dimensions = 1 if lists else 2
    good = found.ndim == dimensions and (found.dtype.kind in kinds or (lists and dimensions == 1))
    if not good or found.external or found.is_virtual:
        raise ValueError(f"{name}: got {found.dtype} {found.shape}, allowed: {dimensions} dimensions")
    if found.id.get_create_plist().get_nfilters() or found.id.get_storage_size() < found.nbytes:
        raise ValueError(
            f"{name}: got {found.nbytes} bytes compressed or missing, allowed: all of them"
        )
    return found[()]


def _decoded(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A JPEG's pixels, whose number is looked at before it is decoded."""
    from PIL import Image

    opened = Image.open(io.BytesIO(image.tobytes()), formats=["JPEG"])
    if (opened.height, opened.width) != shape[:2]:
        got = f"an image of {opened.height} × {opened.width}"
        raise ValueError(f"observations: got {got}, allowed: {shape[0]} × {shape[1]}")
    return np.asarray(opened)


def _is_space(saved: str, space: ActionSpace) -> bool:
    """Whether a space in metadata.json is this one."""
    try:
        found = json.loads(saved)
        if isinstance(space, gym.spaces.Discrete):
            return found == {"type": "Discrete", "dtype": str(space.dtype), **_extent(space)}
        same = found["type"] == "Box" and found["dtype"] == str(space.dtype)
        return same and all(
            np.array_equal(np.array(found[name], space.dtype), getattr(space, name))
            for name in ("low", "high")
        )
    except (ValueError, RecursionError, *MALFORMED):
        return False


def _extent(space: gym.spaces.Discrete) -> dict[str, int]:
    return {"start": int(space.start), "n": int(space.n)}


def _as_read(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a file gives them back: tuples and arrays are lists."""
    return json.loads(json.dumps(arguments, default=lambda x: getattr(x, "tolist", x.__repr__)()))


def _seen(environment: tuple[str, dict[str, Any]], spec: EnvSpec) -> tuple[str, dict[str, Any]]:
    """An environment's id and those arguments that frames and rewards depend on, without defaults.

    The class of an environment lists the others in its metadata, as `unseen_arguments`.
    """
    name, arguments = environment
    creator = spec.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)  # of the agent's own environment, which has been made
    metadata = getattr(creator, "metadata", {})
    unseen = metadata.get("unseen_arguments", ()) if isinstance(metadata, dict) else ()
    parameters = inspect.signature(creator).parameters if callable(creator) else {}
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    kept = {key: value for key, value in arguments.items() if key not in ("render_mode", *unseen)}
    return name, {
        key: value for key, value in kept.items() if key not in defaults or defaults[key] != value
    }
