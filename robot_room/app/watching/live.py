"""A session in a window, on its own or while the agent learns; and its pictures in TensorBoard."""

import time
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
from imageio.v2 import get_writer
from torch.utils.tensorboard import SummaryWriter

from agent import Agent
from agent.learner import Progress
from robot_room.app.watching.session import SPEEDS, Session
from robot_room.panels import draw, to_picture
from robot_room.viewer import Viewer

SHARE = 0.07  # of the time of learning, that watching it may take
PICTURES, PICTURE_STEPS, PICTURE_SIZE = 10, 3, (840, 600)  # in TensorBoard
LIVE_SEED = 4_000_000  # the starts that are watched while learning


def frame(session: Session, viewer: Viewer) -> bool:
    """Show a session once and do what its user asks for; False if the window is to be closed."""
    if not viewer.show(session.view()) or session.closed:
        return False
    session.press(viewer.keys)
    session.drag(viewer.pointer())
    if session.wants_still:
        session.wants_still = False
        path = Path(f"still-{time.strftime('%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}.png")
        try:
            imageio.imwrite(path, viewer.picture())
            session.notice = f"wrote {path}"
        except OSError as error:
            session.notice = f"no still: {error}"
    return not session.closed


def live(session: Session, viewer: Viewer) -> None:
    """Go on until the window is closed."""
    last, owed = time.perf_counter(), 0.0
    while frame(session, viewer):
        now = time.perf_counter()
        owed, last = min(owed + (now - last) * SPEEDS[session.chosen.speed], 10.0), now
        if session.chosen.paused:
            owed = 0.0
        while owed >= 1 and time.perf_counter() - now < 1 / 40:  # more would make the window jerk
            session.step()
            owed -= 1
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
        """Look, if there is time. What goes wrong here is said, and does not end the learning."""
        if progress.num_updates == 0:
            return
        done, total = progress.num_timesteps, progress.target_timesteps
        if progress.target_updates is not None:
            done, total = progress.num_updates, progress.target_updates
        now = time.perf_counter()
        try:
            if (due := int(PICTURES * done / max(total, 1))) > self._drawn:
                self._drawn = due
                self._draw(progress.num_timesteps)
            elif self.viewer is not None and self._spent <= SHARE * (now - self._began):
                self._show(self.viewer)
            else:
                return
        except Exception as error:
            warnings.warn(f"no more pictures of this training: {error}", RuntimeWarning, stacklevel=2)
            self.viewer, self._drawn = None, PICTURES
        self._spent += time.perf_counter() - now

    def _draw(self, step: int) -> None:
        """A picture of an episode's third step for TensorBoard, always of the same start."""
        with closing(self._new_session()) as session:
            for _ in range(PICTURE_STEPS):
                session.step()
            picture = to_picture(draw(replace(session.view(), help=()), PICTURE_SIZE))
        self._writer.add_image("mind", picture, step, dataformats="HWC")

    def _show(self, viewer: Viewer) -> None:
        if self._session is None:
            self._session = self._new_session()
        elif not self._session.chosen.paused:
            self._session.step()
        if not frame(self._session, viewer):
            viewer.close()
            self.viewer = None

    def _new_session(self) -> Session:
        assert self.agent.env_spec is not None
        return Session(self.agent, self.agent.env_spec, LIVE_SEED)

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
    options = {"duration": 1000 / rate, "loop": 0}
    if path.suffix == ".mp4":
        options = {"fps": rate, "macro_block_size": 2}
    writer: Any = get_writer(path, **options)  # one picture at a time, as a film may be long
    with writer as film:
        while session.episode.number < episodes:
            view = replace(session.view(), help=())  # nobody has keys to press
            picture = to_picture(draw(view, size))
            for _ in range(5 if session.episode.over else 1):  # so that one sees it arrive
                film.append_data(picture)
            session.step()
