"""A session in a window, on its own or while the agent learns; and its pictures in TensorBoard."""

import time
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from agent import Agent
from agent.training import Progress
from benchmarks.session import SPEEDS, Session
from robot_room.panels import draw, to_picture
from robot_room.viewer import Viewer

SHARE = 0.07  # of the time of learning, that watching it may take
PICTURES, PICTURE_SIZE = 10, (840, 600)  # in TensorBoard
LIVE_SEED = 4_000_000  # the starts that are watched while learning


def frame(session: Session, viewer: Viewer) -> bool:
    """Show a session once and do what its user asks for; False if the window is to be closed."""
    if not viewer.show(session.view()) or session.closed:
        return False
    session.press(viewer.keys)
    session.drag(viewer.pointer())
    if session.wants_still:
        session.wants_still = False
        path = Path(f"still-{time.strftime('%m%d-%H%M%S')}.png")
        imageio.imwrite(path, viewer.picture())
        session.notice = f"wrote {path}"
    return not session.closed


def live(session: Session, viewer: Viewer) -> None:
    """Go on until the window is closed."""
    last = time.perf_counter()
    while frame(session, viewer):
        if not session.paused and time.perf_counter() - last >= 1 / SPEEDS[session.speed]:
            last = time.perf_counter()
            session.step()
    viewer.close()


class Spectator:
    """A callback of `Agent.learn`: a window that takes at most so much of the time, and pictures.

    What is learned does not depend on it: it acts in a room of its own, with its own randomness.
    Closing the window ends the watching, not the learning.

    Args:
        agent: that learns.
        directory: of the run; pictures go to its `tensorboard`.
        viewer: the window; None: pictures only.
    """

    def __init__(self, agent: Agent, directory: Path, viewer: Viewer | None = None) -> None:
        self.agent, self.viewer = agent, viewer
        self._writer = SummaryWriter(str(directory / "tensorboard"))
        self._session: Session | None = None
        self._began, self._spent, self._drawn = time.perf_counter(), 0.0, 0

    def __call__(self, progress: Progress) -> None:
        """Look, if there is time."""
        if progress.num_updates == 0:
            return
        done, total = progress.num_timesteps, progress.target_timesteps
        if progress.target_updates is not None:
            done, total = progress.num_updates, progress.target_updates
        due = int(PICTURES * done / max(total, 1))
        now = time.perf_counter()
        if due > self._drawn:
            self._drawn = due
            self._advance()
            assert self._session is not None
            picture = to_picture(draw(replace(self._session.view(), help=()), PICTURE_SIZE))
            self._writer.add_image("mind", picture, progress.num_timesteps, dataformats="HWC")
        elif self.viewer is not None and self._spent <= SHARE * (now - self._began):
            self._advance()
            assert self._session is not None
            if not frame(self._session, self.viewer):
                self.viewer.close()
                self.viewer = None
        else:
            return
        self._spent += time.perf_counter() - now

    def _advance(self) -> None:
        if self._session is None:
            assert self.agent.env_spec is not None
            self._session = Session(self.agent, self.agent.env_spec, LIVE_SEED)
        elif not self._session.paused:
            self._session.step()

    def close(self) -> None:
        """Close window and files."""
        self._writer.close()
        if self.viewer is not None:
            self.viewer.close()
        if self._session is not None:
            self._session.close()


def record(session: Session, path: Path, episodes: int, size: tuple[int, int], rate: float) -> None:
    """Write whole episodes as a GIF or MP4, a picture for each step and the last one longer.

    Args:
        session: that is recorded.
        path: ends in .gif or .mp4.
        episodes: how many.
        size: of the pictures, in pixels.
        rate: steps a second.
    """
    pictures = []
    while session.episode < episodes:
        view = replace(session.view(), help=())  # nobody has keys to press
        pictures.append(to_picture(draw(view, size)))
        pictures += pictures[-1:] * (4 if session.over else 0)  # so that one sees it arrive
        session.step()
    if path.suffix == ".gif":
        imageio.imwrite(path, np.stack(pictures), duration=1000 / rate, loop=0)
    else:
        imageio.imwrite(path, np.stack(pictures), fps=rate, macro_block_size=2)
