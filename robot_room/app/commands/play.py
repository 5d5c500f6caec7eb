"""Steer the robot yourself, next to the frames that an agent would see."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import robot_room  # noqa: F401 - registers its environments
from robot_room.app.evaluation.protocol import env_spec
from robot_room.app.watching.page import served
from robot_room.env import WINDOW_SIZE
from robot_room.panels import Frame, View
from robot_room.plots import Plot
from robot_room.room import STEP_LENGTH
from robot_room.theme import THEMES
from robot_room.viewer import Hands, Viewer

HELP = (("ARROWS WASD", "steer"), ("MOUSE", "hold: steer"), ("R", "new episode"), ("T", "theme"))
HELP = (*HELP, ("ESC", "quit"))


@dataclass
class Play:
    """Show the room and the 64×64 observation. A new episode begins when one ends."""

    env_id: str = "RobotRoom-v0"
    """A registered RobotRoom environment or variant."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, for example '{"distractors": 2, "slip": 0.2}'."""
    seed: int = 0
    """Seed of the first episode."""
    frames_per_second: int = 10
    """10 is real time."""
    web: bool = False
    """Serve the window as a page for a browser, on the loopback address; its address is printed."""
    port: int = 0
    """Port of the page; 0: any that is free."""


def steer(viewer: Hands, robot: NDArray[np.float64]) -> NDArray[np.float32]:
    """The action chosen by keys or mouse."""
    target = viewer.pointer()
    if target is None:
        return viewer.arrows()
    return np.clip((target - robot) / STEP_LENGTH, -1, 1).astype(np.float32)


def main(config: Play) -> None:
    """Run the command."""
    env = gym.make(env_spec(config.env_id, config.env_kwargs), render_mode="rgb_array")
    observation, info = env.reset(seed=config.seed)
    if "robot_position" not in info:
        raise ValueError(f"env_id: got {config.env_id}, allowed: a RobotRoom")
    if config.web:
        viewer = served(config.env_id, config.frames_per_second, config.port)
    else:
        viewer = Viewer(WINDOW_SIZE, config.frames_per_second, config.env_id)
    steps, rewards, outcome, over, theme = 0, [], "–", False, "dark"
    while True:
        view = View(
            np.asarray(env.render(), np.uint8),
            title=config.env_id,
            frames=[Frame("observation", observation, "what an agent sees")],
            plots=[Plot("reward per step", {"received": rewards}, "step of the episode", 1)],
            facts=[
                ("step", f"{steps}, {info['distance']:.2f} m to go"),
                ("return", f"{sum(rewards):+.2f}"),
                ("before", outcome),
            ],
            keys=HELP,
            theme=THEMES[theme],
        )
        if not viewer.show(view) or {"escape", "q"} & set(viewer.keys):
            break
        if "t" in viewer.keys:
            theme = "light" if theme == "dark" else "dark"
        if over or "r" in viewer.keys:
            observation, info = env.reset()
            steps, rewards, over = 0, [], False
            continue
        action = steer(viewer, info["robot_position"])
        observation, reward, terminated, truncated, info = env.step(action)
        rewards = [*rewards, float(reward)]
        steps, over = steps + 1, terminated or truncated
        if over:
            outcome = f"{'arrived' if info['is_success'] else 'out of time'} after {steps} steps"
    viewer.close()
