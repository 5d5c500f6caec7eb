"""The environment of `RobotRoomGoalImage-v0`.

A class of its own, because libraries take every environment with `compute_reward` for one with goals.
"""

from typing import Any

from robot_room import goals
from robot_room.env import RobotRoomEnv


class RobotRoomGoalEnv(RobotRoomEnv):
    """`RobotRoomEnv` for `observation="goal_image"`, with rewards for other goals."""

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """The reward for any goal, as in Gymnasium-Robotics: for hindsight relabelling.

        Args:
            achieved_goal: frames (..., 64, 64, 3) or (..., 3, 64, 64) uint8, without a red square.
            desired_goal: the same, with the robot where it ought to be.
            info: a dict, or one for each frame; with the positions of a step, its reward is exact.

        Returns:
            As `reward` says, from the distance of the robots in the two frames; a float, or (...).

        Raises:
            ValueError: the frames are malformed, or the room has distractors, corruption or factors.
        """
        found = goals.reward(self.params, achieved_goal, desired_goal, info)
        return found if found.ndim else float(found)
