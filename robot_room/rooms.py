"""N rooms in step: their state, and what the camera shows of it.

The single environment is one of these, the vector environment N. Everything random that happens
within an episode is a function of its key and its step, see `randomness`.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_room import checking, distractors, layouts, oracle, randomness, rendering, room, sensors
from robot_room.loops import CompiledLoops, Loops, NumpyLoops
from robot_room.rendering import FRAME_SIZE, Frames, Scene
from robot_room.room import Float, RoomParams, Walls
from robot_room.starts import Start, require_clear

State = dict[str, Any]


class Rooms:
    """N rooms of the same parameters.

    Args:
        params: of all rooms.
        count: N.
        oracle_steps: whether to find the smallest number of steps at every start.
        compiled: whether to use the compiled loops.

    Attributes:
        started: whether each room has ever been started, (N,).
        steps: taken since the start of each room's episode, (N,).
        distance: from robot to goal, (N,), metres.

    Raises:
        ValueError: an argument that is not allowed, or that contradicts `params`.
        ImportError: compiled, and numba is missing.
    """

    def __init__(
        self, params: RoomParams, count: int, oracle_steps: bool = False, compiled: bool = False
    ) -> None:
        checking.require_bool("oracle_steps", oracle_steps)
        checking.require_bool("compiled", compiled)
        if oracle_steps and params.slip > 0:
            raise ValueError(
                f"oracle_steps: got True with slip={params.slip!r}, allowed: False, as no number of "
                "steps is sure where the robot slips (robot_room.oracle has that without slip)"
            )
        self.params, self._count, self._with_oracle = params, count, oracle_steps
        self.robot, self._goal, self._seen_robot = np.zeros((3, count, 2))
        self.steps, self._seen_steps, self._layout, self._oracle_steps = np.zeros((4, count), np.int64)
        self._key = np.zeros(count, np.uint64)
        self.started = np.zeros(count, np.bool_)

        # What follows from the state.
        self.distance = np.zeros(count)
        layout = layouts.layout(params, 0)
        self._wall_masks: NDArray[np.bool_] | None = None
        self._walls: Walls | None = None
        if layout is not None:
            self._wall_masks = layout.mask[None].repeat(count, axis=0)
            self._walls = Walls(*(part.repeat(count, axis=0) for part in layout.walls))
        self._background = rendering.background(self._goal, self._wall_masks)
        self._buffer = np.empty_like(self._background)
        self._shared_background = layout is None  # whether all rooms have the same background
        self._dead: tuple[Frames, Frames] | None = None
        if params.corruption == "dead_pixels":
            self._dead = np.full_like(self._background, 255), np.zeros_like(self._background)
        self._loops: Loops = CompiledLoops(count, params.distractors) if compiled else NumpyLoops()

    def start(self, number: int, start: Start) -> None:
        """Begin an episode in one room."""
        same = (
            self.started[number]
            and self._layout[number] == start.layout
            and self._goal[number].tolist() == start.goal.tolist()
        )
        self.robot[number] = self._seen_robot[number] = start.robot
        self._goal[number] = start.goal
        self.steps[number] = self._seen_steps[number] = 0
        self._layout[number], self._key[number] = start.layout, start.key
        if self._with_oracle:
            layout = layouts.layout(self.params, start.layout)
            best = oracle.min_steps(start.robot[None], start.goal[None], layout)
            self._oracle_steps[number] = best[0]
        self.started[number] = True
        self.distance[number] = room.distance(start.robot, start.goal)
        if not same or self._dead is not None:
            self._refresh_cache(slice(number, number + 1))

    def move(self, actions: Float) -> None:
        """Take one step in every room, with finite actions (N, 2)."""
        params = self.params
        self.steps += 1
        noise = None
        if params.slip > 0:
            drawn = randomness.normals(self._key, self.steps, randomness.SLIP, 2)
            noise = float(params.slip) * drawn
        self._loops.move(self.robot, actions, noise, self._goal, self._walls, self.distance)
        if params.corruption == "dropped_frames":
            shown = ~sensors.is_dropped(self._key, self.steps, params.severity)
            self._seen_robot[shown] = self.robot[shown]
            self._seen_steps[shown] = self.steps[shown]

    def frames(self, copy: bool = True) -> Frames:
        """What the cameras show, (N, 64, 64, 3) uint8.

        Args:
            copy: whether as a new array; if not, the next call writes over it, and it is read-only,
                as it is not redrawn where nothing moved.
        """
        frames = np.empty_like(self._buffer) if copy else self._buffer
        # The clean frames of the last call are still there, unless the camera has spoiled them.
        incremental = not copy and self.params.corruption in (None, "dropped_frames")
        self._loops.draw(
            frames, self._background, self._scene(seen=True), self._shared_background, incremental
        )
        self._corrupt(frames)
        if copy:
            return frames
        shown = frames.view()
        shown.flags.writeable = False
        return shown

    def pictures(self, size: int) -> Frames:
        """The rooms as they are, sharp, (N, size, size, 3) uint8."""
        return rendering.render(self._scene(), size)

    def masks(self) -> dict[str, NDArray[np.float32]]:
        """What each pixel of the frames shows, before the camera fails; see `rendering.masks`."""
        return rendering.masks(self._scene(seen=True))

    def info(self) -> dict[str, NDArray[Any]]:
        """What `info` says, as fresh arrays (N, …)."""
        info: dict[str, NDArray[Any]] = {
            "robot_position": self.robot.copy(),
            "goal_position": self._goal.copy(),
            "distance": self.distance.copy(),
            "is_success": room.is_success(self.distance),
        }
        if self.params.walls is not None:
            info["layout"] = self._layout.copy()
        if self._with_oracle:
            info["oracle_steps"] = self._oracle_steps.copy()
        return info

    def state(self) -> State:
        """All that the rooms' future depends on, but for the generators: a copy, in plain arrays."""
        return {
            "robot_position": self.robot.copy(),
            "goal_position": self._goal.copy(),
            "steps": self.steps.copy(),
            "layout": self._layout.copy(),
            "key": self._key.copy(),
            "seen_robot_position": self._seen_robot.copy(),
            "seen_steps": self._seen_steps.copy(),
            "oracle_steps": self._oracle_steps.copy(),
            "settings": self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        """What a state is a state of."""
        return {**asdict(self.params), "oracle_steps": self._with_oracle}

    def check_state(self, state: Any) -> State:
        """The state as arrays of the right types.

        Raises:
            ValueError: it is not a state of such rooms; the message names the field.
        """
        highest = {
            "robot_position": room.ROBOT_LIMIT,
            "seen_robot_position": room.ROBOT_LIMIT,
            "goal_position": room.GOAL_LIMIT,
            "layout": max(layouts.count(self.params), 1) - 1,
            "key": 2**64,
        }
        fields = self.state()
        settings = fields.pop("settings")
        got = state.get("settings") if isinstance(state, dict) else state
        if not isinstance(got, dict) or got != settings:
            raise ValueError(f"settings: got {got!r}, allowed: those of these rooms, {settings}")
        checked: State = {}
        for name, like in fields.items():
            high = highest.get(name, 2**62)  # counts of steps
            low = -high if like.dtype.kind == "f" else 0
            checked[name] = checking.array(name, state, like, low, high)
        if (checked["seen_steps"] > checked["steps"]).any():
            got = checked["seen_steps"].tolist()
            raise ValueError(f"seen_steps: got {got}, allowed: at most steps")
        for number, index in enumerate(checked["layout"].tolist()):
            layout = layouts.layout(self.params, index)
            for name in ("robot_position", "seen_robot_position"):
                require_clear(name, checked[name][number], room.ROBOT_SIDE, layout)
            require_clear("goal_position", checked["goal_position"][number], room.GOAL_SIDE, layout)
        return checked

    def set_state(self, checked: State) -> None:
        """Put the rooms in a state that `check_state` has returned."""
        self.robot[:], self._goal[:] = checked["robot_position"], checked["goal_position"]
        self.steps[:], self._layout[:] = checked["steps"], checked["layout"]
        self._key[:] = checked["key"]
        self._seen_robot[:] = checked["seen_robot_position"]
        self._seen_steps[:] = checked["seen_steps"]
        self._oracle_steps[:] = checked["oracle_steps"]
        self.started[:] = True
        self.distance[:] = room.distance(self.robot, self._goal)
        self._refresh_cache(slice(0, self._count))

    def _refresh_cache(self, some: slice) -> None:
        """Bring backgrounds and dead pixels of some rooms up to date, which last for an episode."""
        masks = None
        if self._wall_masks is not None and self._walls is not None:
            for number in range(some.start, some.stop):
                layout = layouts.layout(self.params, int(self._layout[number]))
                assert layout is not None
                self._wall_masks[number] = layout.mask
                for part, value in zip(self._walls, layout.walls, strict=True):
                    part[number] = value[0]
            masks = self._wall_masks[some]
        self._background[some] = rendering.background(self._goal[some], masks)
        self._shared_background = masks is None and bool((self._goal == self._goal[0]).all())
        if self._dead is not None:
            stuck = sensors.dead_pixels(self._key[some], self.params.severity, FRAME_SIZE)
            for part, value in zip(self._dead, stuck, strict=True):
                part[some] = value
        self._loops.invalidate(some)

    def _scene(self, seen: bool = False) -> Scene:
        """What is to be drawn: the rooms as they are, or as they were when the camera last worked."""
        robot, steps = self.robot, self.steps
        if seen and self.params.corruption == "dropped_frames":
            robot, steps = self._seen_robot, self._seen_steps
        moving = None
        if self.params.distractors:
            moving = distractors.positions(self._key, steps, self.params.distractors)
        return Scene(robot, self._goal, moving, self._wall_masks)

    def _corrupt(self, frames: Frames) -> None:
        """Let the camera fail."""
        kind, severity = self.params.corruption, self.params.severity
        if kind == "gaussian":
            self._loops.add_gaussian(frames, self._key, self.steps, severity)
        elif kind == "dead_pixels" and self._dead is not None:
            self._loops.apply_dead_pixels(frames, *self._dead)
        elif kind == "blackout":
            frames[sensors.is_dark(self._key, self.steps, severity)] = 0
        elif kind == "occluder":
            side = int(sensors.level(kind, severity))
            corners = sensors.occluder(self._key, self.steps, severity, FRAME_SIZE)
            for frame, (row, column) in zip(frames, corners.tolist(), strict=True):
                frame[row : row + side, column : column + side] = 0
