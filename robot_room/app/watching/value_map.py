"""The return that an agent expects from each place of a room, drawn as a map.

There is no learned value: every cell is the best imagined return that the planner finds, Σ_{k=1..H} γ^k
r(z_{t+k}), and the value of states beyond if the planner has one, from the belief after one frame with
the robot in that place. Computing a map takes as long as a hundred decisions, so it is computed row by
row, between pictures.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent import Agent
from agent.control import ControlState, Decision, decide
from agent.planning import Planner
from robot_room.pen import Picture
from robot_room.room import HALF_WIDTH, ROBOT_LIMIT

CELLS = 13
"""Rows and columns."""
COLOURS = np.array(
    [(13, 8, 60), (90, 16, 110), (166, 44, 96), (224, 92, 48), (251, 160, 8), (252, 255, 164)], float
)
"""From low to high, of growing lightness."""
WALL = (110, 110, 110)
UNKNOWN = (0, 0, 0)


class ValueMap:
    """The map of one layout and goal, for one planner.

    Attributes:
        values: (`CELLS`, `CELLS`), the first row at the top of the room; NaN inside walls, and where
            nothing is computed yet.
        rows: rows computed so far.
    """

    def __init__(self) -> None:
        x = (np.arange(CELLS) + 0.5) / CELLS * 2 * HALF_WIDTH - HALF_WIDTH
        self._x = np.clip(x, -ROBOT_LIMIT, ROBOT_LIMIT)
        self.values = np.full((CELLS, CELLS), np.nan)
        self.rows = 0
        self._start: ControlState | None = None

    @property
    def complete(self) -> bool:
        """Whether all rows are computed."""
        return self.rows == CELLS

    def advance(self, agent: Agent, planner: Planner, room: Any) -> None:
        """Compute one more row, from the top.

        Args:
            agent: the agent.
            planner: its planner.
            room: an unwrapped RobotRoom, whose robot is moved about and then put back.
        """
        state, frames, columns = room.get_state(), [], []
        for column, x in enumerate(self._x):
            place = np.array([[x, -self._x[self.rows]]])
            try:
                frame, _ = room.set_state(
                    {**state, "robot_position": place, "seen_robot_position": place}
                )
            except ValueError:  # inside a wall
                continue
            frames.append(frame)
            columns.append(column)
        room.set_state(state)
        if frames:
            if self._start is None:
                self._start = start_of(agent, planner, frames[0])
            returns = expected_returns(agent, planner, np.stack(frames), self._start)
            self.values[self.rows, columns] = returns
        self.rows += 1

    def picture(self) -> Picture:
        """The map as colours, from its smallest to its largest value, (`CELLS`, `CELLS`, 3).

        Walls are grey, and what is not computed yet is black.
        """
        known = np.isfinite(self.values)
        found = self.values[known] if known.any() else np.zeros(1)
        low, high = found.min(), found.max()
        place = (self.values - low) / max(high - low, 1e-9) * (len(COLOURS) - 1)
        below = np.where(known, place, 0).astype(int).clip(0, len(COLOURS) - 2)
        share = np.where(known, place - below, 0)[..., None]
        colours = COLOURS[below] * (1 - share) + COLOURS[below + 1] * share
        picture = np.where(known[..., None], colours + 0.5, WALL)
        picture[self.rows :] = UNKNOWN
        return picture.astype(np.uint8)


def start_of(agent: Agent, planner: Planner, frame: NDArray[np.uint8]) -> ControlState:
    """The state before the first frame of an episode that has just this room (H, W, C).

    The states beyond the horizon, if the planner has any, are the room's, wherever in it the robot is.
    They are computed once.
    """
    start = ControlState.initial(agent.world_model, planner, 1)
    if planner.states == 0:
        return start
    _, after = _decided(agent, planner, frame[None], start)
    return start._replace(values=after.values, age=after.age)


def expected_returns(
    agent: Agent, planner: Planner, frames: NDArray[np.uint8], start: ControlState
) -> NDArray[np.float64]:
    """The best imagined return from the belief after each frame (N, H, W, C) alone, (N,).

    Args:
        agent: the agent.
        planner: its planner.
        frames: frames of one room.
        start: that room's `start_of`.
    """
    decision, _ = _decided(agent, planner, frames, start.repeated(len(frames)))
    return decision.plan.returns.max(1).values.double().cpu().numpy()


@torch.no_grad()
def _decided(
    agent: Agent, planner: Planner, frames: NDArray[np.uint8], state: ControlState
) -> tuple[Decision, ControlState]:
    images = torch.from_numpy(frames).to(agent.device)
    goes_on = torch.zeros(len(frames), dtype=torch.bool, device=agent.device)
    generator = torch.Generator(agent.device).manual_seed(agent.seed)
    return decide(agent.world_model, planner, images, state, goes_on, generator)
