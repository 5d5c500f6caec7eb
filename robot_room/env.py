"""The Gymnasium environment: one room, which is a batch of one."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from robot_room import checking, room
from robot_room.rendering import FRAME_SIZE
from robot_room.room import CorruptionKind, GoalKind, RewardKind, RoomParams, WallKind
from robot_room.rooms import Rooms, State, sample
from robot_room.viewer import Viewer

PICTURE_SIZE = 512  # pixels; `render()` and the window
FRAMES_PER_SECOND = 10  # a step lasts 0.1 s
RENDER_MODES = ("rgb_array", "human")


class RobotRoomEnv(gym.Env[NDArray[np.uint8], NDArray[np.float32]]):
    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND,
    }

    def __init__(
        self,
        goal: GoalKind = "centre",
        reward: RewardKind = "dense",
        terminate_on_goal: bool = True,
        walls: WallKind | None = None,
        num_layouts: int = 1,
        layout_seed: int = 0,
        distractors: int = 0,
        slip: float = 0.0,
        corruption: CorruptionKind | None = None,
        severity: int = 0,
        oracle_steps: bool = False,
        masks: bool = False,
        compiled: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.params = RoomParams(
            goal=goal,
            reward=reward,
            terminate_on_goal=terminate_on_goal,
            walls=walls,
            num_layouts=num_layouts,
            layout_seed=layout_seed,
            distractors=distractors,
            slip=slip,
            corruption=corruption,
            severity=severity,
        )
        checking.require_bool("masks", masks)
        checking.require_one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._rooms = Rooms(self.params, 1, oracle_steps, compiled)
        self._with_masks = masks
        self._viewer: Viewer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds `np_random`, the only source of randomness; None goes on with it.
            options: `robot_position` and `goal_position`, (x, y) in metres, and where there are
                walls `layout`, a whole number; each optional.

        Raises:
            ValueError: a seed or an option that is not allowed. The environment is then as it was.
        """
        generator = self.np_random if seed is None else checking.seeded(seed)
        start = sample(self.params, generator, options)
        if seed is not None:
            # What `super().reset(seed=seed)` does, but not before all has been checked.
            self._np_random, self._np_random_seed = generator, int(seed)
        self._rooms.start(0, start)
        if self.render_mode == "human":
            self.render()
        return self._rooms.frames()[0], self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], SupportsFloat, bool, bool, dict[str, Any]]:
        """Move the robot for 0.1 s.

        Raises:
            ValueError: the action has another shape, or is not finite. The room is then as it was.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        self._require_started("step")
        self._rooms.move(checking.actions(action, (2,))[None])
        if self.render_mode == "human":
            self.render()
        distance = self._rooms.distance
        reward = float(room.reward(self.params, distance)[0])
        terminated = bool(room.terminated(self.params, distance)[0])
        return self._rooms.frames()[0], reward, terminated, False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """The room as a sharp picture, (512, 512, 3) uint8; in "human" mode it goes to the window."""
        self._require_started("render")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing: make the room with render_mode="rgb_array".')
            return None
        picture = self._rooms.pictures(PICTURE_SIZE)[0]
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

    def get_state(self) -> State:
        """All that the future depends on, the random generator included, as a dict of plain values.

        Arrays have a leading axis of one room. What wrappers count (TimeLimit the steps of an
        episode) is not in it; `copy.deepcopy(env)` and `pickle` take the wrappers along.

        Raises:
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        self._require_started("get_state")
        return {**self._rooms.state(), "generators": [self.np_random.bit_generator.state]}

    def set_state(self, state: State) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Put the environment in a state that `get_state` returned, exactly.

        Returns:
            The observation and info of that state.

        Raises:
            ValueError: it is no state of such an environment. The environment is then as it was.
        """
        checked = self._rooms.check_state(state)
        (self._np_random,) = checking.generators(state, 1)
        self._rooms.set_state(checked)
        return self._rooms.frames()[0], self._info()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_viewer": None}  # a window cannot be pickled

    def _require_started(self, call: str) -> None:
        if not self._rooms.started[0]:
            raise gym.error.ResetNeeded(f"Call reset() before {call}().")

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {}
        for name, values in self._rooms.info().items():
            info[name] = values[0] if values.ndim > 1 else values.item()
        if self._with_masks:
            info["masks"] = {name: mask[0] for name, mask in self._rooms.masks().items()}
        return info
