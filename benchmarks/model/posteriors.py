"""The posterior families A, B, C, D against one generative model: ELBO and importance-weighted bound.

    python -m benchmarks.model.posteriors

An agent learns an environment; its decoder, reward model and transition are then fixed. Each family is
fitted to the same sequences by its ELBO; D starts from the agent's own filter, C from scratch on the
agent's encoder. C and D are also evaluated on held-out sequences and compared with a B fitted there;
the difference is the cost of amortisation. Sequences have random actions, and the generative model was
trained on none of them. Bounds are in nats per step.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.collection import Collector, as_vector_env
from agent.posteriors import FilterPosterior, RecurrentPosterior, SharedPosterior, TrajectoryPosterior
from agent.replay import Replay
from agent.types import Batch
from agent.world_model import WorldModel
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from robot_room.app.figures import name_curves, styled_figure

WINDOWS, LENGTH, BATCH = 64, 6, 16
SAMPLES = (1, 4, 16, 64, 256)
DRAWS = 512  # of z for each window, whatever the K
FAMILIES = {
    "A": "A, one Gaussian for all",
    "C": "C, recurrent",
    "B": "B, for each trajectory",
    "D": "D, filter",
}


@dataclass
class Posteriors:
    """Run the jobs that have no result file yet, then print the table and draw the figure."""

    env_id: str = "RobotRoom-v0"
    """The environment."""
    env_steps: int = 500
    """Environment steps that the generative model is trained on."""
    seeds: int = 3
    """Number of training seeds, from 0."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/posteriors")
    """Folder of the raw scores."""
    figure: Path = Path("docs/posteriors.png")
    """The figure's file."""

    def __post_init__(self) -> None:
        at_least_one(self, "env_steps", "seeds", "workers")


def random_walks(env_id: str, seed: int) -> Batch:
    """Sequences from episodes with random actions."""
    replay, generator = Replay(WINDOWS * LENGTH), np.random.default_rng(seed)
    env = as_vector_env(env_id, WINDOWS)
    collector = Collector(env, replay, seed)
    space = env.single_action_space
    assert isinstance(space, gym.spaces.Box)
    for _ in range(LENGTH - 1):
        collector.step(generator.uniform(-1, 1, (WINDOWS, *space.shape)).astype(np.float32))
    return replay.all(LENGTH)


def fit(model: WorldModel, batch: Batch, updates: int, learning_rate: float, rows: int) -> None:
    """Maximise the ELBO on the batch over the model's trainable parameters."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(free, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        chosen = torch.arange(len(batch.mask))
        if rows < len(chosen):
            chosen = torch.randperm(len(chosen), generator=generator)[:rows]
        loss, _ = model.loss(Batch(*(each[chosen] for each in batch)), generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(free, 10.0)
        optimizer.step()
        schedule.step()


def bounds(model: WorldModel, batch: Batch) -> dict[str, float]:
    """ELBO and importance-weighted bound for every K, in nats per step."""
    log_weights = model.log_weights(batch, DRAWS, torch.Generator().manual_seed(0))
    steps = batch.mask.sum()

    def bound(samples: int) -> float:
        groups = log_weights.view(-1, samples, len(batch.mask))
        return ((torch.logsumexp(groups, 1) - math.log(samples)).mean(0).sum() / steps).item()

    return {str(samples): bound(samples) for samples in SAMPLES}


def start(model: WorldModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Means and stds of the model's own posterior, from which B starts."""
    with torch.no_grad():
        features = model.features(batch.frames.flatten(0, 1))
        q, _, _ = model.follow(features, batch, torch.Generator().manual_seed(0))
    return q.mean, q.std


