"""The Gymnasium environment: a single room, held as a batch of one."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from robot_room import checking, layouts, room
from robot_room.panels import Frame, View
from robot_room.rendering import FRAME_SIZE
from robot_room.room import (
    ActionKind,
    CorruptionKind,
    GoalKind,
    ObservationKind,
    RewardKind,
    RoomParams,
)
from robot_room.rooms import Rooms, State
from robot_room.viewer import Viewer

PICTURE_SIZE = 512  # side of the room in pixels, for `render()` and the window
FRAMES_PER_SECOND = 10  # a step lasts 0.1 s
WINDOW_SIZE = (932, 570)  # shows the room at PICTURE_SIZE
RENDER_MODES = ("rgb_array", "human")


class RobotRoomEnv(gym.Env[NDArray[Any], Any]):
    """Drive a white robot to a red goal in a room, seeing only pixels.

    ## Description
    The room is the square [−1, 1]² m with the origin at its centre, x to the right and y **up**.
    The robot is a white square of side 0.20 m, the goal a red square of side 0.24 m, the floor is
    mid grey. Actions set the robot's velocity; walls stop it. A step lasts 0.1 s.

    Each variant is this environment with different arguments, and tests one ability:

    | id | arguments | tests |
    |---|---|---|
    | `RobotRoom-v0` | | basic learning from pixels |
    | `RobotRoomRandomGoal-v0` | `goal="random"` | planning to a visible, changing goal |
    | `RobotRoomSparse-v0` | `reward="sparse"` | sparse-reward exploration |
    | `RobotRoomDoor-v0` | `walls="door"` | planning when the straight path is blocked |
    | `RobotRoomMaze-v0` | `walls="maze", num_layouts=1000` | generalisation to unseen layouts |
    | `RobotRoomDistractors-v0` | `distractors=3` | separating controllable from irrelevant motion |
    | `RobotRoomSlip-v0` | `slip=0.3` | planning with stochastic transitions |
    | `RobotRoomNoisyCamera-v0` | `corruption="gaussian", severity=3` | robustness to camera noise |
    | `RobotRoomGoalImage-v0` | `observation="goal_image", goal="random"` | goals told by an image |
    | `RobotRoomVaried-v0` | `factors="training"` | learning while all factors vary |
    | `RobotRoomShifted-v0` | `factors="test"` | generalisation to wider ranges of all factors |

    ## Action space
    `Box(-1, 1, (2,), float32)`, in units of the top speed (1 m/s on each axis). Finite values
    outside the space are clipped. The robot slides along x first, then along y, each until a wall
    stops it.

    | index | action | unit |
    |---|---|---|
    | 0 | velocity along x, right is positive | m/s |
    | 1 | velocity along y, up is positive | m/s |

    With `action="discrete"` it is `Discrete(9)`: 0 stays, and 1 to 8 drive at full speed on each axis,
    anticlockwise from the right: right, up right, up, up left, left, down left, down, down right.
    `frame_skip=k` repeats an action for k time steps of 0.1 s, or until the episode terminates; the
    reward is their sum. Steps and `max_episode_steps` count actions.

    ## Observation space
    `Box(0, 255, (64, 64, 3), uint8)`: an RGB frame of the whole room, row 0 at y = +1 m. Edges are
    anti-aliased by exact area coverage and rounded half up, so a frame determines the position to a
    small fraction of a pixel (a pixel is 1/32 m). Observations do not depend on `render_mode`.

    >>> import gymnasium as gym
    >>> import robot_room
    >>> env = gym.make("RobotRoom-v0")
    >>> observation, info = env.reset(seed=0)
    >>> observation.shape, observation.dtype
    ((64, 64, 3), dtype('uint8'))
    >>> observation[32, 32].tolist()  # the centre of the goal
    [255, 0, 0]

    With `observation="state"`, for control experiments, it is `Box(-1, 1, (4,), float32)`: positions of
    robot and goal (x, y, x, y) in metres. A door adds the height of its centre, a maze its 9 by 9
    crossings of walls and passages from the bottom left, 1 where there is wall.

    >>> env = gym.make("RobotRoom-v0", observation="state", action="discrete", frame_skip=2)
    >>> observation, info = env.reset(options={"robot_position": (0.5, -0.5)})
    >>> env.step(4)[0].tolist() == np.float32([0.3, -0.3, 0.0, 0.0]).tolist()  # up and left
    True

    With `observation="goal_image"` it is a `Dict` of three such frames, as in Gymnasium-Robotics:
    `observation` and `achieved_goal`, the camera's frame without the red square, and `desired_goal`,
    the same room with the robot at the goal, which alone tells where that is. `RobotRoomGoalImage-v0`
    also has `compute_reward`, the reward for other goals (`robot_room.goal_env`).

    ## Rewards
    `reward="dense"`: −(distance from robot to goal after the step, m).
    `reward="sparse"`: 1 if that distance is at most 0.10 m, else 0.

    ## Starting state
    The robot is uniform over the free room, at least 0.40 m from the goal. `reset(options=...)`
    sets `robot_position` and `goal_position`, each (x, y) in metres, and the number `layout` if
    there are walls:

    >>> env = gym.make("RobotRoom-v0")
    >>> observation, info = env.reset(options={"robot_position": (0.5, 0.0)})
    >>> observation, reward, terminated, truncated, info = env.step([-1.0, 0.0])
    >>> round(reward, 6), terminated, info["robot_position"].round(6).tolist()
    (-0.4, False, [0.4, 0.0])

    ## Episode end
    Terminated when the distance is at most 0.10 m (with a tolerance of 1 nm for rounding), unless
    `terminate_on_goal=False`. The registered ids truncate after 100 steps, or 200 for
    `RobotRoomDoor-v0` and `RobotRoomMaze-v0`; `max_episode_steps` overrides this.

    ## Information
    | key | value |
    |---|---|
    | `robot_position`, `goal_position` | (2,) float64, m |
    | `distance` | distance between them, m |
    | `is_success` | whether the distance is at most 0.10 m |
    | `layout` | with walls: the number of the layout, from 0 |
    | `goal_image` | with `goal_image=True`: (64, 64, 3) uint8, the frame with the robot at the goal |
    | `factors` | with `factor_info=True`: the value of every factor; a choice is its number |
    | `oracle_steps` | with `oracle_steps=True`: minimum number of steps from this episode's start |
    | `masks` | with `masks=True`: the fraction of each pixel visibly covered by `robot`, `goal`, \
