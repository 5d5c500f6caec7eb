"""A native Gymnasium vector environment: many rooms stepped together."""

from copy import deepcopy
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from robot_room import checking, room
from robot_room.env import (
    PICTURE_SIZE,
    RobotRoomEnv,
    checked_actions,
    render_fps,
    require_factor_info,
    require_goal_image,
    require_masks,
    spaces,
)
from robot_room.panels import View, size_for
from robot_room.rendering import FRAME_SIZE, Frames
from robot_room.room import RoomParams
from robot_room.rooms import Rooms, State
from robot_room.starts import RESET_OPTIONS
from robot_room.viewer import Viewer

NEVER = 2**62  # steps

Flags = NDArray[np.bool_]
StepResult = tuple[NDArray[Any], NDArray[np.float64], Flags, Flags, dict[str, Any]]


class RobotRoomVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """`num_envs` rooms, bit-identical to a `SyncVectorEnv` of `RobotRoomEnv`, but faster.

    ```python
    envs = gym.make_vec("RobotRoom-v0", num_envs=64, vectorization_mode="vector_entry_point")
    ```

    Args:
        num_envs: number of rooms, at least 1.
        max_episode_steps: number of steps after which an episode is truncated; None: never.
        autoreset_mode: when a room is reset after its episode ends, see
            `gymnasium.vector.AutoresetMode`: in the next step; in the same step, with `final_obs`
            and `final_info` in `info`; or not until `reset(options={"reset_mask": rooms})`.
        copy: whether observations are new arrays. If not, they are read-only and overwritten by the
            next call.
        oracle_steps: whether `info` has the minimum number of steps from each episode's start.
        masks: whether `info` has the masks of the frames.
        goal_image: whether `info` has the frames with the robots at their goals.
        factor_info: whether `info` has the values of the factors.
        compiled: whether to use the compiled loops; None: if this installation has them.
        render_mode: "rgb_array", "human" (the rooms side by side in one window) or None.
        params: all other arguments of `RobotRoomEnv`.

    Sub-environment i is seeded with seed + i.

    Raises:
        ValueError: an argument has a value that is not allowed.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        oracle_steps: bool = False,
        masks: bool = False,
        factor_info: bool = False,
        goal_image: bool = False,
        compiled: bool | None = None,
        render_mode: str | None = None,
        **params: Any,
    ) -> None:
        checking.require_int("num_envs", num_envs, 1, 2**20)
        if max_episode_steps is None:
            max_episode_steps = NEVER
        checking.require_int("max_episode_steps", max_episode_steps, 1, NEVER)
        checking.require_bool("copy", copy)
        modes = (None, *RobotRoomEnv.metadata["render_modes"])
        checking.require_one_of("render_mode", render_mode, modes)
        try:
            autoreset_mode = AutoresetMode(autoreset_mode)
        except (ValueError, TypeError) as error:  # of an array, whether it is a mode cannot be told
            allowed = [mode.value for mode in AutoresetMode]
            raise ValueError(f"autoreset_mode: got {autoreset_mode!r}, allowed: {allowed}") from error

        unknown = set(params) - {field.name for field in fields(RoomParams)}
        if unknown:  # Python's own message would name `RoomParams`
            raise TypeError(f"RobotRoomVectorEnv got unexpected arguments {sorted(unknown)}")
        self.params = RoomParams(**params)
        require_masks(masks, self.params)
        require_factor_info(factor_info, self.params)
        require_goal_image(goal_image, self.params)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {
            **RobotRoomEnv.metadata,
            "render_fps": render_fps(self.params),
            "autoreset_mode": autoreset_mode,
        }
        self.single_observation_space, self.single_action_space = spaces(self.params)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = autoreset_mode  # as SyncVectorEnv has it; TorchRL reads it
        self._with_masks, self._with_factors = masks, factor_info
        self._with_goal_image = goal_image
        # In time steps: the first of the last action, as that may end early.
        self._max_steps = min((max_episode_steps - 1) * self.params.frame_skip + 1, NEVER)
        self._rooms = Rooms(self.params, num_envs, oracle_steps, compiled, goal_image)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._seeds: list[int] = [-1] * num_envs
        self._done = np.zeros(num_envs, np.bool_)  # rooms whose episode ended in the last step
        self._everywhere = np.ones(num_envs, np.bool_)
        self._copy = self._copy_by_default = copy
        self._viewer: Viewer | None = None

    # One for each room, as in SyncVectorEnv; the base class declares a single one.
    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The generator of each room."""
        return tuple(self._generator(number) for number in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The seed of each room, −1 if unknown."""
        return tuple(self._seeds)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode in every room, or in those of `reset_mask`.

        Args:
            seed: seed of the first room, with seed + i for room i; or a list of one seed per room;
                None continues with the current generators.
            options: the options of `RobotRoomEnv.reset`, applied to all rooms, and `reset_mask`,
                bool (num_envs,), the rooms to reset.

        Raises:
            ValueError: a seed or an option is not allowed. All rooms are left unchanged.
            gymnasium.error.ResetNeeded: `reset_mask` omits a room that was never reset.
        """
        options = checking.options(options, (*RESET_OPTIONS, "reset_mask"))
        mask = options.get("reset_mask")
        options = {name: value for name, value in options.items() if name != "reset_mask"}
        chosen = self._everywhere if mask is None else self._checked_mask(mask)
        if not (chosen | self._rooms.started).all():
            raise gym.error.ResetNeeded("Call reset() for all rooms before resetting some.")
        seeds = self._checked_seeds(seed)

        starts = {}
        for number in np.flatnonzero(chosen).tolist():
            generator, known = self._seeded(number, seeds[number])
            if options:  # they may not fit the sampled layout; then the generator must not change
                generator = deepcopy(generator)
            starts[number] = self._rooms.sample(generator, options), generator, known
        for number, (_, generator, known) in starts.items():
            self._generators[number], self._seeds[number] = generator, known
        self._rooms.start({number: start for number, (start, _, _) in starts.items()})
        self._done = self._done & ~chosen
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._info(chosen)

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Take one step in every room.

        Raises:
            ValueError: actions have a wrong shape or are not finite. All rooms are left unchanged.
            gymnasium.error.ResetNeeded: `reset` was never called, or an episode has ended with
                autoreset disabled.
        """
        if not self._rooms.started[0]:
            raise gym.error.ResetNeeded("Call reset() before step().")
        ended = self._done
        some_ended = np.count_nonzero(ended) > 0
        if self.autoreset_mode is AutoresetMode.DISABLED and some_ended:
            rooms = np.flatnonzero(self._done).tolist()
            raise gym.error.ResetNeeded(
                f"The episodes of rooms {rooms} have ended: reset them, "
                'reset(options={"reset_mask": terminated | truncated}).'
            )
        rooms = self._rooms
        rewards = rooms.step(checked_actions(self.params, actions, (self.num_envs,)))
        terminated = room.terminated(self.params, rooms.arrived)
        truncated = rooms.steps >= self._max_steps

        final: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and some_ended:
            self._restart(ended)
            rewards[ended], terminated[ended], truncated[ended] = 0.0, False, False
        self._done = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and np.count_nonzero(self._done):
            final = self._final_info()
            self._restart(self._done)
        if self.render_mode == "human":
            self.render()
        return self._observation(), rewards, terminated, truncated, {**self._info(), **final}

    def render(self) -> tuple[Frames, ...] | None:
        """Return a picture of each room, (512, 512, 3) uint8, or in "human" mode show them all."""
        if not self._rooms.started.all():
            raise gym.error.ResetNeeded("Call reset() before render().")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing: make the rooms with render_mode="rgb_array".')
            return None
        if self.render_mode == "rgb_array":
            return tuple(self._rooms.pictures(PICTURE_SIZE))
        side = int(np.ceil(np.sqrt(self.num_envs)))
        size = max(PICTURE_SIZE // side // FRAME_SIZE, 1) * FRAME_SIZE
        wall = np.zeros((side * side, size, size, 3), np.uint8)
        wall[: self.num_envs] = self._rooms.pictures(size)
        wall = wall.reshape(side, side, size, size, 3).swapaxes(1, 2)
        if self._viewer is None:
            self._viewer = Viewer(size_for(side * size), render_fps(self.params), "RobotRoom")
        picture = wall.reshape(side * size, side * size, 3)
        self._viewer.show(View(picture, f"{self.num_envs} rooms"))
        return None

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if any."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def set_buffer(self, buffer: Frames | None) -> None:
        """Draw observations into an array of the caller, from the next call of reset or step on.

        This is `copy=False` with a place of your choice: part of a rollout storage, or memory that
        other processes share. The observations returned are read-only views of it. Do not write into
        it while it is in use: only what changes is redrawn. After the change of a buffer everything is.

        Args:
            buffer: (num_envs, 64, 64, 3) uint8, C-contiguous and writable; None ends this, and
                observations are again what the argument `copy` says.

        Raises:
            ValueError: it is another kind of array, or observations are no frames. Nothing is changed.
        """
        if self.params.observation != "pixels":
            kind = self.params.observation
            raise ValueError(f"buffer: got one with observation={kind!r}, allowed: only with 'pixels'")
        self._rooms.set_buffer(buffer)
        self._copy = self._copy_by_default and buffer is None

    def get_state(self) -> State:
        """The complete state, including the random generators, as a dict of plain values.

        Raises:
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if not self._rooms.started.all():
            raise gym.error.ResetNeeded("Call reset() before get_state().")
        generators = [generator.bit_generator.state for generator in self.np_random]
        own = {"done": self._done.copy(), "generators": generators, "seeds": list(self._seeds)}
        return {**self._rooms.state(), **own}

    def set_state(self, state: State) -> tuple[NDArray[Any], dict[str, Any]]:
        """Restore a state returned by `get_state` exactly.

        Returns:
            The observations and infos of that state.

        Raises:
            ValueError: it is not a valid state of these rooms. All rooms are left unchanged.
        """
        checked = self._rooms.check_state(state)
        done = checking.array("done", state, self._done, 0, 1)
        generators = checking.generators(state, self.num_envs)
        self._seeds = checking.seeds(state, self.num_envs)
        self._rooms.set_state(checked)
        self._done, self._generators[:] = done, generators
        return self._observation(), self._info()

    def expert_actions(self) -> NDArray[np.float32]:
        """Actions of an expert that needs the smallest number of steps, (num_envs, 2); without noise.

        Raises:
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if not self._rooms.started.all():
            raise gym.error.ResetNeeded("Call reset() before expert_actions().")
        return self._rooms.expert_actions()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_viewer": None}  # a window cannot be pickled

    def _generator(self, number: int) -> np.random.Generator:
        """A room's generator, created with an unpredictable seed on first use."""
        generator = self._generators[number]
        if generator is None:
            generator, self._seeds[number] = seeding.np_random()
            self._generators[number] = generator
        return generator

    def _seeded(self, number: int, seed: int | None) -> tuple[np.random.Generator, int]:
        """A generator with this seed, or the room's own if None, and its initial seed."""
        if seed is not None:
            return checking.seeded(seed), seed
        generator = self._generators[number]
        return seeding.np_random() if generator is None else (generator, self._seeds[number])

    def _restart(self, rooms: Flags) -> None:
        numbers = np.flatnonzero(rooms).tolist()
        self._rooms.start({n: self._rooms.sample(self._generator(n)) for n in numbers})

    def _observation(self) -> Any:
        return self._rooms.observations(self._copy)

    def _info(self, present: Flags | None = None) -> dict[str, Any]:
        """Infos in Gymnasium's batched form: each key with a mask, zero for absent rooms."""
        info: dict[str, Any] = self._rooms.info()
        if self._with_masks:
            info["masks"] = self._rooms.masks()
        if self._with_goal_image:
            info["goal_image"] = self._rooms.goal_frames()
        if self._with_factors:
            info["factors"] = self._rooms.factor_info()
        return _batched(info, present, self._everywhere)

    def _final_info(self) -> dict[str, Any]:
        """Final observations and infos of rooms whose episode just ended, before their reset."""
        last = self._rooms.observations(copy=False)
        observations = np.full(self.num_envs, None, dtype=object)
        for number in np.flatnonzero(self._done).tolist():
            observations[number] = (
                {name: part[number].copy() for name, part in last.items()}
                if isinstance(last, dict)
                else last[number].copy()
            )
        final = {"final_info": self._info(self._done), "_final_info": self._done.copy()}
        return {"final_obs": observations, "_final_obs": self._done.copy(), **final}

    def _checked_seeds(self, seed: Any) -> list[Any]:
        if seed is None:
            return [None] * self.num_envs
        seed = seed.tolist() if isinstance(seed, np.ndarray) else seed
        if isinstance(seed, list | tuple):
            if len(seed) != self.num_envs:
                raise ValueError(f"seed: got {len(seed)} seeds, allowed: {self.num_envs}")
            seeds = list(seed)
        else:
            first = checking.whole("seed", seed, 0, 2**63 - 1)
            seeds = [first + i for i in range(self.num_envs)]
        return [s if s is None else checking.whole("seed", s, 0, 2**63 - 1) for s in seeds]

    def _checked_mask(self, mask: Any) -> Flags:
        good = isinstance(mask, np.ndarray) and mask.dtype == np.bool_
        if not good or mask.shape != (self.num_envs,) or not mask.any():
            allowed = f"a bool array of shape ({self.num_envs},), one True at least"
            raise ValueError(f"reset_mask: got {mask!r}, allowed: {allowed}")
        return mask.copy()


def _batched(info: dict[str, Any], present: Flags | None, everywhere: Flags) -> dict[str, Any]:
    """Add to each key a mask of the rooms present (None: all); values of other rooms become 0."""
    batched: dict[str, Any] = {}
    mask = everywhere if present is None else present
    for name, value in info.items():
        if isinstance(value, dict):
            value = _batched(value, present, everywhere)
        elif present is not None:
            value[~present] = 0
        batched[name], batched["_" + name] = value, mask.copy()
    return batched
