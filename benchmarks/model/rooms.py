"""One configuration in every room: a static map, a value beyond the horizon, bold random actions.

    python -m benchmarks.model.rooms
    python -m benchmarks.model.rooms --figure docs/rooms.png   # beside PPO, from the sweep's results

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
from benchmarks.engine.jobs import Record, at_least_one, command, read_record, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate
from robot_room.app.figures import styled_figure

LOOKS = {
    "RobotRoom-v0": (64, 80, 104, 304),
    "RobotRoomDistractors-v0": (104, 152, 304),
    "RobotRoomRandomGoal-v0": (104, 208, 304, 1000),
    "RobotRoomSparse-v0": (304, 504, 1000),
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
    figure: Path | None = None
    """A figure to draw: success over environment steps, beside that of PPO."""
    sweep: Path = Path("benchmarks/results/sweep")
    """Folder of PPO's raw scores."""

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
    return learned(Agent(env_id, seed=seed, device="cpu", **EVERY_ROOM), LOOKS[env_id], episodes)


def learned(
    agent: Agent, at: tuple[int, ...], episodes: int, first_start: int = HELD_OUT_SEED
) -> Record:
    """Let an agent learn, and evaluate it at each look."""
    torch.set_num_threads(1)
    left, looks = list(at), list[dict[str, Any]]()
    assert agent.env_spec is not None
    env_id = agent.env_spec.id

    def look(progress: Progress) -> None:
        updates = int(agent.config.training.updates_per_step * progress.num_timesteps)
        begun = progress.num_updates >= updates or progress.num_updates == 0
        if left and progress.num_timesteps >= left[0] and begun:
            left.pop(0)
            scores: dict[str, Any] = {"success_rate": 0.0, "path_ratio": None, "decision_ms": None}
            if progress.num_updates > 0:
                summary = evaluate(agent, unseen(env_id), episodes, first_start).summary()
                scores = {name: summary[name] for name in scores}
            looks.append(
                {
                    "env_steps": progress.num_timesteps,
                    "seconds": round(progress.seconds, 1),
                    "planning_seconds": round(progress.planning_seconds, 1),
                    **scores,
                }
            )

    agent.learn(at[-1], callback=look)
    return {"training_seed": agent.seed, "metrics": agent.progress.metrics, "looks": looks}


def main(config: Rooms) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / env_id / f"seed{seed}.json": (env_id, seed, config.episodes)
        for env_id in LOOKS
        for seed in range(config.seeds)
    }
    protocol = {
        "episodes": config.episodes,
        "config": dataclasses.asdict(EVERY_ROOM["config"]),
        "exploration": dataclasses.asdict(EVERY_ROOM["exploration"]),
    }
    records = run_jobs(run_job, jobs, protocol, config.workers)
    found: dict[str, list[Record]] = {env_id: [] for env_id in LOOKS}
    for path, record in zip(jobs, records, strict=True):
        found[path.parent.name].append(record)
    if config.figure is not None:
        draw(found, config.sweep, config.figure)
    table = Table(title="One configuration: mean (lowest to highest) over training seeds")
    for heading in ("room", "steps", "success, %", "path ratio", "seconds"):
        table.add_column(heading, justify="left" if heading == "room" else "right")
    for env_id in LOOKS:
        for number in range(len(LOOKS[env_id])):
            looks = [record["looks"][number] for record in found[env_id]]
            table.add_row(
                env_id if number == 0 else "",
                f"{looks[0]['env_steps']}",
                spread([100 * each["success_rate"] for each in looks], 0),
                spread([r for each in looks if (r := each["path_ratio"]) is not None], 2),
                spread([each["seconds"] for each in looks], 0),
            )
    Console(width=120).print(table)


def draw(found: dict[str, list[Record]], sweep: Path, path: Path) -> None:
    """A curve for each training seed, of ours and of PPO, in each room."""
    with styled_figure(path, 2, 3, figsize=(8.3, 5.2), sharey=True) as (figure, axes):
        for axis, env_id in zip(axes.flat, LOOKS, strict=True):
            ours = [record["looks"] for record in found[env_id]]
            others = [
                read_record(each)["curve"] for each in sorted((sweep / env_id).glob("ppo-*.json"))
            ]
            for curves, name, colour in ((others, "PPO", "#0072b2"), (ours, "world model", "#d55e00")):
                for number, curve in enumerate(curves):
                    steps, success = (
                        [point[key] for point in curve] for key in ("env_steps", "success_rate")
                    )
                    label = name if number == 0 else None
                    style = {"color": colour, "linewidth": 1, "alpha": 0.7, "label": label}
                    axis.plot(steps, [100 * share for share in success], marker=".", ms=4, **style)
            room = env_id.removeprefix("RobotRoom").removesuffix("-v0").strip("-") or "v0"
            axis.set(title=room, xscale="log", xlim=(70, 3e5), ylim=(-3, 103))
        for axis in axes[:, 0]:
            axis.set_ylabel("success, %")
        for axis in axes[1]:
            axis.set_xlabel("environment steps")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


if __name__ == "__main__":
    command(Rooms, main)