`distractors` and `walls`, each (64, 64) float32, before corruption; for a repeated frame, the masks \
of that frame |

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | `goal` | `"centre"` | or `"random"`: uniform wherever its square fits |
    | `reward` | `"dense"` | or `"sparse"` |
    | `terminate_on_goal` | `True` | whether arrival ends the episode |
    | `walls` | `None` | `"door"`: one wall right of the centre, its door at one of 45 positions; \
`"maze"`: 5 by 5 cells with exactly one path between any two; \
or a drawing, a mask or a registered name (`robot_room.wall_masks`) |
    | `num_layouts` | `1` | number of mazes, 1 to 10,000; one is drawn for each episode |
    | `layout_seed` | `0` | selects the mazes, 0 to 55,755; different seeds share none |
    | `distractors` | `0` | number of moving coloured squares beneath everything else, up to 6 |
    | `slip` | `0.0` | standard deviation of Gaussian noise on each velocity, 0 to 1 m/s |
    | `corruption` | `None` | `"gaussian"` noise, `"dead_pixels"`, `"blackout"` bursts, a drifting \
`"occluder"`, or `"dropped_frames"`, replaced by the previous frame |
    | `severity` | `0` | severity of the corruption, 1 to 5 (`robot_room.sensors.SEVERITIES`) |
    | `action` | `"continuous"` | or `"discrete"`: stay and eight directions |
    | `frame_skip` | `1` | time steps for which an action is repeated, 1 to 20 |
    | `observation` | `"pixels"` | or `"state"`, not with distractors, corruption or masks; or \
`"goal_image"` |
    | `goal_image` | `False` | whether `info` has `goal_image` |
    | `factors` | `None` | `"training"` or `"test"`: all factors vary in these ranges; or a dict from \
names of `robot_room.factors.FACTORS` to `"training"`, `"test"` or a value |
    | `factor_info` | `False` | whether `info` has `factors` |
    | `oracle_steps` | `False` | whether `info` has `oracle_steps`; not with `slip`, noise on \
actions, discrete actions or frame skip |
    | `masks` | `False` | whether `info` has `masks` |
    | `compiled` | `None` | whether to use the compiled loops: the same bits, faster; `None`: if this \
