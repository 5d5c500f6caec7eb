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

from robot_room.app.command_line import run

STEPS = {
    "RobotRoom-v0": 500,
    "RobotRoomRandomGoal-v0": 2000,
    "RobotRoomDistractors-v0": 1000,
    "RobotRoomSlip-v0": 1000,
    "RobotRoomSparse-v0": 1000,
    "RobotRoomDoor-v0": 2000,
    "RobotRoomMaze-v0": 4000,
}
"""Environment steps by id."""
HARD = ("RobotRoomSparse-v0", "RobotRoomDoor-v0", "RobotRoomMaze-v0")
"""What only the preset "every-room" learns; the others are learned with the default configuration."""
METRICS = ("success_rate", "path_ratio", "spl", "mean_return", "mean_steps")


@dataclass
class Pretrain:
    """Train, evaluate and export the shipped agents."""

    env_ids: tuple[str, ...] = tuple(STEPS)
    """Which of them."""
    env_steps: int | None = None
    """Environment steps; None: those of the table in the script."""
    seed: int = 0
    """Training seed."""
    episodes: int = 1000
    """Held-out starts of the evaluation, which is of the exported weights."""
    worst: float = 0.95
    """An agent with a lower success rate is not exported."""
    runs: Path = Path("runs/pretrain")
    """Where the runs are kept."""
    out: Path = Path("agent/pretrained")
    """Where the agents go."""


def main(config: Pretrain) -> None:
    """Run the script."""
    unknown = [name for name in config.env_ids if name not in STEPS and config.env_steps is None]
    if unknown:
        raise ValueError(f"env_ids: got {unknown}, allowed: {list(STEPS)}, or others with --env-steps")
    for name in config.env_ids:
        trained(config, name)
        success = exported(config, name)
        print(f"{name}: success {success:.1%} on {config.episodes} held-out starts", flush=True)


def trained(config: Pretrain, name: str) -> None:
    """Train an agent, unless its run is complete."""
    from robot_room.app.commands import train

    out, steps = config.runs / name, config.env_steps or STEPS[name]
    if (out / "summary.json").exists():
        return
    begun = out if (out / "agent").exists() else None
    new = out if begun is None else None
    preset = "every-room" if name in HARD else "default"
    train.main(
        train.Train(name, env_steps=steps, seed=config.seed, out=new, resume=begun, preset=preset)
    )


def exported(config: Pretrain, name: str) -> float:
    """Export an agent if it is good enough; its success rate, measured with the exported weights."""
    import robot_room  # noqa: F401 - registers its environments
    from agent import Agent
    from agent.hub import model_card
    from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        Agent.load(config.runs / name / "agent").save_pretrained(path)
        agent = Agent.load(path)
        assert agent.env_spec is not None
        summary = evaluate(agent, agent.env_spec, config.episodes, HELD_OUT_SEED).summary()
        del summary["decision_ms"]  # of this machine
        if summary["success_rate"] >= config.worst:
            metrics = {key: summary[key] for key in METRICS if summary[key] is not None}
            notes = (
                f"Measured with these weights on {config.episodes} held-out starts (seeds from "
                f"{HELD_OUT_SEED}, one training seed): `robot-room evaluate {name}`. Made by "
                f"`scripts/run pretrain --env-ids {name}`."
            )
            steps, seed = agent.num_timesteps, agent.seed
            card = model_card(name, f"robot_room:{name}", steps, seed, metrics, notes=notes)
            (path / "README.md").write_text(card, encoding="utf-8")
            (path / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n")
            shutil.rmtree(config.out / name, ignore_errors=True)
            shutil.copytree(path, config.out / name)
    return summary["success_rate"]


if __name__ == "__main__":
    run(Pretrain, main)
