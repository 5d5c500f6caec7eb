"""Steer the robot yourself, next to the frames that an agent would see."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import robot_room  # noqa: F401 - registers its environments
from robot_room.app.evaluation.protocol import env_spec
from robot_room.env import WINDOW_SIZE
from robot_room.panels import View
from robot_room.room import STEP_LENGTH
from robot_room.viewer import Viewer

HELP = "arrows, WASD or hold the mouse: steer     R: new episode     Esc: quit"


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


def steer(viewer: Viewer, robot: NDArray[np.float64]) -> NDArray[np.float32]:
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
    viewer = Viewer(WINDOW_SIZE, config.frames_per_second, config.env_id)
    steps, rewards, outcome, over = 0, [], "", False
    while True:
        view = View(
            np.asarray(env.render(), np.uint8),
            title=config.env_id,
            frames={"observation": observation},
            curves={"received": rewards},
            curves_title="reward",
            status=[
                f"step {steps}, {info['distance']:.2f} m to go",
                f"return {sum(rewards):+.2f}",
                outcome,
            ],
            help=[HELP],
        )
        if not viewer.show(view) or {"escape", "q"} & set(viewer.keys):
            break
        if over or "r" in viewer.keys:
            observation, info = env.reset()
            steps, rewards, over = 0, [], False
            continue
        action = steer(viewer, info["robot_position"])
        observation, reward, terminated, truncated, info = env.step(action)
        rewards = [*rewards, float(reward)]
        steps, over = steps + 1, terminated or truncated
        if over:
            outcome = (
                f"last episode: {'arrived' if info['is_success'] else 'out of time'}, {steps} steps"
            )
    viewer.close()
