"""The Gymnasium environment: one room, which is a batch of one of the pure functions."""

from typing import Any, ClassVar, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from robot_room import rendering, room
from robot_room.room import Float, RewardKind, RoomParams
from robot_room.viewer import Viewer

PICTURE_SIZE = 512  # pixels; `render()` and the window
FRAMES_PER_SECOND = 10  # a step lasts 0.1 s


class RobotRoomEnv(gym.Env[NDArray[np.uint8], NDArray[np.float32]]):
    """Drive a white robot to a red goal at the centre of a room, seeing only pixels.

    ## Description
    The room is the square [−1, 1]² m with the origin at its centre, x to the right and y **up**. The
    robot is a white square of side 0.20 m, the goal a red square of side 0.24 m, the floor is
    mid grey. The robot is steered by its velocity; walls stop it. A step lasts 0.1 s.

    ## Action space
    `Box(-1, 1, (2,), float32)`, in units of the top speed (1 m/s on each axis). Finite values outside
    the space are clipped.

    | index | action | unit |
    |---|---|---|
    | 0 | velocity along x, right is positive | m/s |
    | 1 | velocity along y, up is positive | m/s |

    ## Observation space
    `Box(0, 255, (64, 64, 3), uint8)`: an RGB frame of the whole room, row 0 at y = +1 m. Edges are
    anti-aliased by exact area coverage and rounded half up, so that a frame tells the position to a
    small fraction of a pixel (a pixel is 1/32 m). It does not depend on `render_mode`.

    ## Rewards
    `reward="dense"`: −(distance from robot to goal after the step, m).
    `reward="sparse"`: 1 if that distance is at most 0.10 m, else 0.

    ## Starting state
    The robot is uniform over the room, at least 0.40 m from the goal. `reset(options=...)` takes
    `robot_position` and `goal_position`, each (x, y) in metres, for an exact state.

    ## Episode end
    Terminated when the distance is at most 0.10 m (within a nanometre, so that rounding does not
    decide), unless `terminate_on_goal=False`. Truncated after 100 steps, by registration.

    ## Information
    `robot_position` and `goal_position`, (2,) float64 in metres; `distance`, m; `is_success`.

    ## Arguments
    ```python
    import gymnasium as gym
    import robot_room

    env = gym.make("RobotRoom-v0", reward="dense", terminate_on_goal=True, render_mode=None)
    ```
    `render_mode`: None, "rgb_array" (`render()` gives a sharp 512×512 picture) or "human" (a window).

    ## Version history
    * v0: the first, frozen: whatever could change a learning curve will be a v1.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "render_modes": ["rgb_array", "human"],
        "render_fps": FRAMES_PER_SECOND,
    }
    reset_options: ClassVar = ("robot_position", "goal_position")

    def __init__(
        self,
        reward: RewardKind = "dense",
        terminate_on_goal: bool = True,
        render_mode: str | None = None,
    ) -> None:
        allowed = (None, *self.metadata["render_modes"])
        if render_mode not in allowed:
            raise ValueError(f"render_mode: got {render_mode!r}, allowed: {allowed}")
        self.params = RoomParams(reward=reward, terminate_on_goal=terminate_on_goal)
        self.render_mode = render_mode
        shape = (rendering.FRAME_SIZE, rendering.FRAME_SIZE, 3)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._goal: Float = np.zeros((1, 2))
        self._robot: Float | None = None  # none before the first reset
        self._background = rendering.background(self._goal)
        self._viewer: Viewer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds `np_random`, the only source of randomness; None goes on with it.
            options: `robot_position` and `goal_position`, (x, y) in metres, each optional.

        Raises:
            ValueError: an unknown option, or a position outside its part of the room. The
                environment is then as it was.
        """
        options = options or {}
        unknown = sorted(set(options) - set(self.reset_options))
        if unknown:
            raise ValueError(f"options: got {unknown}, allowed: {list(self.reset_options)}")
        goal = _position(options, "goal_position", room.GOAL_LIMIT)
        robot = _position(options, "robot_position", room.ROBOT_LIMIT)

        super().reset(seed=seed)
        self._goal = np.zeros((1, 2)) if goal is None else goal[None]
        if robot is None:
            robot = room.sample_start(self._goal[0], self.np_random)
        self._robot = robot[None]
        self._background = rendering.background(self._goal)
        if self.render_mode == "human":
            self.render()
        distance = room.distance(self._robot, self._goal)
        return self._observation(), self._info(distance)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], SupportsFloat, bool, bool, dict[str, Any]]:
        """Move the robot for 0.1 s.

        Raises:
            ValueError: the action has another shape, or is not finite. The room is then as it was.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._robot is None:
            raise gym.error.ResetNeeded("Call reset() before step().")
        self._robot = room.transition(self._robot, self._checked(action))
        distance = room.distance(self._robot, self._goal)
        if self.render_mode == "human":
            self.render()
        reward = float(room.reward(self.params, distance)[0])
        terminated = bool(room.terminated(self.params, distance)[0])
        return self._observation(), reward, terminated, False, self._info(distance)

    def render(self) -> NDArray[np.uint8] | None:
        """The room as a sharp picture, (512, 512, 3) uint8; in "human" mode it goes to the window."""
        if self._robot is None:
            raise gym.error.ResetNeeded("Call reset() before render().")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing: make the room with render_mode="rgb_array".')
            return None
        picture = rendering.render(self._robot, self._goal, PICTURE_SIZE)[0]
        if self.render_mode == "rgb_array":
            return picture
        if self._viewer is None:
            size = (PICTURE_SIZE, PICTURE_SIZE)
            self._viewer = Viewer(size, FRAMES_PER_SECOND, "RobotRoom")
        self._viewer.show(picture)
        return None

    def close(self) -> None:
        """Close the window if there is one."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def _checked(self, action: NDArray[np.float32]) -> Float:
        """The action as float64, (1, 2), or a ValueError."""
        try:
            values = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"action: got {action!r}, allowed: {self.action_space}") from error
        if values.shape != (2,) or not np.isfinite(values).all():
            raise ValueError(f"action: got {action!r}, allowed: finite values in {self.action_space}")
        return values[None]

    def _observation(self) -> NDArray[np.uint8]:
        assert self._robot is not None
        frames = self._background.copy()
        rendering.draw_robot(frames, self._robot, self._goal)
        return frames[0]

    def _info(self, distance: Float) -> dict[str, Any]:
        assert self._robot is not None
        return {
            "robot_position": self._robot[0].copy(),
            "goal_position": self._goal[0].copy(),
            "distance": float(distance[0]),
            "is_success": bool(room.is_success(distance)[0]),
        }


def _position(options: dict[str, Any], field: str, limit: float) -> Float | None:
    """A position from reset's options, (2,) float64, or None if it is not there."""
    if options.get(field) is None:
        return None
    allowed = f"allowed: (x, y) in metres, each in [{-limit:g}, {limit:g}]"
    try:
        position = np.array(options[field], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field}: got {options[field]!r}, {allowed}") from error
    # The comparison is false for NaN too.
    if position.shape != (2,) or not (np.abs(position) <= limit).all():
        raise ValueError(f"{field}: got {options[field]!r}, {allowed}")
    return position
