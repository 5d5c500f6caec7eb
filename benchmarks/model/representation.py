"""What a world model knows of a room after so many random steps: robot, motion and walls.

    python -m benchmarks.model.representation

A job is one model in one environment with one training seed. It learns offline from random actions,
in episodes of 20 steps, and is tested in layouts never seen (`layout_seed=1`) where there are several.
The table gives means over training seeds (lowest to highest) of

* the robot's position, read from z by a small network that was fitted on other episodes;
* the same after 1, 6 and 12 steps imagined open loop, with actions each held for some steps;
* the same after six pushes to the left, from 0.2 m right of the wall: against it, and through its door;
* the walls: F1 of wall pixels in decoded frames.
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.collection import Collector
from agent.diagnostics import beliefs, random_rollouts
from agent.mapped_world_model import MappedWorldModel
from agent.networks import mlp
from agent.presets import EVERY_ROOM
from agent.world_model import WorldModel
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from benchmarks.model.ablation import settings
from robot_room import layouts
from robot_room.app.evaluation.protocol import env_spec
from robot_room.rendering import FLOOR, WALL
from robot_room.room import RoomParams

MODELS: dict[str, tuple[type[WorldModel], AgentConfig]] = {
    "the recipe": (WorldModel, settings()),
    "static map": (MappedWorldModel, EVERY_ROOM["config"]),
}
ENVIRONMENTS = ("RobotRoomDoor-v0", "RobotRoomMaze-v0")
AHEAD = (1, 6, 12)
PUSHES = ("against the wall, cm", "through the door, cm")
FIRST_SEED = 400
WARM_UP = 2  # frames filtered before the imagination begins


@dataclass
class Represent:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 2
    """Training seeds, from 400."""
    env_steps: int = 1000
    """Random environment steps to learn from; the configuration says how many updates follow."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/representation")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "env_steps", "workers")


def run_job(name: str, env_id: str, seed: int, env_steps: int) -> Record:
    """Learn, and measure on 100 episodes from seeds that are not used for training."""
    torch.set_num_threads(1)
    kind, config = MODELS[name]
    agent = Agent(env_id, config, seed, "cpu", world_model=kind)
    _act_at_random(agent, seed, env_steps)
    agent.learn_from([])
    spec = env_spec(env_id, '{"terminate_on_goal": false}')
    if "layout_seed" in spec.kwargs:
        spec.kwargs["layout_seed"] = 1
    rollouts = random_rollouts(Agent(spec, device="cpu"), 7000, 100, WARM_UP + max(AHEAD))
    frames, actions = (torch.from_numpy(each) for each in (rollouts.frames, rollouts.actions))
    positions = torch.from_numpy(rollouts.positions["robot_position"]).float()
    scores = measure(agent.world_model, frames, actions, positions)
    if "Door" in env_id:
        for passing in (False, True):
            scores[PUSHES[passing]] = pushes(agent.world_model, frames, actions, positions, passing)
    return {"model": name, "training_seed": seed, "updates": agent.progress.num_updates, **scores}


def _act_at_random(agent: Agent, seed: int, env_steps: int) -> None:
    """Fill the replay. Actions are held for some steps, also into a new episode, to come far."""
    longest = EVERY_ROOM["config"].training.longest_episode
    explores, generator = EVERY_ROOM["exploration"], np.random.default_rng(seed)
    collector = Collector(agent.env, agent.replay, seed, longest)
    nowhere = np.zeros(agent.env.num_envs, np.bool_)
    actions = np.zeros((agent.env.num_envs, agent.world_model.action_size), np.float32)
    while agent.progress.num_timesteps < env_steps:
        actions = explores.random_actions(actions, nowhere, generator)
        agent.progress.num_timesteps += collector.step(actions)[0]
    agent.replay.finish_all()


