"""Ablation of the configuration for every room: one part of it left out at a time.

    python -m benchmarks.model.rooms_ablation

A job is one variant in one room with one training seed; seeds and starts are for tuning. The table
gives means over seeds, and the difference from the whole with the same seeds, with a 95 % interval
(Student's t over the pairs).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.distributions import Normal
from agent.exploration import Exploration
from agent.learner import TrainingConfig
from agent.mapped_world_model import THINGS, Landmarks, MappedWorldModel, MappedWorldModelConfig
from agent.presets import EVERY_ROOM
from agent.types import Batch
from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.model.ablation import table
from robot_room.app.evaluation.protocol import TUNING_SEED, evaluate

STEPS = {"RobotRoom-v0": 80, "RobotRoomSparse-v0": 504, "RobotRoomDoor-v0": 1000}
"""Environment steps in each room."""
FIRST_SEED = 400
EPISODES = 50


class NoDistances(MappedWorldModel):
    """Rewards and ends are not told how far the landmarks are."""

    def beside(self, m: Tensor, landmarks: Landmarks) -> Tensor:
        """See `MappedWorldModel.beside`."""
        told = super().beside(m, landmarks)
        return torch.cat([told[:, :-THINGS], torch.zeros_like(told[:, -THINGS:])], -1)


class NoNovelty(MappedWorldModel):
    """Actions are random until the reward has varied."""

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """See `Model.novelty`."""
        return None


class NoDoubt(MappedWorldModel):
    """Imagined steps are taken as they are."""

    def trust(self, moved: Normal, there: Tensor) -> Tensor:
        """See `MappedWorldModel.trust`."""
        return torch.ones_like(there[:, :1])


class NothingLacking(MappedWorldModel):
    """An episode may end in the present state."""

    def lacking(self, logit: Tensor) -> Tensor:
        """See `MappedWorldModel.lacking`."""
        return torch.zeros_like(logit)


class NoRehearsal(MappedWorldModel):
    """Rewards and ends are learned from the ELBO's batches alone."""

    def further_loss(
        self, features: Tensor, q: Normal, batch: Batch, generator: torch.Generator | None
    ) -> Tensor:
        """See `WorldModel.further_loss`."""
        nets = [net for net in (self.reward_net, self.continuation_net) if net is not None]
        for net in nets:
            net.requires_grad_(False)
        loss = super().further_loss(features, q, batch, generator)
        for net in nets:
            net.requires_grad_(True)
        return loss


def changed(
    settings: dict[str, Any] | None = None, **parts: type[WorldModel] | Exploration
) -> dict[str, Any]:
    """`EVERY_ROOM` with other settings of its configuration, and other parts."""
    return {**EVERY_ROOM, **parts, "config": replace(EVERY_ROOM["config"], **(settings or {}))}


def planned(**settings: Any) -> dict[str, Any]:
    """`EVERY_ROOM` with other settings of its planner."""
    return changed({"planner": replace(EVERY_ROOM["config"].planner, **settings)})


WHOLE = "the whole"
VARIANTS: dict[str, dict[str, Any]] = {
    WHOLE: changed(),
    "no static map": changed(
        {"world_model": WorldModelConfig(continuation=True)}, world_model=WorldModel
    ),
    "no continuation": changed({"world_model": MappedWorldModelConfig(continuation=False)}),
    "no distances from landmarks": changed(world_model=NoDistances),
    "no novelty": changed(world_model=NoNovelty),
    "no doubt of imagined steps": changed(world_model=NoDoubt),
    "the present may be the end": changed(world_model=NothingLacking),
    "no rehearsal of rewards and ends": changed(world_model=NoRehearsal),
    "no value beyond the horizon": planned(states=0),
    "256 states instead of 512": planned(states=256),
    "one search for the first plan": planned(first_searches=1),
    "discount 0.95": planned(discount=0.95),
    "episodes of 10 steps": changed({"training": TrainingConfig()}),
    "planner acts in all environments": changed(
        exploration=replace(EVERY_ROOM["exploration"], random_share=0.0)
    ),
}


@dataclass
class Ablation:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 4
    """Training seeds, from 400."""
    env_ids: tuple[str, ...] = tuple(STEPS)
    """Which rooms."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/rooms_ablation")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "workers")
        for env_id in self.env_ids:
            if env_id not in STEPS:
                raise ValueError(f"env_ids: got {env_id!r}, allowed: {list(STEPS)}")


def run_job(variant: str, env_id: str, seed: int) -> Record:
    """Learn, and evaluate at the end."""
    torch.set_num_threads(1)
    agent = Agent(env_id, seed=seed, device="cpu", **VARIANTS[variant]).learn(STEPS[env_id])
    return {
        "variant": variant,
        "training_seed": seed,
        "env_steps": agent.num_timesteps,
        "seconds": round(agent.progress.seconds, 2),
        **evaluate(agent, env_id, EPISODES, TUNING_SEED).summary(),
    }


def main(config: Ablation) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"{number:02d}-seed{seed}.json": (variant, env_id, seed)
        for seed in range(FIRST_SEED, FIRST_SEED + config.seeds)
        for env_id in config.env_ids
        for number, variant in enumerate(VARIANTS)
    }
    records = run_jobs(run_job, jobs, {"episodes": EPISODES, "steps": STEPS}, config.workers)
    console = Console(width=120)
    for env_id in config.env_ids:
        by_variant: dict[str, list[Record]] = {variant: [] for variant in VARIANTS}
        for (variant, room, _), record in zip(jobs.values(), records, strict=True):
            if room == env_id:
                by_variant[variant].append(record)
        console.print(table(f"{env_id} after {STEPS[env_id]} steps", by_variant))


if __name__ == "__main__":
    command(Ablation, main)