def run_job(env_id: str, env_steps: int, seed: int) -> Record:
    """Learn a generative model, fit every family, measure."""
    agent = Agent(env_id, AgentConfig(), seed, "cpu")
    agent.learn(env_steps)
    here, fresh = random_walks(env_id, 20_000 + seed), random_walks(env_id, 30_000 + seed)
    trained = agent.world_model
    trained.config = dataclasses.replace(trained.config, open_loop_weight=0.0)
    trained.requires_grad_(False)
    features, latents, actions = trained.config.num_keypoints, trained.latent_dim, trained.action_size
    result: Record = {"env_id": env_id, "env_steps": env_steps, "training_seed": seed}
    for family in FAMILIES:
        torch.manual_seed(seed)
        model = copy.deepcopy(trained)
        if family == "A":
            model.posterior = SharedPosterior(latents)
            fit(model, here, 400, 0.05, len(here.mask))
        elif family == "B":
            for name, batch in (("fresh", fresh), ("fitted", here)):
                model.posterior = TrajectoryPosterior(*start(trained, batch))
                fit(model, batch, 800, 0.02, len(batch.mask))
                result[f"{family} {name}"] = bounds(model, batch)
            continue
        else:
            kind = FilterPosterior if family == "D" else RecurrentPosterior
            model.posterior = kind(features, latents, actions)
            if family == "D":
                model.posterior.load_state_dict(trained.posterior.state_dict())
            model.posterior.requires_grad_(True)
            model.encoder.requires_grad_(True)
            fit(model, here, 1500, 0.003, BATCH)
            result[f"{family} fresh"] = bounds(model, fresh)
        result[f"{family} fitted"] = bounds(model, here)
    return result


def draw(records: list[Record], path: Path) -> None:
    """Bounds by K, relative to the best known bound of the sequences: mean over seeds."""
    with styled_figure(path, 1, 2, sharey=True) as (_, axes):
        _draw(records, axes)


def _draw(records: list[Record], axes: Any) -> None:
    for axis, windows in zip(axes, ("fitted", "fresh"), strict=True):
        for number, (family, label) in enumerate(FAMILIES.items()):
            name, colour = f"{family} {windows}", f"C{number}"
            if name not in records[0]:
                continue
            best = [max(max(v.values()) for k, v in r.items() if k.endswith(windows)) for r in records]
            gaps = np.array(
                [[b - r[name][str(k)] for k in SAMPLES] for r, b in zip(records, best, strict=True)]
            )
            low, high = gaps.min(0), gaps.max(0)
            axis.fill_between(SAMPLES, low, high, alpha=0.2, color=colour)
            axis.plot(SAMPLES, gaps.mean(0), marker="o", color=colour, label=label)
        axis.set(
            title=f"{windows} windows", xscale="log", yscale="symlog", xlabel="K, importance samples"
        )
        axis.set_xticks(SAMPLES, [str(k) if k > 1 else "1\nELBO" for k in SAMPLES])
        axis.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes[0].invert_yaxis()
    axes[0].set_ylabel("nats per step below the best bound")
    for axis in axes:
        name_curves(axis)


def main(config: Posteriors) -> None:
    """Run the benchmark."""
    arguments = config.env_id, config.env_steps
    jobs = {
        config.out / f"{config.env_id}-seed{seed}.json": (*arguments, seed)
        for seed in range(config.seeds)
    }
    records = run_jobs(run_job, jobs, {"env_steps": config.env_steps}, config.workers)
    table = Table(title=f"{config.env_id}, nats per step: mean (lowest to highest) over training seeds")
    for heading in (
        "family",
        "windows",
        "ELBO",
        f"bound, K = {SAMPLES[-1]}",
        "gap",
        "ELBO − ELBO of B",
    ):
        table.add_column(heading)
    for windows in ("fitted", "fresh"):
        for family, label in FAMILIES.items():
            name = f"{family} {windows}"
            if name not in records[0]:
                continue
            elbo, tighter, b = (
                np.array([r[which][str(k)] for r in records])
                for which, k in ((name, 1), (name, SAMPLES[-1]), (f"B {windows}", 1))
            )
            columns = (elbo, tighter, tighter - elbo, elbo - b)
            table.add_row(
                label, windows, *(f"{c.mean():.1f} ({c.min():.1f} to {c.max():.1f})" for c in columns)
            )
    Console(width=140).print(table)
    draw(records, config.figure)


if __name__ == "__main__":
    command(Posteriors, main)
