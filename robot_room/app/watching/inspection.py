"""Inspection of a decision: the agent's belief, imagined frames and paths, ready to be drawn.

Everything comes from the agent's own model. Paths are read from frames decoded from imagined z, never
from the true state.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agent.control import Decision
from agent.planning import Planner
from agent.world_model import WorldModel
from robot_room.app.watching.localisation import locate_robot
from robot_room.app.watching.paths import Paths
from robot_room.pen import Picture

DRAWS = 16  # samples of z from the belief; the spread of their frames is the uncertainty shown
SHOWN = 10  # imagined frames of a plan, at most
CHUNK = 48  # frames decoded at a time, so that they fit into the processor's cache


class Inspection(NamedTuple):
    """The contents of one decision, for an environment whose robot is visible in frames."""

    frames: dict[str, Picture]
    """Restored frame, decoded belief, and uncertainty, by label."""
    filmstrip: dict[str, Picture]
    """Frames predicted along the plan, by label."""
    paths: Paths
    """Imagined paths and the estimated position of the robot."""
    reward: float
    """Predicted reward of the next step."""


@torch.no_grad()
def inspect_decision(
    model: WorldModel, decision: Decision, planner: Planner, restored: bool = False
) -> Inspection:
    """Decode what one decision was based on.

    Args:
        model: the world model that was used.
        decision: returned by `agent.control.decide` for one environment.
        planner: the planner that was used.
        restored: whether to show the restored frame.
    """
    belief, plan = decision.belief, decision.plan
    mean, std = belief.density.mean, belief.density.std
    candidates = plan.candidates[0].clamp(-1, 1)
    actions = torch.cat([plan.actions[:1], candidates])  # (1 + K, H, A)
    start, step, continuation = model.imagine(mean)
    still = mean[:, start.shape[1] :].expand(len(actions), -1)  # what imagination leaves as it is
    state, rewards, imagined = start.expand(len(actions), -1), [], []
    going, alive = [], torch.ones(len(actions), dtype=torch.bool, device=mean.device)
    for action in actions.unbind(1):
        going.append(alive)  # whether the episode goes on before the step
        state, reward = step(state, action)
        rewards.append(reward[0])
        imagined.append(torch.cat([state, still], -1))
        if continuation is not None:
            alive = alive & (continuation(state) >= 0.5)
    latents = torch.stack(imagined, 1).flatten(0, 1)  # ((1 + K) H, D)
    decoded = np.concatenate([model.decode(chunk).cpu().numpy() for chunk in latents.split(CHUNK)])
    here = model.decode(mean).cpu().numpy()
    shown = torch.stack(going, 1).cpu().numpy()  # (1 + K, H), as far as the model can tell
    places = locate_robot(decoded).reshape(*actions.shape[:2], 2)
    places[~shown] = np.nan  # paths end where their episodes do
    believed = locate_robot(here)[0]
    start = np.broadcast_to(believed, (len(places), 1, 2))
    places = np.concatenate([start, places], 1)

    generator = torch.Generator(mean.device).manual_seed(0)
    noise = torch.randn((DRAWS, mean.shape[1]), generator=generator, device=mean.device)
    spread = model.decode(mean + noise * std).float().std(0).mean(-1).cpu().numpy()
    frames: dict[str, Picture] = {}
    if restored:
        name = "restored" if belief.restored.plausible[0] else "implausible"
        frames[name] = belief.restored.frames[0].cpu().numpy()
    frames["belief" if belief.used[0] else "frame rejected"] = here[0]
    frames["uncertainty"] = heat(spread.astype(np.float64), 40.0)

    elites = planner.num_elites
    following = int(shown[0].sum())
    chosen = np.linspace(1, following, min(following, SHOWN)).round().astype(int)
    filmstrip = {  # the chosen plan comes first
        "next" if k == 1 else f"in {k} steps": decoded[k - 1] for k in chosen.tolist()
    }
    paths = Paths(places[1 + elites :], places[1 : 1 + elites], places[0], believed)
    return Inspection(frames, filmstrip, paths, float(rewards[0]))


def heat(values: NDArray[np.float64], largest: float) -> Picture:
    """Values (H, W) from 0 to `largest` as colours from black through red to white, (H, W, 3)."""
    share = np.clip(values / largest, 0, 1)[..., None] * 3 - [0, 1, 2]
    return (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