installation has them |
    | `render_mode` | `None` | `"rgb_array"`: `render()` returns a picture; `"human"`: a window |

    Arguments can be combined; contradictory ones raise ValueError. To train and test on disjoint
    sets of mazes:

    >>> train = gym.make("RobotRoomMaze-v0", num_layouts=500, layout_seed=0)
    >>> test = gym.make("RobotRoomMaze-v0", num_layouts=500, layout_seed=1)

    Factors of variation, such as colours, light, camera and friction, are drawn for each episode, or
    fixed by `reset`:

    >>> env = gym.make("RobotRoomVaried-v0", factor_info=True)
    >>> observation, info = env.reset(seed=0, options={"factors": {"robot_shape": "disc", "speed": 1}})
    >>> info["factors"]["robot_shape"], info["factors"]["speed"]
    (1.0, 1.0)

    `gym.make_vec` creates a native vector environment, which also takes `autoreset_mode` and
    `copy`; see `robot_room.vector_env.RobotRoomVectorEnv`.

    >>> envs = gym.make_vec("RobotRoom-v0", num_envs=64)
    >>> observations, infos = envs.reset(seed=0)
    >>> observations.shape, infos["distance"].shape
    ((64, 64, 64, 3), (64,))

    ## Exact states
    `get_state` and `set_state` save and restore everything, the random generator included:

    >>> room = env.unwrapped
    >>> state = room.get_state()
    >>> first = room.step([0.3, 0.7])[4]["robot_position"]
    >>> observation, info = room.set_state(state)
    >>> bool((room.step([0.3, 0.7])[4]["robot_position"] == first).all())
    True

    ## Version history
    * v0: initial version. Any change that could affect results gets a new version; the tests
      compare rollouts of every id with stored hashes (`tests/goldens.json`).
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND,
        # No frame, reward or end of an episode depends on them; a reader of datasets asks for it.
        "unseen_arguments": ["oracle_steps", "masks", "factor_info", "goal_image", "compiled"],
    }

    def __init__(
        self,
        goal: GoalKind = "centre",
        reward: RewardKind = "dense",
        terminate_on_goal: bool = True,
        walls: Any = None,
        num_layouts: int = 1,
        layout_seed: int = 0,
        distractors: int = 0,
        slip: float = 0.0,
        corruption: CorruptionKind | None = None,
        severity: int = 0,
        action: ActionKind = "continuous",
        frame_skip: int = 1,
        observation: ObservationKind = "pixels",
        factors: Any = None,
        oracle_steps: bool = False,
        masks: bool = False,
        factor_info: bool = False,
        goal_image: bool = False,
        compiled: bool | None = None,
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
            action=action,
            frame_skip=frame_skip,
            observation=observation,
            factors=factors,
        )
        require_factor_info(factor_info, self.params)
        require_goal_image(goal_image, self.params)
        require_masks(masks, self.params)
        checking.require_one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self.render_mode = render_mode
        self.observation_space, self.action_space = spaces(self.params)
        self.metadata = {**self.metadata, "render_fps": render_fps(self.params)}
        self._rooms = Rooms(self.params, 1, oracle_steps, compiled, goal_image)
        self._with_masks, self._with_factors = masks, factor_info
        self._with_goal_image = goal_image
        self._viewer: Viewer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seed of `np_random`, the only source of randomness; None continues its sequence.
            options: optional `robot_position` and `goal_position`, (x, y) in metres; if there
                are walls `layout`, an integer; and if factors vary `factors`, a dict of values.

        Raises:
            ValueError: the seed or an option is not allowed. The environment is left unchanged.
        """
        generator = self.np_random if seed is None else checking.seeded(seed)
        start = self._rooms.sample(generator, options)
        if seed is not None:
            # As `super().reset(seed=seed)` does, but only after validation.
            self._np_random, self._np_random_seed = generator, int(seed)
        self._rooms.start({0: start})
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[NDArray[Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Move the robot for 0.1 s, or `frame_skip` times as long.

        Raises:
            ValueError: the action has a wrong shape or is not finite. The room is left unchanged.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        self._require_started("step")
        reward = self._rooms.step(checked_actions(self.params, action, ())[None])[0]
        if self.render_mode == "human":
            self.render()
        terminated = bool(room.terminated(self.params, self._rooms.arrived)[0])
        return self._observation(), float(reward), terminated, False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture of the room, (512, 512, 3) uint8, or in "human" mode show it."""
        self._require_started("render")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing: make the room with render_mode="rgb_array".')
            return None
        picture = self._rooms.pictures(PICTURE_SIZE)[0]
        if self.render_mode == "rgb_array":
            return picture
        if self._viewer is None:
            self._viewer = Viewer(WINDOW_SIZE, render_fps(self.params), "RobotRoom")
        distance = float(self._rooms.distance[0])
        facts = (("step", f"{int(self._rooms.steps[0])}"), ("distance", f"{distance:.2f} m"))
        camera = Frame("observation", self._rooms.frames()[0], "what an agent sees")
        self._viewer.show(View(picture, frames=(camera,), facts=facts))
        return None

    def close(self) -> None:
        """Close the window, if any."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def get_state(self) -> State:
        """The complete state, including the random generator, as a dict of plain values.

        Arrays have a leading axis of one room. The state of wrappers (such as TimeLimit's step
        count) is not included; `copy.deepcopy(env)` and `pickle` copy the wrappers too.

        Raises:
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        self._require_started("get_state")
        generators = [self.np_random.bit_generator.state]
        return {**self._rooms.state(), "generators": generators, "seeds": [self.np_random_seed]}

    def set_state(self, state: State) -> tuple[NDArray[Any], dict[str, Any]]:
        """Restore a state returned by `get_state` exactly.

        Returns:
            The observation and info of that state.

        Raises:
            ValueError: it is not a valid state of this environment, which is left unchanged.
        """
        checked = self._rooms.check_state(state)
        (seed,) = checking.seeds(state, 1)
        (self._np_random,) = checking.generators(state, 1)
        self._np_random_seed = seed
        self._rooms.set_state(checked)
        return self._observation(), self._info()

    def expert_action(self) -> NDArray[np.float32]:
        """The action of an expert that needs the smallest number of steps, (2,); it ignores noise.

        Raises:
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        self._require_started("expert_action")
        return self._rooms.expert_actions()[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_viewer": None}  # a window cannot be pickled

    def _require_started(self, call: str) -> None:
        if not self._rooms.started[0]:
            raise gym.error.ResetNeeded(f"Call reset() before {call}().")

    def _observation(self) -> Any:
        batch = self._rooms.observations()
        if isinstance(batch, dict):
            return {name: part[0] for name, part in batch.items()}
        return batch[0]

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {}
        for name, values in self._rooms.info().items():
            info[name] = values[0] if values.ndim > 1 else values.item()
        if self._with_masks:
            info["masks"] = {name: mask[0] for name, mask in self._rooms.masks().items()}
        if self._with_goal_image:
            info["goal_image"] = self._rooms.goal_frames()[0]
        if self._with_factors:
            values = self._rooms.factor_info().items()
            info["factors"] = {name: v[0] if v.ndim > 1 else v.item() for name, v in values}
        return info


def spaces(params: RoomParams) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Observation space and action space of one room."""
    if params.observation == "state":
        size = 4 + layouts.features(params, np.zeros(1, np.int64)).shape[1]
        observation = gym.spaces.Box(-1.0, 1.0, (size,), np.float32)
    else:
        observation = gym.spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    if params.observation == "goal_image":
        names = "achieved_goal", "desired_goal", "observation"
        observation = gym.spaces.Dict([(name, observation) for name in names])
    if params.action == "discrete":
        return observation, gym.spaces.Discrete(len(room.DIRECTIONS))
    return observation, gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


