"""RobotRoom: a robot, a goal and a camera, as a Gymnasium environment.

Importing this package registers `RobotRoom-v0`; so does `gym.make("robot_room:RobotRoom-v0")`.
"""

from gymnasium.envs.registration import register

register(id="RobotRoom-v0", entry_point="robot_room.env:RobotRoomEnv", max_episode_steps=100)
