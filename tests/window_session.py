"""A whole session in a real window: every key, dragging, resizing, closing. Run by test_session.py.

    python tests/window_session.py FOLDER         # on the screen of $DISPLAY, by xdotool
    SDL_VIDEODRIVER=dummy python … FOLDER         # without one, by posted events

Leaves pictures of what the window showed in FOLDER, and ends with exit status 0 if all went well.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pygame
import torch

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.calibration import Restoration, described
from agent.gate import ConformalGate
from agent.planning import PLANNERS
from agent.restoration.critic import Critic
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.restorer import DiffusionRestorer
from robot_room import panels
from robot_room.app.watching.display import view
from robot_room.app.watching.keys import ACTIONS
from robot_room.app.watching.live import frame
from robot_room.app.watching.session import NOISES, SPEEDS, Session
from robot_room.viewer import Viewer

REAL = os.environ.get("SDL_VIDEODRIVER") != "dummy"
NAMES = {"[": "bracketleft", "]": "bracketright", ",": "comma", ".": "period", "-": "minus"}
NAMES |= {"=": "equal", "f1": "F1", "escape": "Escape"}


def xdotool(*arguments):
    subprocess.run(["xdotool", *map(str, arguments)], check=True)


class User:
    """Presses keys and moves the mouse, and waits until the window has heard."""

    def __init__(self, session, viewer):
        self.session, self.viewer = session, viewer
        self.pressed = set()

    def frames(self, count=1):
        return all([frame(self.session, self.viewer) for _ in range(count)])

    def until(self, condition, what):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, f"nothing came of it: {what}"
            self.frames()

    def press(self, key, condition):
        self.pressed.add(key)
        if REAL:
            xdotool("key", NAMES.get(key, key))
        else:
            code = pygame.key.key_code(key)
            for kind in (pygame.KEYDOWN, pygame.KEYUP):
                pygame.event.post(pygame.event.Event(kind, key=code))
        self.until(condition, key)

    def mouse(self, place, kind):
        """Move to a place in the room, in metres; "down" and "up" press and release there."""
        size = pygame.display.get_surface().get_size()
        box = panels.layout(view(self.session), size).room
        x, y = (int(pixel) for pixel in panels.to_pixels(box, np.array(place)))
        if REAL:
            window = pygame.display.get_wm_info()["window"]
            xdotool("mousemove", "--window", window, x, y)
            if kind != "move":
                xdotool(f"mouse{kind}", 1)
        else:
            kinds = {"down": pygame.MOUSEBUTTONDOWN, "up": pygame.MOUSEBUTTONUP}
            event = kinds.get(kind, pygame.MOUSEMOTION)
            pygame.event.post(pygame.event.Event(event, pos=(x, y), button=1))
        self.frames(3)


def any_restoration(agent):
    """An untrained restorer, with a gate that accepts everything."""
    torch.manual_seed(0)
    denoiser = Denoiser((64, 64, 3), DenoiserConfig(width=8))
    critic = Critic(denoiser, torch.zeros(2, 2), torch.ones(2, 2), 1e9)
    return Restoration(DiffusionRestorer(critic), ConformalGate(1e9), described(agent))


def main(folder):
    torch.set_num_threads(1)
    agent = Agent("RobotRoomRandomGoal-v0", seed=0)
    restoration = any_restoration(agent)
    session = Session(agent, agent.env_spec, 0, restoration)
    viewer = Viewer((1000, 720), 1000, "a session")
    user = User(session, viewer)
    user.frames(5)
    if REAL:
        window = pygame.display.get_wm_info()["window"]
        xdotool("windowfocus", window)
        user.frames(5)

    def still(name):
        user.frames()
        imageio.imwrite(folder / f"{name}.png", viewer.picture())

    still("start")
    user.press("space", lambda: session.chosen.paused)
    for _ in range(3):
        before = session.episode.steps
        user.press("n", lambda before=before: session.episode.steps == before + 1)
    still("paused")
    user.press("r", lambda: session.episode.number == 1 and session.episode.steps == 0)

    for place in ([-0.5, -0.5], [0.4, -0.6], [0.4, 0.6]):
        user.mouse(session.info["robot_position"], "down")
        user.mouse(place, "move")
        user.until(lambda place=place: near(session.info["robot_position"], place), "drag the robot")
        user.mouse(place, "up")
    goal = session.info["goal_position"]
    user.mouse(goal, "down")
    user.mouse([-0.3, 0.5], "move")
    user.until(lambda: near(session.info["goal_position"], [-0.3, 0.5]), "drag the goal")
    user.mouse([-0.3, 1.3], "move")  # beyond the wall
    user.until(lambda: near(session.info["goal_position"], [-0.3, 0.88]), "drag the goal to the wall")
    user.mouse([-0.3, 0.5], "move")
    user.until(lambda: near(session.info["goal_position"], [-0.3, 0.5]), "drag the goal back")
    user.mouse([-0.3, 0.5], "up")
    assert near(session.info["robot_position"], [0.4, 0.6]) and session.episode.touched
    still("dragged")

    user.press("h", lambda: session.chosen.hand)
    assert not session.frame.any() and session.seen.any()
    still("hand")
    user.press("h", lambda: not session.chosen.hand)
    for level in range(1, len(NOISES)):
        user.press("]", lambda level=level: session.chosen.noise == level)
    still("noise")
    assert np.abs(session.frame.astype(int) - session.seen).mean() > 20
    user.press("[", lambda: session.chosen.noise == len(NOISES) - 2)
    user.press("d", lambda: session.spec.kwargs.get("distractors") == 3)
    assert near(session.info["robot_position"], [0.4, 0.6])  # it stays where it was
    still("distractors")
    user.press("d", lambda: session.spec.kwargs.get("distractors") == 0)
    user.press("p", lambda: session.chosen.restoring)
    still("restorer")
    user.press("n", lambda: session.episode.steps > 0)
    user.press("p", lambda: not session.chosen.restoring)
    for kind in (*PLANNERS[1:], PLANNERS[0]):
        user.press("m", lambda kind=kind: type(session.chosen.planner) is kind)
        before = session.episode.steps
        user.press("n", lambda before=before: session.episode.steps != before)
    horizon = session.chosen.planner.horizon
    user.press("=", lambda: session.chosen.planner.horizon == horizon + 1)
    assert session.decision.plan.actions.shape[1] == horizon + 1
    user.press("-", lambda: session.chosen.planner.horizon == horizon)
    speed = session.chosen.speed
    user.press(".", lambda: session.chosen.speed == speed + 1)
    user.press(",", lambda: session.chosen.speed == speed)
    assert SPEEDS[session.chosen.speed] == 10
    user.press("f1", lambda: not session.chosen.help_shown)
    user.press("f1", lambda: session.chosen.help_shown)
    os.chdir(folder)
    user.press("s", lambda: list(folder.glob("stills/*.png")))
    user.press("t", lambda: session.chosen.theme == "light")
    still("light")
    user.press("t", lambda: session.chosen.theme == "dark")

    assert user.pressed == ACTIONS.keys() - {"escape", "q"}

    if REAL:
        for size in ((700, 900), (560, 900)):
            xdotool("windowsize", window, *size)
            resized = lambda size=size: pygame.display.get_surface().get_size() == size  # noqa: E731
            user.until(resized, "resize")
            still(f"resized-{size[0]}")
    user.press("space", lambda: not session.chosen.paused)
    for _ in range(5):
        session.step()
        user.frames()
    if REAL:
        xdotool("key", "Escape")
    else:
        pygame.event.post(pygame.event.Event(pygame.QUIT))
    deadline = time.monotonic() + 20
    while frame(session, viewer):
        assert time.monotonic() < deadline, "it does not close"
    viewer.close()
    session.close()


def near(a, b):
    return np.allclose(a, b, atol=0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
