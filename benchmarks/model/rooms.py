"""One configuration in every room: a static map, a value beyond the horizon, bold random actions.

    python -m benchmarks.model.rooms

A job is one room with one training seed. The agent is evaluated while it learns, on held-out starts
(mazes: `layout_seed=1`, whose layouts it never learns in). It was tuned on other seeds, from 400, and
on other starts.
"""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.learner import Progress
from agent.presets import EVERY_ROOM
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.protocol import evaluate

LOOKS = {
    "RobotRoom-v0": (104, 152, 304),
    "RobotRoomRandomGoal-v0": (304, 504, 1000),
    "RobotRoomSparse-v0": (304, 504, 1000),
    "RobotRoomDistractors-v0": (152, 304),
    "RobotRoomDoor-v0": (504, 1000, 2000),
    "RobotRoomMaze-v0": (1000, 2000, 4000),
}
"""Environment steps after which the agent is evaluated; learning ends at the last."""


@dataclass
class Rooms:
    """Run the jobs that have no result file yet, then print the table."""

    seeds: int = 10
    """Training seeds, from 0."""
    episodes: int = 50
    """Episodes of an evaluation."""
    workers: int = 1
    """Jobs at a time. More than one slow each other down; compare seconds only at the same number."""
    out: Path = Path("benchmarks/results/rooms")
    """Folder of the raw scores."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "episodes", "workers")


def unseen(env_id: str) -> EnvSpec:
    """The room of an evaluation: another set of mazes, where there are mazes."""
    spec = copy.deepcopy(gym.spec(env_id))
    if "layout_seed" in spec.kwargs:
        spec.kwargs["layout_seed"] = 1
    return spec


def run_job(env_id: str, seed: int, episodes: int) -> Record:
    """Learn, and evaluate at each look."""
    torch.set_num_threads(1)
    left, looks = list(LOOKS[env_id]), list[dict[str, Any]]()
    agent = Agent(env_id, seed=seed, device="cpu", **EVERY_ROOM)

    def look(progress: Progress) -> None:
        updates = int(agent.config.training.updates_per_step * progress.num_timesteps)
        begun = progress.num_updates >= updates or progress.num_updates == 0
        if left and progress.num_timesteps >= left[0] and begun:
            left.pop(0)
            scores: dict[str, Any] = {"success_rate": 0.0, "path_ratio": None, "decision_ms": None}
            if progress.num_updates > 0:
                summary = evaluate(agent, unseen(env_id), episodes).summary()
                scores = {name: summary[name] for name in scores}
            looks.append(
                {
                    "env_steps": progress.num_timesteps,
                    "seconds": round(progress.seconds, 1),
                    "planning_seconds": round(progress.planning_seconds, 1),
                    **scores,
                }
            )

    agent.learn(LOOKS[env_id][-1], callback=look)
    return {"training_seed": seed, "metrics": agent.progress.metrics, "looks": looks}


def main(config: Rooms) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"seed{seed}.json": (env_id, seed, config.episodes)
        for seed in range(config.seeds)
        for env_id in LOOKS
    }
    protocol = {
        "episodes": config.episodes,
        "config": dataclasses.asdict(EVERY_ROOM["config"]),
        "exploration": dataclasses.asdict(EVERY_ROOM["exploration"]),
    }
    records = run_jobs(run_job, jobs, protocol, config.workers)
    table = Table(title="One configuration: mean (lowest to highest) over training seeds")
    for heading in ("room", "steps", "success, %", "path ratio", "seconds"):
        table.add_column(heading, justify="left" if heading == "room" else "right")
    for env_id in LOOKS:
        mine = [r for path, r in zip(jobs, records, strict=True) if path.parent.name == env_id]
        for number in range(len(LOOKS[env_id])):
            looks = [record["looks"][number] for record in mine]
            table.add_row(
                env_id if number == 0 else "",
                f"{looks[0]['env_steps']}",
                spread([100 * each["success_rate"] for each in looks], 0),
                spread([r for each in looks if (r := each["path_ratio"]) is not None], 2),
                spread([each["seconds"] for each in looks], 0),
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    command(Rooms, main)