def checked_actions(params: RoomParams, value: Any, batch: tuple[int, ...]) -> NDArray[Any]:
    """The actions of one room, batch (), or of N rooms, batch (N,), for `Rooms.step`.

    Raises:
        ValueError: they are not in the action space, up to clipping.
    """
    if params.action == "discrete":
        return checking.choices(value, batch, len(room.DIRECTIONS))
    return checking.actions(value, (*batch, 2))


def require_masks(masks: Any, params: RoomParams) -> None:
    """Raise ValueError unless `masks` is a bool, and False if there are no frames."""
    checking.require_bool("masks", masks)
    if masks and params.observation == "state":
        raise ValueError("masks: got True with observation='state', allowed: only with frames")


def require_factor_info(factor_info: Any, params: RoomParams) -> None:
    """Raise ValueError unless `factor_info` is a bool, and False if no factors vary."""
    checking.require_bool("factor_info", factor_info)
    if factor_info and params.factors is None:
        raise ValueError("factor_info: got True without factors, allowed: only with factors")


def require_goal_image(goal_image: Any, params: RoomParams) -> None:
    """Raise ValueError unless `goal_image` is a bool, and False if there are no frames."""
    checking.require_bool("goal_image", goal_image)
    if goal_image and params.observation == "state":
        raise ValueError("goal_image: got True with observation='state', allowed: only with frames")


def render_fps(params: RoomParams) -> int:
    """Pictures per second of real time."""
    return max(round(FRAMES_PER_SECOND / params.frame_skip), 1)
