"""RobotRoom: a robot, a goal and a camera, as Gymnasium environments.

Importing this package registers `RobotRoom-v0` and its variants; so does
`gym.make("robot_room:RobotRoom-v0")`.
"""

from typing import Any

from gymnasium.envs.registration import register

from robot_room.wall_masks import register_layout

__all__ = ["VARIANTS", "register_layout"]

VARIANTS: dict[str, dict[str, Any]] = {
    "RobotRoom-v0": {},
    "RobotRoomRandomGoal-v0": {"goal": "random"},
    "RobotRoomSparse-v0": {"reward": "sparse"},
    "RobotRoomDoor-v0": {"walls": "door"},
    "RobotRoomMaze-v0": {"walls": "maze", "num_layouts": 1000, "layout_seed": 0},
    "RobotRoomDistractors-v0": {"distractors": 3},
    "RobotRoomSlip-v0": {"slip": 0.3},
    "RobotRoomNoisyCamera-v0": {"corruption": "gaussian", "severity": 3},
    "RobotRoomGoalImage-v0": {"observation": "goal_image", "goal": "random"},
    "RobotRoomVaried-v0": {"factors": "training"},
    "RobotRoomShifted-v0": {"factors": "test"},
}
"""Environment ids and their arguments of `RobotRoomEnv`; fixed in v0."""

_ENTRY_POINTS = {"RobotRoomGoalImage-v0": "robot_room.goal_env:RobotRoomGoalEnv"}

for _id, _kwargs in VARIANTS.items():
    register(
        id=_id,
        entry_point=_ENTRY_POINTS.get(_id, "robot_room.env:RobotRoomEnv"),
        vector_entry_point="robot_room.vector_env:RobotRoomVectorEnv",
        max_episode_steps=200 if "walls" in _kwargs else 100,
        kwargs=_kwargs,
    )


def __getattr__(name: str) -> str:
    """`__version__`, read from the installed package on first use."""
    if name == "__version__":
        from importlib import metadata  # here, because it takes longer than all the rest

        return metadata.version("robot-room")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
