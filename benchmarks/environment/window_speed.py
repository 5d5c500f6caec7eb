"""Speed of the window: drawing alone, deciding and drawing, as a page, and while training.

    python -m benchmarks.environment.window_speed RUN

Without a screen, SDL's dummy driver stands in for one (SDL_VIDEODRIVER=dummy).
"""

import http.client
import json
import platform
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import urlsplit

import numpy as np
import torch
import tyro
from rich.console import Console

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.metrics import RunLogger
from benchmarks.engine.jobs import write_record
from robot_room.app import command_line
from robot_room.app.runs.loading import loaded
from robot_room.app.watching.display import view
from robot_room.app.watching.live import Spectator, live
from robot_room.app.watching.page import Page
from robot_room.app.watching.session import Session
from robot_room.app.watching.value_map import CELLS
from robot_room.drawing import draw
from robot_room.panels import SIZE
from robot_room.viewer import Viewer

QUIT = {"events": [{"kind": "press", "key": "q"}]}


@dataclass
class Window:
    """Measure and write the raw times."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's directory, made by `train`."""
    frames: int = 200
    """Number of pictures to time."""
    rounds: int = 5
    """Number of training runs to time with and without a window, alternating; 0: none."""
    env_steps: int = 200
    """Environment steps of each training run."""
    out: Path = Path("benchmarks/results/page.json")
    """File for the raw times."""


def think_and_show(config: Window) -> tuple[list[float], list[float], list[float]]:
    """CPU time, in seconds, of drawing, of deciding, inspecting and showing, and without showing."""
    agent, spec, _ = loaded(config.run, None, "{}", False, "cpu")
    viewer, session = Viewer(SIZE, 0, "speed"), Session(agent, spec, 0)
    session.explore(CELLS)
    drawing, whole, deciding = [], [], []
    for _ in range(config.frames):
        began = time.process_time()
        session.step()
        deciding.append(time.process_time() - began)
        shown = view(session)
        viewer.show(shown)
        whole.append(time.process_time() - began)
        began = time.process_time()
        draw(shown, SIZE)
        drawing.append(time.process_time() - began)
    viewer.close()
    session.close()
    return drawing, whole, deciding


def serve(config: Window) -> tuple[list[float], float]:
    """Seconds between two pictures of a paused page, for a client on this machine that only reads them.

    Also, seconds of CPU time for a picture, of this process, which is server and client; on a busy
    machine they tell more.
    """
    agent, spec, _ = loaded(config.run, None, "{}", False, "cpu")
    session, page, arrivals = Session(agent, spec, 0), Page("speed", 1000), []
    session.explore(CELLS)
    where = urlsplit(page.address)
    wish = json.dumps({"width": SIZE[0], "height": SIZE[1], "scale": 1.0})

    def look() -> None:
        client = http.client.HTTPConnection(str(where.hostname), where.port or 0)
        for _ in range(config.frames + 1):
            client.request("POST", f"/frame?{where.query}", wish)
            client.getresponse().read()
            arrivals.append(time.perf_counter())
        client.request("POST", f"/frame?{where.query}", json.dumps(json.loads(wish) | QUIT))
        client.getresponse().read()
        client.close()

    session.chosen.paused = True
    client, began = threading.Thread(target=look), time.process_time()
    client.start()
    live(session, page)
    client.join()
    session.close()
    return np.diff(arrivals).tolist(), (time.process_time() - began) / len(arrivals)


def learn(config: Window, watched: bool) -> float:
    """Seconds of a training, watched or not."""
    with TemporaryDirectory() as folder:
        agent = Agent("RobotRoom-v0", AgentConfig(), seed=0, device="cpu")
        viewer = Viewer(SIZE, 0, "learning") if watched else None
        began = time.perf_counter()
        with RunLogger(Path(folder)) as log, closing(Spectator(agent, log, viewer)) as spectator:
            agent.learn(config.env_steps, [spectator] if watched else [])
            return time.perf_counter() - began


def main(config: Window) -> None:
    """Run the benchmark."""
    torch.set_num_threads(1)
    drawing, whole, deciding = think_and_show(config)
    alone, watched = [], []
    for _ in range(config.rounds):
        alone.append(learn(config, watched=False))
        watched.append(learn(config, watched=True))
    page, page_cpu = serve(config)
    raw = {"drawing, CPU": drawing, "frame, CPU": whole, "decision, CPU": deciding}
    raw |= {"page": page, "page, CPU": [page_cpu]}
    raw |= {"learning": alone, "learning watched": watched}
    record = {name: [round(value, 5) for value in values] for name, values in raw.items()}
    write_record(config.out, record | {"size": SIZE, "machine": platform.machine()})
    console = Console()
    console.print(f"CPU time of drawing            {1000 * np.median(drawing):.1f} ms")
    console.print(f"of deciding and inspecting     {1000 * np.median(deciding):.1f} ms")
    console.print(f"of both, shown in a window     {1000 * np.median(whole):.1f} ms")
    console.print(f"of a picture of the page       {1000 * page_cpu:.1f} ms")
    console.print(f"the page, paused               {len(page) / sum(page):.0f} pictures a second")
    if config.rounds == 0:
        return
    ratios = np.array(watched) / np.array(alone)
    console.print(
        f"learning while watched   {np.median(ratios):.3f} times as long "
        f"({ratios.min():.3f} to {ratios.max():.3f})"
    )


if __name__ == "__main__":
    command_line.run(Window, main)
