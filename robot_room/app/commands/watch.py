"""Show a trained agent's camera, belief and plan, in a window in which you can disturb it."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

import robot_room  # noqa: F401 - registers its environments
from robot_room.app.command_line import require_writable
from robot_room.app.runs.loading import existing_folder, loaded
from robot_room.app.watching.live import live, record
from robot_room.app.watching.page import served
from robot_room.app.watching.session import Session
from robot_room.panels import SIZE
from robot_room.viewer import Viewer

FIRST = Path("RobotRoomRandomGoal-v0")
"""The shipped agent that is shown if no other is named."""


@dataclass
class Watch:
    """Open a window, which lists its keys, or record to a file without a screen."""

    run: Annotated[Path, tyro.conf.Positional] = FIRST
    """A run's directory, made by `train`, or an agent that is shipped with the package."""
    record: Path | None = None
    """A .gif or .mp4 file to write instead of opening a window."""
    web: bool = False
    """Serve the window as a page for a browser, on the loopback address; its address is printed."""
    port: int = 0
    """Port of the page; 0: any that is free."""
    env_id: str | None = None
    """Another environment with the same spaces; None: the one it was trained in."""
    env_kwargs: str = "{}"
    """Arguments to change as JSON, for example '{"corruption": "occluder", "severity": 3}'."""
    restorer: Annotated[bool, tyro.conf.arg(aliases=["--prior"])] = False
    """Start with the restorer and its gate switched on."""
    episodes: int = 3
    """Number of episodes to record."""
    seed: int = 3_000_000
    """Episode i starts from reset(seed=SEED + i)."""
    frames_per_second: int = 30
    """Frame rate of the window."""
    steps_per_second: int = 8
    """Environment steps per second of a recording; 10 is real time."""
    size: tuple[int, int] = SIZE
    """Width and height of the window in points, or of the recording in pixels."""


def main(config: Watch) -> None:
    """Run the command."""
    torch.set_num_threads(1)
    if config.record is not None and config.record.suffix not in (".gif", ".mp4"):
        raise ValueError(f"record: got {config.record}, allowed: a name that ends in .gif or .mp4")
    if config.web and config.record is not None:
        raise ValueError("web, record: got both, allowed: one of them")
    if not 0 <= config.port < 65536:
        raise ValueError(f"port: got {config.port}, allowed: 0 to 65535")
    for name in ("episodes", "frames_per_second", "steps_per_second"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: got {getattr(config, name)}, allowed: at least 1")
    if min(config.size) < 200:
        raise ValueError(f"size: got {config.size}, allowed: at least 200 pixels each")
    if config.record is not None:
        require_writable("record", config.record)
    notice = ""
    try:
        wanted = config.restorer or existing_folder(config.run, "restorer") is not None
        agent, spec, restoration = loaded(config.run, config.env_id, config.env_kwargs, wanted)
    except ValueError as error:  # an outdated restorer is an error only if it was asked for
        if config.restorer:
            raise
        agent, spec, restoration = loaded(config.run, config.env_id, config.env_kwargs, False)
        notice = str(error)
    session = Session(agent, spec, config.seed, restoration, config.restorer)
    session.notice = notice
    if config.record is not None:
        record(session, config.record, config.episodes, config.size, config.steps_per_second)
        session.close()
        return
    title = f"{agent.env_id}: {config.run}"
    if config.web:
        screen = served(title, config.frames_per_second, config.port)
    else:
        screen = Viewer(config.size, config.frames_per_second, title)
    with closing(session):
        live(session, screen, (config.run if config.run.exists() else Path()) / "stills")
