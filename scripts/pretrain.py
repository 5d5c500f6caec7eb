"""Makes the agents that are shipped with the package: train, evaluate, export, one by one.

    scripts/run pretrain                              # all of them
    scripts/run pretrain --env-ids RobotRoomSlip-v0   # some

Runs are kept in `--runs`; a finished one is not trained again, so an interrupted call continues. Delete
the folder after a change of a configuration.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from robot_room.app.command_line import run


class Task(NamedTuple):
    """How an agent is trained, and when it is good enough."""

    env_steps: int
    preset: Literal["every-room", "momentum"] = "every-room"
    pixels: bool = False
    """Whether the environment observes no images, so that what it draws is looked at."""
    frame_repeat: int = 1
    least_success: float = 0.95
    least_return: float | None = None
    """Instead of a success rate, where there is none."""


TASKS = {
    "RobotRoom-v0": Task(500),
    "RobotRoomRandomGoal-v0": Task(2000),
    "RobotRoomDistractors-v0": Task(1000),
    "RobotRoomSlip-v0": Task(1000),
    "RobotRoomVaried-v0": Task(2000),
    "RobotRoomSparse-v0": Task(1000),
    "RobotRoomDoor-v0": Task(2000),
    "RobotRoomMaze-v0": Task(8000),
    "Pendulum-v1": Task(4000, "momentum", pixels=True, least_return=-250.0),
    "MountainCar-v0": Task(1500, "momentum", pixels=True, frame_repeat=8, least_return=-120.0),
    "MountainCarContinuous-v0": Task(1000, "momentum", pixels=True, frame_repeat=4, least_return=85.0),
}
"""By the id of the environment."""
METRICS = ("success_rate", "path_ratio", "spl", "mean_return", "mean_steps")


@dataclass
class Pretrain:
    """Train, evaluate and export the shipped agents."""

    env_ids: tuple[str, ...] = tuple(TASKS)
    """Which of them."""
    env_steps: int | None = None
    """Environment steps; None: those of the table in the script."""
    seed: int = 0
    """Training seed."""
    episodes: int = 1000
    """Held-out starts of the evaluation, which is of the exported weights."""
    runs: Path = Path("runs/pretrain")
    """Where the runs are kept."""
    out: Path = Path("agent/pretrained")
    """Where the agents go."""


def main(config: Pretrain) -> None:
    """Run the script."""
    unknown = [name for name in config.env_ids if name not in TASKS and config.env_steps is None]
    if unknown:
        raise ValueError(f"env_ids: got {unknown}, allowed: {list(TASKS)}, or others with --env-steps")
    for name in config.env_ids:
        task = TASKS.get(name, Task(config.env_steps or 0))
        trained(config, name, task)
        print(f"{name}: {exported(config, name, task)}", flush=True)


def trained(config: Pretrain, name: str, task: Task) -> None:
    """Train an agent and its restorer, unless its run is complete."""
    from robot_room.app.commands import train, train_restorer

    out = config.runs / name
    if not (out / "summary.json").exists():
        begun = (out / "agent").exists()
        train.main(
            train.Train(
                name,
                pixels=task.pixels,
                frame_repeat=task.frame_repeat,
                env_steps=config.env_steps or task.env_steps,
                seed=config.seed,
                out=None if begun else out,
                resume=out if begun else None,
                preset=task.preset,
            )
        )
    if not (out / "restorer").exists():
        train_restorer.main(train_restorer.TrainRestorer(out))


def exported(config: Pretrain, name: str, task: Task) -> str:
    """Export an agent and its restorer if it is good enough; what the exported weights reach."""
    import robot_room  # noqa: F401 - registers its environments
    from agent import Agent
    from agent.calibration import Restoration
    from agent.hub import RESTORER, model_card
    from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        Agent.load(config.runs / name / "agent").save_pretrained(path)
        Restoration.load(config.runs / name / "restorer").save_pretrained(path / RESTORER)
        agent = Agent.load(path)
        assert agent.env_spec is not None and agent.env_id is not None
        summary = evaluate(agent, agent.env_spec, config.episodes, HELD_OUT_SEED).summary()
        del summary["decision_ms"]  # of this machine
        told = METRICS if task.least_return is None else ("mean_return", "mean_steps")
        metrics = {key: summary[key] for key in told if summary[key] is not None}
        found = ", ".join(f"{key} {value:g}" for key, value in metrics.items())
        least = task.least_success if task.least_return is None else task.least_return
        if metrics["success_rate" if task.least_return is None else "mean_return"] < least:
            return f"not exported, {found}"
        env_id, steps = agent.env_id, agent.num_timesteps
        camera = ""
        if task.pixels:
            env_id, steps = f"gymnasium:{name}", steps * task.frame_repeat
            camera = (
                "It sees what the environment draws, and is made for "
                f"`agent.pixels({name!r}, frame_repeat={task.frame_repeat})`.\n\n"
            )
        notes = camera + (
            f"Measured with these weights on {config.episodes} held-out starts (seeds from "
            f"{HELD_OUT_SEED}, one training seed): `robot-room evaluate {name}`. Made by "
            f"`scripts/run pretrain --env-ids {name}`."
        )
        card = model_card(name, env_id, steps, agent.seed, metrics, notes=notes)
        (path / "README.md").write_text(card, encoding="utf-8")
        (path / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n")
        shutil.rmtree(config.out / name, ignore_errors=True)
        shutil.copytree(path, config.out / name)
        return found


if __name__ == "__main__":
    run(Pretrain, main)
