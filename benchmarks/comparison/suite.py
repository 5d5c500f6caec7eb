"""Tasks that nobody here wrote, each from one frame at a time of its own camera, beside random actions.

    python -m benchmarks.comparison.suite --workers 2

The agent has one of two configurations: `agent.presets.MOMENTUM` for tasks in which things have
momentum, and `EVERY_ROOM` for those of which one frame shows all. Both were chosen on training seed 400
and on tuning starts. A job is one task and one training seed; it is evaluated on held-out starts while
it learns. A suite that was interrupted continues with the jobs that have no file.

What tasks need beside this project is said in the modules that register them.
"""

import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec
from rich.console import Console
from rich.table import Table

from agent import Agent, pixels
from agent.learner import Progress
from agent.presets import EVERY_ROOM, MOMENTUM, Preset
from benchmarks.comparison import two_room
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.policies import Uniform
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, evaluate

TWO_ROOM = "success, offline from 10,000 episodes: LeWM 87 %, DINO-WM 100 %"


class Task(NamedTuple):
    """An environment, and what is said of it."""

    looks: tuple[int, ...]
    """Actions after which the agent is evaluated; learning ends at the last."""
    published: str
    """A score from elsewhere, never measured here."""
    frame_repeat: int = 1
    """Environment steps for which each action is repeated."""
    preset: Preset = MOMENTUM
    module: str = "gymnasium"
    """What registers it."""


DM_CONTROL = "benchmarks.comparison.dm_control_suite"
TASKS = {
    "Pendulum-v1": Task((2000, 4000), "SAC from the state, 20,000 steps: −157"),
    "MountainCarContinuous-v0": Task((500, 1000), "SAC from the state, 50,000 steps: 94.7", 4),
    "MountainCar-v0": Task((750, 1000, 1500), "Gymnasium counts −110 as solved", 8),
    "CartPole-v1": Task((2000,), "DreamerV3 after an hour of a GPU, a user: 144"),
    two_room.DISTANCE: Task((1000, 2500), TWO_ROOM, 2, EVERY_ROOM, two_room.__name__),
    two_room.ARRIVAL: Task((1000, 2500), TWO_ROOM, 2, EVERY_ROOM, two_room.__name__),
    "dm_control/reacher-easy-v0": Task(
        (1250, 2500, 5000), "20,000 steps: DreamerV3 152, CURL 143", 4, module=DM_CONTROL
    ),
    "dm_control/cartpole-swingup-v0": Task(
        (1250, 2500), "20,000 steps: DreamerV3 116, CURL 179", 8, module=DM_CONTROL
    ),
}


@dataclass
class Suite:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 3
    """Training seeds, from 0."""
    env_ids: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.module == "gymnasium")
    """Which tasks; all that need no further package."""
    episodes: int = 50
    """Episodes of an evaluation."""
    workers: int = 1
    """Jobs at a time. More than one slow each other down; compare seconds only at the same number."""
    out: Path = Path("benchmarks/results/suite")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "episodes", "workers")
        for env_id in self.env_ids:
            if env_id not in TASKS:
                raise ValueError(f"env_ids: got {env_id!r}, allowed: {list(TASKS)}")


def scores(policy: Policy, env: EnvSpec, episodes: int) -> dict[str, Any]:
    """Returns of held-out starts, and which of them arrived."""
    result = evaluate(policy, env, episodes, HELD_OUT_SEED, timed=False)
    return {
        "returns": [round(float(value), 2) for value in result.returns],
        "arrived": result.is_success.astype(int).tolist(),
    }


def run_job(env_id: str, seed: int, episodes: int, at: tuple[int, ...]) -> Record:
    """Learn, and evaluate before and at each look."""
    torch.set_num_threads(1)
    task = TASKS[env_id]
    importlib.import_module(task.module)
    repeat = task.frame_repeat
    env = pixels(env_id, frame_repeat=repeat)
    untrained = scores(Uniform(gym.make(env).action_space, seed), env, episodes)
    looks: list[dict[str, Any]] = [{"env_steps": 0, "seconds": 0.0, **untrained}]
    agent, left = Agent(env, seed=seed, device="cpu", **task.preset), list(at)

    def look(progress: Progress) -> None:
        updates = int(agent.config.training.updates_per_step * progress.num_timesteps)
        if left and progress.num_timesteps >= left[0] and progress.num_updates >= updates:
            left.pop(0)
            looks.append(
                {
                    "env_steps": repeat * progress.num_timesteps,
                    "seconds": round(progress.seconds, 1),
                    **scores(agent, env, episodes),
                }
            )

    agent.learn(at[-1], callback=look)
    return {"training_seed": seed, "metrics": agent.progress.metrics, "looks": looks}


def settings(task: Task) -> Record:
    """What results of a task depend on."""
    used = {
        "config": dataclasses.asdict(task.preset["config"]),
        "exploration": dataclasses.asdict(task.preset["exploration"]),
    }
    return used | ({"frame_repeat": task.frame_repeat} if task.frame_repeat > 1 else {})


def arrivals(looks: tuple[Record, ...]) -> str:
    """Percentages of starts from which the target is reached; empty where there is no target."""
    shares = [100 * sum(look.get("arrived", [])) / len(look["returns"]) for look in looks]
    return spread(shares, 0) if any(shares) else ""


def main(config: Suite) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"seed{seed}.json": (env_id, seed, config.episodes, TASKS[env_id].looks)
        for seed in range(config.seeds)
        for env_id in config.env_ids
    }
    own = {path: settings(TASKS[arguments[0]]) for path, arguments in jobs.items()}
    records = run_jobs(run_job, jobs, {"episodes": config.episodes}, config.workers, own=own)
    table = Table(title="Mean return: mean (lowest to highest) over training seeds")
    for heading in ("task", "steps", "mean return", "arrived", "seconds", "published elsewhere"):
        table.add_column(heading)
    for env_id in config.env_ids:
        task = TASKS[env_id]
        curves = [
            record["looks"]
            for arguments, record in zip(jobs.values(), records, strict=True)
            if arguments[0] == env_id
        ]
        for number, looks in enumerate(zip(*curves, strict=True)):
            table.add_row(
                env_id if number == 0 else "",
                f"{looks[0]['env_steps']}" if number > 0 else "random actions",
                spread([sum(look["returns"]) / len(look["returns"]) for look in looks], 0),
                arrivals(looks),
                spread([look["seconds"] for look in looks], 0) if number > 0 else "",
                task.published if number == 0 else "",
            )
    Console(width=130).print(table)


if __name__ == "__main__":
    command(Suite, main)
