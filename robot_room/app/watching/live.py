"""A session in a window or a browser, during training, as a film, and as pictures in TensorBoard."""

import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import imageio.v3 as imageio
import numpy as np
from imageio.v2 import get_writer
from numpy.typing import NDArray
from PIL import Image

from agent import Agent
from agent.learner import Progress
from agent.metrics import RunLogger
from robot_room.app.watching.display import Learning, view
from robot_room.app.watching.keys import press
from robot_room.app.watching.session import SPEEDS, Session
from robot_room.app.watching.value_map import CELLS
from robot_room.drawing import draw, to_picture
from robot_room.panels import View
from robot_room.pen import Picture

SHARE = 0.07  # maximum fraction of training time spent on the window
PICTURES, PICTURE_STEPS, PICTURE_SIZE = 10, 3, (840, 600)  # in TensorBoard
LIVE_SEED = 4_000_000  # starts shown during training


class Screen(Protocol):
    """Where a session is shown: a window (`Viewer`) or a page in a browser (`Page`)."""

    keys: list[str]

    def show(self, view: View) -> bool:
        """Show a view; False if the user has closed it."""
        ...

    def pointer(self) -> NDArray[np.float64] | None:
        """Position in metres of a mouse that is held down in the room, or None."""
        ...

    def picture(self) -> Picture:
        """What was shown last, (height, width, 3)."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def frame(
    session: Session, screen: Screen, stills: Path = Path("stills"), learning: Learning | None = None
) -> bool:
    """Show a session once and apply user input; False if the window should be closed.

    Args:
        session: the session.
        screen: the window or page.
        stills: the folder of the user's stills, created for the first one.
        learning: the course of the training that is watched.
    """
    if not screen.show(view(session, learning)) or session.closed:
        return False
    press(session, screen.keys)
    session.drag(screen.pointer())
    if session.wants_still:
        session.wants_still = False
        path = stills / f"{time.strftime('%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}.png"
        try:
            stills.mkdir(parents=True, exist_ok=True)
            imageio.imwrite(path, screen.picture())
            session.notice = f"wrote {path}"
        except OSError as error:
            session.notice = f"no still: {error}"
    return not session.closed


def live(session: Session, screen: Screen, stills: Path = Path("stills")) -> None:
    """Run a session until the window is closed; see `frame`."""
    last, owed, rested = time.perf_counter(), 0.0, 0.0
    with closing(screen):
        while frame(session, screen, stills):
            now = time.perf_counter()
            if now >= rested:  # so that the value map takes at most a third of the time
                session.explore()
                rested = now + 3 * (time.perf_counter() - now)
            owed, last = min(owed + (now - last) * SPEEDS[session.chosen.speed], 10.0), now
            if session.chosen.paused:
                owed = 0.0
            while owed >= 1 and time.perf_counter() - now < 1 / 40:  # more would make it stutter
                session.step()
                owed -= 1


class Spectator:
    """A callback of `Agent.learn` that shows the agent in a window and writes pictures.

    It uses its own environment and random streams, so training does not depend on it. The window takes
    at most `SHARE` of the time; closing it does not stop training.

    Args:
        agent: the agent in training.
        log: the run's log, among whose TensorBoard events the pictures are.
        viewer: the window; None: pictures only.
        stills: the folder of the user's stills.
    """

    def __init__(
        self,
        agent: Agent,
        log: RunLogger,
        viewer: Screen | None = None,
        stills: Path = Path("stills"),
    ) -> None:
        self.agent, self.viewer, self._log = agent, viewer, log
        self._stills, self._learning = stills, Learning()
        self._session: Session | None = None
        self._began, self._spent = time.perf_counter(), 0.0
        self._drawn = self._due(agent.progress)

    def __call__(self, progress: Progress) -> None:
        """Update the window or pictures if due. Errors become a warning and do not stop training."""
        if progress.num_updates == 0:
            return
        self._learning.add(progress)
        now = time.perf_counter()
        try:
            if (due := self._due(progress)) > self._drawn:
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

    @staticmethod
    def _due(progress: Progress) -> int:
        """How many pictures should have been written by now."""
        if progress.num_updates == 0:
            return 0
        done, total = progress.num_timesteps, progress.target_timesteps
        if progress.target_updates is not None:
            done, total = progress.num_updates, progress.target_updates
        return int(PICTURES * done / max(total, 1))

    def _draw(self, step: int) -> None:
        """Write the third step of an episode, always from the same start, to TensorBoard."""
        with closing(self._new_session()) as session:
            for _ in range(PICTURE_STEPS):
                session.step()
            picture = to_picture(draw(replace(view(session, self._learning), keys=()), PICTURE_SIZE))
        self._log.add_image("agent_view", picture, step)

    def _show(self, viewer: Screen) -> None:
        if self._session is None:
            self._session = self._new_session()
        elif not self._session.chosen.paused:
            self._session.step()
        if not frame(self._session, viewer, self._stills, self._learning):
            viewer.close()
            self.viewer = None

    def _new_session(self) -> Session:
        assert self.agent.env_spec is not None
        return Session(self.agent, self.agent.env_spec, LIVE_SEED)

    def close(self) -> None:
        """Close the window and the environment."""
        if self.viewer is not None:
            self.viewer.close()
        if self._session is not None:
            self._session.close()


def record(session: Session, path: Path, episodes: int, size: tuple[int, int], rate: float) -> None:
    """Write complete episodes as a GIF or MP4, one picture per step; the last one is held longer.

    Args:
        session: the session to record.
        path: a file ending in .gif or .mp4.
        episodes: number of episodes.
        size: width and height in pixels.
        rate: steps per second.
    """
    pictures = _pictures(session, episodes, size)
    if path.suffix == ".gif":
        # Other methods of choosing colours take eight times as long, and most of the recording.
        images = (Image.fromarray(each).quantize(method=Image.Quantize.FASTOCTREE) for each in pictures)
        timing = {"duration": 1000 / rate, "loop": 0}
        next(images).save(path, save_all=True, append_images=images, **timing)
        return
    writer: Any = get_writer(path, fps=rate, macro_block_size=2)  # writes one picture at a time
    with writer as film:
        for picture in pictures:
            film.append_data(picture)


def _pictures(session: Session, episodes: int, size: tuple[int, int]) -> Iterator[Picture]:
    while session.episode.number < episodes:
        session.explore(CELLS)  # nobody waits
        shown = replace(view(session), keys=())  # a film has no keys
        picture = to_picture(draw(shown, size))
        for _ in range(5 if session.episode.over else 1):  # hold the arrival
            yield picture
        session.step()