@torch.no_grad()
def measure(
    model: WorldModel, frames: Tensor, actions: Tensor, positions: Tensor
) -> dict[str, float | None]:
    """Errors in centimetres, medians over episodes, and the walls' F1 (None: no walls)."""
    z, _ = beliefs(model, frames, actions)
    size = model.config.latent_dim  # the part that moves
    half = len(z) // 2
    probe = fitted_probe(z[:half, :, :size].flatten(0, 1), positions[:half].flatten(0, 1))

    def error(latents: Tensor, true: Tensor) -> float:
        apart = (probe(latents[..., :size]) - true).norm(dim=-1)
        return 100 * apart.median().item()

    scores: dict[str, float | None] = {"position_cm": error(z[half:], positions[half:])}
    imagined = z[half:, WARM_UP - 1]
    for ahead in range(1, max(AHEAD) + 1):
        imagined = model.transition(imagined, actions[half:, WARM_UP + ahead - 2]).mean
        if ahead in AHEAD:
            true = positions[half:, WARM_UP + ahead - 1]
            scores[f"ahead_{ahead}_cm"] = error(imagined, true)
    true_walls, drawn = (_walls(each) for each in (frames[:, -1], model.decode(z[:, -1])))
    total = (true_walls.sum() + drawn.sum()).item()
    scores["wall_f1"] = 2 * (true_walls & drawn).sum().item() / total if total else None
    return scores


@torch.no_grad()
def pushes(
    model: WorldModel, frames: Tensor, actions: Tensor, positions: Tensor, passing: bool
) -> float:
    """Median error after six pushes to the left in rooms with a door, in centimetres.

    Args:
        model: the model.
        frames: frames of episodes, to which the probe is fitted.
        actions: their actions.
        positions: the robot's positions in them.
        passing: whether the robot stands before the door, or where the wall is shut.
    """
    size = model.config.latent_dim
    z, _ = beliefs(model, frames, actions)
    probe = fitted_probe(z[..., :size].flatten(0, 1), positions.flatten(0, 1))
    env, errors = gym.make("RobotRoomDoor-v0", terminate_on_goal=False), []
    for door in range(0, layouts.DOORS, 2):
        height = layouts.features(RoomParams(walls="door"), np.array([door])).item()
        if not passing:
            height += -0.6 if height > 0 else 0.6
        options = {"layout": door, "robot_position": (0.45, height)}
        frame, info = env.reset(seed=door, options=options)
        q, _ = beliefs(model, torch.from_numpy(frame)[None, None], actions[:1, :0])
        imagined, push = q[:, 0], torch.tensor([[-1.0, 0.0]])
        for _ in range(6):
            imagined = model.transition(imagined, push).mean
            _, _, _, _, info = env.step(push[0].numpy())
        true = torch.from_numpy(info["robot_position"]).float()
        errors.append(100 * (probe(imagined[:, :size])[0] - true).norm().item())
    return float(np.median(errors))


def fitted_probe(inputs: Tensor, targets: Tensor, steps: int = 600) -> nn.Module:
    """A small network from latents to positions, as their code need not be linear."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        centre, scale = inputs.mean(0), inputs.std(0) + 1e-3
        network = mlp(inputs.shape[1], 64, targets.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            (network((inputs - centre) / scale) - targets).square().mean().backward()
            optimizer.step()
    first = network[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():  # the scaling becomes part of the first layer
        first.bias.sub_(first.weight @ (centre / scale))
        first.weight.div_(scale)
    return network


def _walls(frames: Tensor) -> Tensor:
    """Pixels that are closer to the walls' grey than to the floor's, in every colour."""
    return frames.amax(-1) < (FLOOR + WALL) / 2


def main(config: Represent) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"{name.replace(' ', '-')}-seed{seed}.json": (
            name,
            env_id,
            seed,
            config.env_steps,
        )
        for seed in range(FIRST_SEED, FIRST_SEED + config.seeds)
        for env_id in ENVIRONMENTS
        for name in MODELS
    }
    records = run_jobs(run_job, jobs, {"env_steps": config.env_steps}, config.workers)
    table = Table(title=f"After {config.env_steps} random steps: mean (lowest to highest)")
    for heading in (
        "environment",
        "model",
        "robot, cm",
        *(f"{k} ahead, cm" for k in AHEAD),
        *PUSHES,
        "walls, F1",
    ):
        table.add_column(heading)
    for env_id in ENVIRONMENTS:
        for name in MODELS:
            rows = [
                r
                for path, r in zip(jobs, records, strict=True)
                if r["model"] == name and env_id in str(path)
            ]
            keys = ["position_cm", *(f"ahead_{k}_cm" for k in AHEAD)]
            cells = [spread([row[key] for row in rows], 1) for key in keys]
            pushed = [spread([row[key] for row in rows if key in row], 1) for key in PUSHES]
            walls = spread([row["wall_f1"] for row in rows], 3)
            table.add_row(env_id, name, *cells, *pushed, walls)
    Console(width=200).print(table)


if __name__ == "__main__":
    command(Represent, main)
