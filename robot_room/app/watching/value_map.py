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
from torch import Tensor

from agent import Agent
from agent.control import ControlState, Decision, decide
from agent.planning import Planner
from agent.planning.value import StateValues
from robot_room.pen import Picture
from robot_room.room import HALF_WIDTH, ROBOT_LIMIT

CELLS = 13
"""Rows and columns."""
COLOURS = np.array(
    [(13, 8, 60), (90, 16, 110), (166, 44, 96), (224, 92, 48), (251, 160, 8), (252, 255, 164)], float
)
"""From low to high, of growing lightness."""
WALL = (110, 110, 110)


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
            self.values[self.rows, columns] = expected_returns(agent, planner, np.stack(frames))
        self.rows += 1

    def picture(self) -> Picture:
        """The map as colours, from its smallest to its largest value, (`CELLS`, `CELLS`, 3)."""
        low, high = np.nanmin(self.values), np.nanmax(self.values)
        place = (self.values - low) / max(high - low, 1e-9) * (len(COLOURS) - 1)
        known = np.isfinite(place)
        below = np.where(known, place, 0).astype(int).clip(0, len(COLOURS) - 2)
        share = np.where(known, place - below, 0)[..., None]
        colours = COLOURS[below] * (1 - share) + COLOURS[below + 1] * share
        return np.where(known[..., None], colours + 0.5, WALL).astype(np.uint8)


@torch.no_grad()
def expected_returns(agent: Agent, planner: Planner, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The best imagined return from the belief after each frame (N, H, W, C) alone, (N,)."""
    model, device, count = agent.world_model, agent.device, len(frames)
    images, state = torch.from_numpy(frames).to(device), ControlState.initial(model, planner, count)
    starts = torch.ones(count, dtype=torch.bool, device=device)

    def decided(images: Tensor, state: ControlState, starts: Tensor) -> tuple[Decision, ControlState]:
        generator = torch.Generator(device).manual_seed(agent.seed)
        return decide(model, planner, images, state, starts, generator)

    if planner.states > 0:  # the same states beyond the horizon serve all, as the room is the same
        _, first = decided(images[:1], ControlState.initial(model, planner, 1), starts[:1])
        values = StateValues(*(each.expand(count, *each.shape[1:]) for each in first.values))
        state, starts = state._replace(values=values, age=first.age.expand(count)), ~starts
    decision, _ = decided(images, state, starts)
    return decision.plan.returns.max(1).values.double().cpu().numpy()
