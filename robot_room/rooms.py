"""N rooms stepped together: their state and camera frames.

The single environment has one room, the vector environment N. All randomness within an episode is a
function of the episode's key and the step, see `randomness`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from robot_room import (
    appearance,
    checking,
    distractors,
    factors,
    layouts,
    oracle,
    randomness,
    rendering,
    room,
    sensors,
    starts,
)
from robot_room.appearance import Look
from robot_room.layouts import Layout
from robot_room.loops import make_loops
from robot_room.rendering import FRAME_SIZE, Frames, Scene
from robot_room.room import Float, RoomParams, Walls
from robot_room.starts import Start, require_clear, sides

State = dict[str, Any]
# The factors that change how actions move the robot, as `Loops.push` wants them.
DYNAMICS = [
    factors.PLACES[name].start for name in ("speed", "friction", "action_delay", "action_noise")
]


class Rooms:
    """N rooms with the same parameters.

    Args:
        params: parameters of all rooms.
        count: number of rooms, N.
        oracle_steps: whether to compute the smallest number of steps at every start.
        compiled: whether to use the compiled loops; None: if there are any.
        goal_images: whether to draw `goal_frames` at every start.

    Attributes:
        started: whether each room has ever been started, (N,).
        steps: steps since the start of each room's episode, (N,).
        distance: distance from robot to goal in metres, (N,).
        arrived: whether the robot is at its goal, (N,).

    Raises:
        ValueError: an argument is not allowed or contradicts `params`.
        ImportError: `compiled` is True and this installation has no compiled loops.
    """

    def __init__(
        self,
        params: RoomParams,
        count: int,
        oracle_steps: bool = False,
        compiled: bool | None = None,
        goal_images: bool = False,
    ) -> None:
        checking.require_bool("oracle_steps", oracle_steps)
        if compiled is not None:
            checking.require_bool("compiled", compiled)
        if oracle_steps and (params.action == "discrete" or params.frame_skip > 1):
            raise ValueError(
                f"oracle_steps: got True with action={params.action!r} and frame_skip="
                f"{params.frame_skip}, allowed: only with continuous actions, taken one by one"
            )
        if oracle_steps and params.slip > 0:
            raise ValueError(
                f"oracle_steps: got True with slip={params.slip!r}, allowed: False, because slip makes "
                "the number of steps random (robot_room.oracle ignores slip)"
            )
        self._ranges = None if params.factors is None else factors.ranges(params.factors)
        if oracle_steps and self._ranges is not None:
            noise = float(self._ranges.high[factors.PLACES["action_noise"]][0])
            if noise > 0:
                raise ValueError(
                    f"oracle_steps: got True with action_noise up to {noise:g} among the factors, "
                    "allowed: False, or factors without it"
                )
        self.params, self._count, self._with_oracle = params, count, oracle_steps
        self.robot, self._goal, self._seen_robot = np.zeros((3, count, 2))
        self.steps, self._seen_steps, self._layout, self._oracle_steps = np.zeros((4, count), np.int64)
        self._key = np.zeros(count, np.uint64)
        self.started, self._stale = np.zeros((2, count), np.bool_)  # stale: backgrounds to be redrawn

        # Derived from the state.
        self.distance, self.arrived = np.zeros(count), np.zeros(count, np.bool_)
        layout = layouts.layout(params, 0)
        self._wall_masks: NDArray[np.bool_] | None = None
        self._walls: Walls | None = None
        if layout is not None:
            self._wall_masks = layout.mask[None].repeat(count, axis=0)
            self._walls = Walls(*(part.repeat(count, axis=0) for part in layout.walls))
        # Where factors vary: their values, the last actions, newest first, and what makes the frames.
        self._factors = np.tile(factors.DEFAULTS, (count, 1))
        self._pending = np.zeros((count, factors.MAX_DELAY, 2))
        self._dynamics = np.zeros((count, len(DYNAMICS)))
        self._look: Look | None = None
        if self._ranges is not None:
            self._look = appearance.blank(count)
            if self._walls is None:
                walls = layouts.open_walls(room.ROBOT_SIDE)
                self._walls = Walls(*(part.repeat(count, axis=0) for part in walls))
        self._background = rendering.background(self._shown_goal(), self._wall_masks)
        self._buffer = np.empty_like(self._background)
        # Whether all rooms have an identical background.
        self._shared_background = layout is None and self._look is None
        self._paths = np.zeros((2, count, params.distractors, 2))  # of distractors
        self._goal_frames: Frames | None = None
        if goal_images or params.observation == "goal_image":
            self._goal_frames = np.zeros_like(self._background)
        self._dead: tuple[Frames, Frames] | None = None
        if params.corruption == "dead_pixels":
            self._dead = np.full_like(self._background, 255), np.zeros_like(self._background)
        self._loops = make_loops(count, params.distractors, compiled)

    def sample(self, generator: np.random.Generator, options: Any = None) -> Start:
        """Sample a start for `start`; see `starts.sample`.

        Raises:
            ValueError: an option is not allowed. The generator is left unchanged.
        """
        if self._with_oracle and isinstance(options, dict) and "factors" in options:
            noise = factors.fixed(options["factors"]).get("action_noise")
            if noise is not None and noise[0] > 0:
                raise ValueError(
                    f"factors: got action_noise={noise[0]:g}, allowed: 0 with oracle_steps=True"
                )
        return starts.sample(self.params, generator, options, self._ranges)

    def start(self, starts: Mapping[int, Start]) -> None:
        """Start an episode in some of the rooms, by their numbers."""
        for number, start in starts.items():
            self._place(number, start)
        if self._look is not None:  # of all at once, because each numpy operation has its price
            some = list(starts)
            values = self._factors[some]
            self._dynamics[some] = values[:, DYNAMICS]
            self._look.numbers[some] = appearance.numbers(values, self._shown_goal()[some])
        for number in starts:
            if self._stale[number]:
                self._refresh_cache(slice(number, number + 1))
            if self._goal_frames is not None:
                self._draw_goals(slice(number, number + 1))

    def _place(self, number: int, start: Start) -> None:
        """Write the state at the start of an episode."""
        (x, y), (goal_x, goal_y) = start.robot.tolist(), start.goal.tolist()
        always = self._dead is not None or self._look is not None or not self.started[number]
        self._stale[number] = (
            always
            or self._layout[number] != start.layout
            or self._goal[number].tolist() != [goal_x, goal_y]
        )
        self.robot[number] = self._seen_robot[number] = start.robot
        self._goal[number] = start.goal
        self.steps[number] = self._seen_steps[number] = 0
        self._layout[number], self._key[number] = start.layout, start.key
        dx, dy = x - goal_x, y - goal_y  # plain numbers are faster than arrays of two
        self.distance[number] = distance = math.sqrt(dx * dx + dy * dy)
        self.arrived[number] = distance <= room.GOAL_RADIUS + room.TOLERANCE
        if self._look is not None:
            self._factors[number], self._pending[number] = start.factors, 0.0
        if self._with_oracle:
            self._oracle_steps[number] = self.min_steps(number)
        self.started[number] = True
        if self.params.distractors:
            some = slice(number, number + 1)
            self._paths[:, some] = distractors.paths(self._key[some], self.params.distractors)

    def step(self, actions: NDArray[Any]) -> Float:
        """Take one step in every room; returns the rewards, (N,).

        Args:
            actions: finite velocities (N, 2), or numbers of directions (N,) if actions are discrete.
        """
        params = self.params
        if params.action == "discrete":
            actions = room.DIRECTIONS[actions]
        self._move(actions)
        rewards = room.reward(params, self.distance)
        for _ in range(params.frame_skip - 1):
            ended = room.terminated(params, self.arrived)
            # A room whose episode has ended in the meantime stays as it is.
            kept = self.robot, self.steps, self._seen_robot, self._seen_steps, self._pending
            before = [part[ended] for part in kept]
            self._move(actions)
            for part, value in zip(kept, before, strict=True):
                part[ended] = value
            self.distance[ended] = room.distance(self.robot[ended], self._goal[ended])
            self.arrived[ended] = True
            rewards += np.where(ended, 0.0, room.reward(params, self.distance))
        return rewards

    def _move(self, actions: Float) -> None:
        """Take one time step in every room, with velocities (N, 2)."""
        params = self.params
        self.steps += 1
        noise = None
        if params.slip > 0:
            normals = randomness.normals(self._key, self.steps, randomness.SLIP, 2)
            noise = float(params.slip) * normals
        if self._look is not None:
            velocity = np.empty_like(actions)
            self._loops.push(actions, self._pending, self._dynamics, self._key, self.steps, velocity)
            actions, noise = np.zeros_like(actions), velocity if noise is None else velocity + noise
        self._loops.move(
            self.robot, actions, noise, self._goal, self._walls, self.distance, self.arrived
        )
        if params.corruption == "dropped_frames":
            shown = ~sensors.is_dropped(self._key, self.steps, params.severity)
            self._seen_robot[shown] = self.robot[shown]
            self._seen_steps[shown] = self.steps[shown]

    def goal_frames(self, copy: bool = True) -> Frames:
        """The frame of each room with its robot at the goal, (N, 64, 64, 3); if no copy, read-only."""
        assert self._goal_frames is not None
        if copy:
            return self._goal_frames.copy()
        shown = self._goal_frames.view()
        shown.flags.writeable = False
        return shown

    def set_buffer(self, buffer: Any) -> None:
        """Draw frames that are not copied into this array; None: into one of these rooms' own.

        Raises:
            ValueError: it is not a writable, C-contiguous uint8 array (N, 64, 64, 3).
        """
        shape = self._background.shape
        if buffer is None:
            buffer = np.empty(shape, np.uint8)
        good = isinstance(buffer, np.ndarray) and buffer.dtype == np.uint8 and buffer.shape == shape
        if not good or not (buffer.flags.c_contiguous and buffer.flags.writeable):
            got = f"{buffer.dtype} {buffer.shape}" if isinstance(buffer, np.ndarray) else repr(buffer)
            allowed = f"a writable, C-contiguous uint8 array of shape {shape}, or None"
            raise ValueError(f"buffer: got {got}, allowed: {allowed}")
        self._buffer = buffer
        self._loops.invalidate(slice(0, self._count))

    def _factor(self, name: str) -> Float:
        return factors.value(self._factors, name)

    def min_steps(self, number: int) -> int:
        """The smallest number of steps from the start of a room's episode, without noise."""
        speed, friction = (float(self._factor(name)[number]) for name in ("speed", "friction"))
        delay = int(self._factor("action_delay")[number])
        robot, goal = self.robot[number][None], self._goal[number][None]
        return int(oracle.min_steps(robot, goal, self._wall_layout(number), speed, friction, delay)[0])

    def expert_actions(self) -> NDArray[np.float32]:
        """Actions that attain the smallest number of steps, without noise, (N, 2)."""
        found = np.empty((self._count, 2), np.float32)
        for number in range(self._count):
            one = slice(number, number + 1)
            speed, friction, delay = (
                self._factor(name)[one] for name in ("speed", "friction", "action_delay")
            )
            robot, walls = self.robot[one], self._walls
            if walls is not None:
                walls = Walls(*(part[one] for part in walls))
            for late in reversed(range(int(delay[0]))):  # where the robot is when this is executed
                pushed = room.velocity(self._pending[one, late], np.zeros(2), speed, friction)
                robot = room.transition(robot, np.zeros((1, 2)), pushed, walls)
            layout = self._wall_layout(number)
            found[one] = oracle.expert_action(
                robot, self._goal[one], layout, float(speed[0]), float(friction[0])
            )
        return found

    def _wall_layout(self, number: int) -> Layout | None:
        """A room's layout, for its robot's size."""
        layout = layouts.layout(self.params, int(self._layout[number]))
        return layouts.resized(layout, sides(self._factors[number])[0])

    def observations(self, copy: bool = True) -> Any:
        """What is observed in N rooms; see `spaces` in `env`."""
        if self.params.observation == "pixels":
            return self.frames(copy)
        if self.params.observation == "goal_image":
            now, goal = self.frames(copy), self.goal_frames(copy)
            return {
                "achieved_goal": now.copy() if copy else now,
                "desired_goal": goal,
                "observation": now,
            }
        parts = self.robot, self._goal, layouts.features(self.params, self._layout)
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def frames(self, copy: bool = True) -> Frames:
        """Camera frames, (N, 64, 64, 3) uint8.

        Args:
            copy: whether to return a new array. If not, the array is overwritten by the next call,
                and read-only, because that call redraws only what changed.
        """
        frames = np.empty_like(self._buffer) if copy else self._buffer
        # The buffer still holds the last call's clean frames unless a corruption has altered them.
        incremental = not copy and self.params.corruption in (None, "dropped_frames", "dead_pixels")
        scene = self._scene(seen=True)
        if self._look is not None:
            self._loops.draw_varied(
                frames, self._background, self._look, scene, self._dead, incremental
            )
        else:
            shared = self._shared_background
            self._loops.draw(frames, self._background, scene, self._dead, shared, incremental)
        self._corrupt(frames)
        if copy:
            return frames
        shown = frames.view()
        shown.flags.writeable = False
        return shown

    def pictures(self, size: int) -> Frames:
        """High-resolution pictures of the true state, (N, size, size, 3) uint8."""
        if self._look is not None:
            return appearance.render(self._factors, self._key, self._scene(), size)
        return rendering.render(self._scene(), size)

    def masks(self) -> dict[str, NDArray[np.float32]]:
        """Masks of the frames before corruption; see `rendering.masks`."""
        if self._look is not None:
            return appearance.masks(self._look, self._scene(seen=True))
        return rendering.masks(self._scene(seen=True))

    def factor_info(self) -> dict[str, Float]:
        """The values of all factors, as new arrays (N, …)."""
        return {name: self._factor(name).copy() for name in factors.BY_NAME}

    def info(self) -> dict[str, NDArray[Any]]:
        """The contents of `info`, as new arrays (N, …)."""
        info: dict[str, NDArray[Any]] = {
            "robot_position": self.robot.copy(),
            "goal_position": self._goal.copy(),
            "distance": self.distance.copy(),
            "is_success": self.arrived.copy(),
        }
        if self.params.walls is not None:
            info["layout"] = self._layout.copy()
        if self._with_oracle:
            info["oracle_steps"] = self._oracle_steps.copy()
        return info

    def state(self) -> State:
        """The complete state except for the random generators: a copy, in plain arrays."""
        varied = {}
        if self._look is not None:
            varied = {"factors": self._factors.copy(), "pending_actions": self._pending.copy()}
        return {
            **varied,
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
        """The settings that a state is valid for."""
        return {**asdict(self.params), "oracle_steps": self._with_oracle}

    def check_state(self, state: Any) -> State:
        """Validate a state and convert it to arrays of the right types.

        Raises:
            ValueError: it is not a state of such rooms; the message names the field.
        """
        highest: dict[str, Any] = {
            "robot_position": room.ROBOT_LIMIT,
            "seen_robot_position": room.ROBOT_LIMIT,
            "goal_position": room.GOAL_LIMIT,
            "pending_actions": 1,
            "layout": max(layouts.count(self.params), 1) - 1,
            "key": 2**64,
        }
        fields = self.state()
        settings = fields.pop("settings")
        got = state.get("settings") if isinstance(state, dict) else state
        if not isinstance(got, dict) or got != settings:
            raise ValueError(f"settings: got {got!r}, allowed: those of these rooms, {settings}")
        checked: State = {}
        values = self._factors
        if self._look is not None:
            values = checking.array("factors", state, values, *factors.LIMITS)
            uneven = values[:, factors.WHOLE]
            if (uneven != np.floor(uneven)).any():
                raise ValueError(f"factors: got {uneven}, allowed: whole numbers")
            checked["factors"] = values
            robot = room.HALF_WIDTH - factors.value(values, "robot_size")[:, None] / 2
            goal = room.HALF_WIDTH - factors.value(values, "goal_size")[:, None] / 2
            highest |= {"robot_position": robot, "seen_robot_position": robot, "goal_position": goal}
        for name, like in fields.items():
            if name not in checked:
                high = highest.get(name, 2**62)  # step counts
                low = -high if like.dtype.kind == "f" else 0
                checked[name] = checking.array(name, state, like, low, high)
        if (checked["seen_steps"] > checked["steps"]).any():
            got = checked["seen_steps"].tolist()
            raise ValueError(f"seen_steps: got {got}, allowed: at most steps")
        for number, index in enumerate(checked["layout"].tolist()):
            layout = layouts.layout(self.params, index)
            robot_side, goal_side = sides(values[number])
            for name in ("robot_position", "seen_robot_position"):
                require_clear(name, checked[name][number], robot_side, layout)
            require_clear("goal_position", checked["goal_position"][number], goal_side, layout)
        return checked

    def set_state(self, checked: State) -> None:
        """Restore a state returned by `check_state`."""
        self.robot[:], self._goal[:] = checked["robot_position"], checked["goal_position"]
        self.steps[:], self._layout[:] = checked["steps"], checked["layout"]
        self._key[:] = checked["key"]
        self._seen_robot[:] = checked["seen_robot_position"]
        self._seen_steps[:] = checked["seen_steps"]
        self._oracle_steps[:] = checked["oracle_steps"]
        if self._look is not None:
            self._factors[:], self._pending[:] = checked["factors"], checked["pending_actions"]
            self._dynamics[:] = self._factors[:, DYNAMICS]
            self._look.numbers[:] = appearance.numbers(self._factors, self._shown_goal())
        self.started[:] = True
        self.distance[:] = room.distance(self.robot, self._goal)
        self.arrived[:] = room.is_success(self.distance)
        if self.params.distractors:
            self._paths[:] = distractors.paths(self._key, self.params.distractors)
        self._refresh_cache(slice(0, self._count))
        if self._goal_frames is not None:
            self._draw_goals(slice(0, self._count))

    def _draw_goals(self, some: slice) -> None:
        """Draw the goal frames: robots at their goals, distractors as at the start, a clean camera."""
        assert self._goal_frames is not None
        limit = room.HALF_WIDTH - self._factor("robot_size")[some, None] / 2
        robot = np.minimum(np.maximum(self._goal[some], -limit), limit)
        moving = None
        if self.params.distractors:
            start, speed = self._paths[:, some]
            moving = distractors.positions(start, speed, np.zeros(len(robot), np.int64))
        masks = None if self._wall_masks is None else self._wall_masks[some]
        shown = self._shown_goal()[some]
        scene = Scene(robot, shown, moving, masks)
        frames = self._goal_frames[some]
        if self._look is not None:
            look = self._look_of(some)
            background = appearance.background(look)
            self._loops.draw_varied(frames, background, look, scene, None, False)
        else:
            background = rendering.background(shown, masks)
            self._loops.draw(frames, background, scene, None, False, False)

    def _shown_goal(self) -> Float:
        """Where goals are drawn, (N, 2)."""
        if self.params.observation == "goal_image":
            return np.full_like(self._goal, room.NOWHERE)
        return self._goal

    def _look_of(self, some: slice) -> Look:
        """The look of some of the rooms."""
        assert self._look is not None
        seen = self._look
        return Look(seen.numbers[some], seen.colour[some], seen.light[some], seen.open[some])

    def _refresh_cache(self, some: slice) -> None:
        """Recompute what is constant during an episode: walls, backgrounds and dead pixels."""
        masks = None
        if self._walls is not None:
            for number in range(some.start, some.stop):
                layout = self._wall_layout(number)
                if layout is None:
                    walls = layouts.open_walls(sides(self._factors[number])[0])
                else:
                    walls = layout.walls
                    assert self._wall_masks is not None
                    self._wall_masks[number] = layout.mask
                for part, value in zip(*self._fitted(walls), strict=True):
                    part[number] = value[0]
            masks = None if self._wall_masks is None else self._wall_masks[some]
        if self._look is not None:
            self._loops.paint(self._look_of(some), self._key[some], masks, self._background[some])
        else:
            goal = self._shown_goal()
            self._background[some] = rendering.background(goal[some], masks)
            self._shared_background = masks is None and bool((goal == goal[0]).all())
        if self._dead is not None:
            stuck = sensors.dead_pixels(self._key[some], self.params.severity, FRAME_SIZE)
            for part, value in zip(self._dead, stuck, strict=True):
                part[some] = value
            sensors.apply_dead_pixels(self._background[some], *stuck)
            self._shared_background = False
        self._loops.invalidate(some)

    def _fitted(self, walls: Walls) -> tuple[Walls, Walls]:
        """The walls of all rooms and those of one, with equally many edges."""
        assert self._walls is not None
        if walls.x_intervals.shape[1:] != self._walls.x_intervals.shape[1:]:
            self._walls = layouts.padded(self._walls, walls.x_edges.shape[1], walls.y_edges.shape[1])
            every = self._walls.x_edges.shape[1], self._walls.y_edges.shape[1]
            walls = layouts.padded(walls, *every)
        return self._walls, walls

    def _scene(self, seen: bool = False) -> Scene:
        """The scene to draw: the current one, or with `seen` the one last seen by the camera."""
        robot, steps = self.robot, self.steps
        if seen and self.params.corruption == "dropped_frames":
            robot, steps = self._seen_robot, self._seen_steps
        moving = None
        if self.params.distractors:
            moving = distractors.positions(self._paths[0], self._paths[1], steps)
        goal = self._shown_goal() if seen else self._goal
        return Scene(robot, goal, moving, self._wall_masks)

    def _corrupt(self, frames: Frames) -> None:
        """Apply the corruption to clean frames, in place."""
        severity = self.params.severity
        match self.params.corruption:
            case None:
                pass
            case "dropped_frames":
                pass  # handled by `move` and `_scene`
            case "gaussian":
                self._loops.add_gaussian(frames, self._key, self.steps, severity)
            case "dead_pixels":
                pass  # part of the background, and of what `Loops.draw` draws on it
            case "blackout":
                frames[sensors.is_dark(self._key, self.steps, severity)] = 0
            case "occluder":
                side = int(sensors.level("occluder", severity))
                corners = sensors.occluder(self._key, self.steps, severity, FRAME_SIZE)
                for frame, (row, column) in zip(frames, corners.tolist(), strict=True):
                    frame[row : row + side, column : column + side] = 0
            case unknown:
                assert_never(unknown)
