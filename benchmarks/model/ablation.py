"""Ablation: the default configuration with one ingredient changed at a time.

    python -m benchmarks.model.ablation

A job is one variant in one environment with one training seed. Training is stopped early, before
success is certain, so that differences show. Starts and training seeds are for tuning and used in no
other result. The table gives the mean over seeds, and the difference from the default with the same
seeds, with a 95 % interval (Student's t over the pairs).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.agent import MakeWorldModel
from agent.planning import CEM
from agent.world_model import WorldModel, WorldModelConfig
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.model import ingredients
from robot_room.app.evaluation.protocol import TUNING_SEED, evaluate

ENV_STEPS = {"RobotRoom-v0": 200, "RobotRoomRandomGoal-v0": 600}
"""Environment steps in each environment."""
FIRST_SEED = 400
EPISODES = 100


def settings(**changes: Any) -> AgentConfig:
    """The default configuration with some fields changed, in whichever part has them."""
    recipe = AgentConfig()
    parts = {}
    for part in dataclasses.fields(recipe):
        value = getattr(recipe, part.name)
        names = {field.name for field in dataclasses.fields(value)}
        mine = {name: changes.pop(name) for name in list(changes) if name in names}
        parts[part.name] = dataclasses.replace(value, **mine)
    assert not changes, changes
    return AgentConfig(**parts)


RECIPE = "the recipe"
VARIANTS: dict[str, AgentConfig | type[WorldModel]] = {
    RECIPE: settings(),
    "no open-loop term": settings(open_loop_weight=0.0),
    "open-loop term of rewards alone": ingredients.OpenLoopRewardsAlone,
    "open-loop term of latents alone": ingredients.OpenLoopLatentsAlone,
    "overshooting from every step": ingredients.Overshooting,
    "free nats: 3": ingredients.FreeNats,
    "KL balancing: 0.8": ingredients.BalancedKL,
    "frame_std 0.2": settings(frame_std=0.2),
    "frame_std 0.5": settings(frame_std=0.5),
    "reward_std 0.2": settings(reward_std=0.2),
    "reward_std 0.8": settings(reward_std=0.8),
    "encoder without whitening": ingredients.WithoutWhitening,
    "convolutional encoder": ingredients.ConvolutionalEncoder,
    "convolutional decoder": ingredients.ConvolutionalDecoder,
    "random shifts": ingredients.RandomShifts,
    "ensemble of 5 transitions": ingredients.Ensemble,
    "recurrent posterior": settings(posterior="recurrent"),
    "updates per step: 1": settings(updates_per_step=1.0),
    "updates per step: 4": settings(updates_per_step=4.0),
    "episodes up to 5 steps": settings(longest_episode=5),
    "episodes up to 20 steps": settings(longest_episode=20),
    "episodes up to 100 steps": settings(longest_episode=100),
    "no exploration noise": settings(exploration_std=0.0),
    "plain CEM, 100 × 3": dataclasses.replace(AgentConfig(), planner=CEM()),
}
"""Other settings of the agent, or another world model, by name."""


@dataclass
class Ablate:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 4
    """Number of training seeds, from 400."""
    workers: int = 1
    """Jobs at a time. More than one slow each other down; compare seconds only at the same number."""
    out: Path = Path("benchmarks/results/ablate")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "workers")


def beginning_alike(kind: type[WorldModel], seed: int) -> MakeWorldModel:
    """Create a variant of the model; shared parts have the same initial values as the default."""

    def make(shape: tuple[int, int, int], actions: int, config: WorldModelConfig) -> WorldModel:
        recipe = WorldModel(shape, actions, config).state_dict()
        torch.manual_seed(seed)
        model = kind(shape, actions, config)
        mine = model.state_dict()
        shared = {k: v for k, v in recipe.items() if k in mine and mine[k].shape == v.shape}
        model.load_state_dict(shared, strict=False)
        return model

    return make


def run_job(name: str, env_id: str, seed: int) -> Record:
    """Train a variant and evaluate it on tuning starts."""
    variant = VARIANTS[name]
    if isinstance(variant, AgentConfig):
        agent = Agent(env_id, variant, seed, "cpu")
    else:
        agent = Agent(env_id, None, seed, "cpu", world_model=beginning_alike(variant, seed))
    agent.learn(ENV_STEPS[env_id])
    return {
        "variant": name,
        "training_seed": seed,
        "env_steps": agent.num_timesteps,
        "seconds": round(agent.progress.seconds, 2),
        "metrics": agent.progress.metrics,
        **evaluate(agent, env_id, EPISODES, TUNING_SEED).summary(),
    }


def difference(records: list[Record], base: list[Record], key: str) -> tuple[float, float]:
    """Mean difference of pairs of a seed, and the half-width of its 95 % interval (one pair: NaN)."""
    pairs = np.array([a[key] - b[key] for a, b in zip(records, base, strict=True)])
    if len(pairs) < 2:
        return float(pairs.mean()), float("nan")
    return float(pairs.mean()), float(stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(pairs))


def table(title: str, by_variant: dict[str, list[Record]]) -> Table:
    """A row for each variant, with its differences from the first."""
    first = next(iter(by_variant))
    result = Table(title=title)
    for heading in ("variant", "success, %", "− first", "path ratio", "− first", "seconds"):
        result.add_column(heading, justify="left" if heading == "variant" else "right")
    for name, records in by_variant.items():
        row = [name]
        for key, scale, digits in (("success_rate", 100, 1), ("path_ratio", 1, 2)):
            row.append(f"{scale * np.mean([each[key] for each in records]):.{digits}f}")
            mean, half = difference(records, by_variant[first], key)
            row.append(
                "" if name == first else f"{scale * mean:+.{digits}f} ± {scale * half:.{digits}f}"
            )
        result.add_row(*row, f"{np.mean([each['seconds'] for each in records]):.0f}")
    return result


def main(config: Ablate) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"{name.replace(' ', '-').replace(':', '')}-seed{seed}.json": (
            name,
            env_id,
            seed,
        )
        for seed in range(FIRST_SEED, FIRST_SEED + config.seeds)
        for env_id in ENV_STEPS
        for name in VARIANTS
    }
    records = run_jobs(
        run_job,
        jobs,
        {"env_steps": ENV_STEPS, "episodes": EPISODES},
        config.workers,
        jobs_per_process=16,
    )
    for env_id in ENV_STEPS:
        by_variant = {
            name: [r for r in records if r["variant"] == name and r["env_id"] == env_id]
            for name in VARIANTS
        }
        Console(width=130).print(
            table(f"{env_id} after {ENV_STEPS[env_id]} steps: mean over training seeds", by_variant)
        )


if __name__ == "__main__":
    command(Ablate, main)
