"""Agents that others have trained: shipped here, in a directory, or on the Hugging Face Hub.

Nothing here needs the network but `located("USER/NAME")` and `uploaded`, and nothing that is downloaded
is executed: `Agent.load` reads the two files of a checkpoint as it reads any other stranger's.
"""

import json
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("pretrained")
"""A checkpoint directory for each environment id."""
FILES = ("config.json", "model.safetensors")
RESTORER = "restorer"
"""The folder of a restorer, in an agent's."""
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
FILMS = (".gif", ".mp4")


def shipped() -> list[str]:
    """The ids of the environments for which this package has an agent."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))


def located(name: str | Path) -> Path:
    """The checkpoint directory of an agent; see `Agent.from_pretrained`.

    Raises:
        ValueError: there is no such agent.
        ImportError: huggingface_hub is missing.
    """
    if isinstance(name, Path) or (name and Path(name).is_dir()):  # Path("") is the current directory
        return Path(name)
    known = name.rpartition(":")[2]  # "robot_room:RobotRoom-v0" is an id, too
    if known in shipped():
        return SHIPPED / known
    if REPO.fullmatch(name):
        return _downloaded(name)
    allowed = f"one of {shipped()}, a directory, or USER/NAME on the Hugging Face Hub"
    raise ValueError(f"name: got {name!r}, allowed: {allowed}")


def _downloaded(repo_id: str) -> Path:
    """The files of a checkpoint on the Hub, in the Hub's own cache."""
    hub = _hub()
    try:
        wanted = [*FILES, *(f"{RESTORER}/{name}" for name in FILES)]
        return Path(hub.snapshot_download(repo_id, allow_patterns=wanted))
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"name: got {repo_id!r}, which cannot be had from the Hub: {first}") from error


def uploaded(
    repo_id: str,
    folder: Path,
    card: str,
    film: Path | None,
    restorer: Path | None,
    private: bool | None,
    token: str | None,
) -> str:
    """Upload a checkpoint with its card, film and restorer; the repository's address.

    Raises:
        ValueError: the name is not one, the restorer is none, or the Hub refuses.
        ImportError: huggingface_hub is missing.
    """
    if restorer is not None and not all((restorer / name).is_file() for name in FILES):
        allowed = "a directory written by Restoration.save_pretrained"
        raise ValueError(f"restorer: got {restorer}, allowed: {allowed}")
    hub = _hub()
    (folder / "README.md").write_text(card, encoding="utf-8")
    if film is not None:
        shutil.copyfile(film, folder / f"replay{film.suffix}")
    if restorer is not None:
        (folder / RESTORER).mkdir()
        for name in FILES:
            shutil.copyfile(restorer / name, folder / RESTORER / name)
    api = hub.HfApi(token=token, library_name="robot-room")
    try:
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload an agent")
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"repo_id: got {repo_id!r}, which the Hub refuses: {first}") from error
    return str(address)


def model_card(
    repo_id: str,
    env_id: str,
    env_steps: int,
    seed: int,
    metrics: Mapping[str, float],
    film: Path | None = None,
    notes: str = "",
) -> str:
    """A model card: the Hub's metadata, what the agent is, its results, and how to use it.

    Args:
        repo_id: what `Agent.from_pretrained` takes.
        env_id: the environment.
        env_steps: environment steps that it has learned from.
        seed: its training seed.
        metrics: results by name.
        film: a .gif or .mp4, to be uploaded as `replay.gif` or `replay.mp4`.
        notes: how the results were measured.

    Raises:
        ValueError: the name is not "USER/NAME" or an id, a metric is no number, or `film` is no film.
    """
    if not REPO.fullmatch(f"user/{repo_id}" if "/" not in repo_id else repo_id):
        raise ValueError(f"repo_id: got {repo_id!r}, allowed: USER/NAME")
    if film is not None and (film.suffix not in FILMS or not film.is_file()):
        raise ValueError(f"film: got {film}, allowed: a file that ends in {' or '.join(FILMS)}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"metrics: {name}: got {value!r}, allowed: a number")
    name = env_id.rpartition(":")[2]
    package = env_id.rpartition(":")[0]
    imported = f"import {package}  # registers {name}\n" if package else ""
    rows = "".join(f"| {key.replace('_', ' ')} | {value:g} |\n" for key, value in metrics.items())
    results = f"## Results\n\n| figure | value |\n|---|---|\n{rows}\n{notes}\n" if rows else ""
    shown = f"![The agent acting](replay{film.suffix})\n\n" if film and film.suffix == ".gif" else ""
    return f"""---
{_metadata(repo_id, name, metrics)}
---

# A world-model agent for {name}

{shown}A sequential variational autoencoder of frames and rewards that plans with the improved
cross-entropy method. It has learned from {env_steps} environment steps of `{name}` (training seed
{seed}), with [RobotRoom](https://pypi.org/project/robot-room/) {metadata.version("robot-room")}.

## Use

```python
{imported}from agent import Agent

agent = Agent.from_pretrained("{repo_id}")
action, state = agent.predict(observation, state=None)
```

Loading it runs no code from its files, `config.json` and `model.safetensors` (half precision).

{results}"""


def _metadata(repo_id: str, env_id: str, metrics: Mapping[str, float]) -> str:
    """What the Hub reads: YAML, of which JSON is a part."""
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    result = {
        "task": task,
        "dataset": {"type": env_id, "name": env_id},
        "metrics": [{"type": key, "name": key, "value": value} for key, value in metrics.items()],
    }
    fields: dict[str, Any] = {
        "library_name": "robot-room",
        "license": "mit",
        "pipeline_tag": "reinforcement-learning",
        "tags": [env_id, "reinforcement-learning", "world-model", "gymnasium", "robot-room"],
    }
    if metrics:
        fields["model-index"] = [{"name": repo_id.rpartition("/")[2], "results": [result]}]
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in fields.items())


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            "The Hugging Face Hub needs huggingface_hub: pip install 'robot-room[hub]'."
        ) from error
    return huggingface_hub
