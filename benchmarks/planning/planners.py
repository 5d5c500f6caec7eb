"""Comparison of planners on one learned model: this project's and those of three libraries.

    python -m benchmarks.planning.planners

An agent learns each environment once; then every planner controls it with the same model from the same
held-out starts. Success and steps measure the quality of the plans. Milliseconds are the time of a
search (with what a library builds for it) for 1 and 64 environments at once: the fastest of five calls
in each of the rounds, in which the planners alternate, with one thread. The other libraries are
installed in a separate virtual environment (`.venv-planners`), in which everything is measured.
"""

import dataclasses
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.planning import (
    CEM,
    ICEM,
    MPPI,
    Planner,
    Problem,
    RandomShooting,
)
from benchmarks.engine.jobs import Record, parse_record, write_record
from benchmarks.engine.peers import ROOT, peers_python
from robot_room.app import command_line
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, evaluate

ENV_STEPS = {"RobotRoom-v0": 500, "RobotRoomRandomGoal-v0": 3000}
"""Environment steps for training in each environment."""
PEERS = (
    *("stable-worldmodel==0.1.1", "torchrl==0.14.1", "pytorch-mppi==0.9.1"),
    *("opencv-python-headless", "imageio"),
)
SIZES = (1, 64)
TIMED = "RobotRoom-v0"  # a model of another room has the same size
CALLS, PATIENCE = 5, 3000.0  # in a round: calls, or ms after which no other is made


@dataclass
class Planners:
    """Measure what has no result file yet, then print the table."""

    episodes: int = 50
    """Held-out starts for each planner."""
    rounds: int = 5
    """Number of timing rounds."""
    out: Path = ROOT / "benchmarks/results/planners"
    """Folder of the raw scores and the learned models (which are not committed)."""
    inside: bool = False
    """Measure in this process, which has the other libraries; set by the benchmark itself."""


def planners() -> dict[str, Planner]:
    """Every planner by name, with the agent's horizon and, if it has one, the agent's discount."""
    from benchmarks.planning.peers import PytorchMPPI, StableWorldModel, TorchRL

    few: dict[str, Any] = {"candidates": 100, "iterations": 3, "elites": 10}
    return {
        "ours: the agent's": AgentConfig().planner,
        "ours: CEM": CEM(**few),
        "ours: iCEM": ICEM(**few),
        "ours: MPPI": MPPI(candidates=100, iterations=3),
        "ours: random shooting": RandomShooting(candidates=300),
        "stable-worldmodel: CEM, its defaults": StableWorldModel(),
        "stable-worldmodel: CEM": StableWorldModel(**few),
        "stable-worldmodel: iCEM, its defaults": StableWorldModel(solver="ICEMSolver"),
        "stable-worldmodel: iCEM": StableWorldModel(solver="ICEMSolver", **few),
        "TorchRL: CEM": TorchRL(**few),
        "pytorch_mppi: MPPI, its defaults": PytorchMPPI(),
        "pytorch_mppi: MPPI, λ 0.01": PytorchMPPI(candidates=300, temperature=0.01),
    }


def rollouts(planner: Planner) -> int:
    """Rollouts per action."""
    iterations = getattr(planner, "iterations", 1)
    if not isinstance(planner, ICEM):
        return planner.candidates * iterations
    sizes = (int(planner.candidates / planner.shrink**i) for i in range(iterations))
    return sum(max(size, 2 * planner.elites) for size in sizes)


def learned(env_id: str, out: Path) -> Agent:
    """The agent whose model all planners use."""
    path = out / "models" / env_id
    if not path.exists():
        agent = Agent(env_id, AgentConfig(), seed=0, device="cpu")
        agent.learn(ENV_STEPS[env_id])
        agent.save(path)
    return Agent.load(path, device="cpu")


def with_planner(agent: Agent, planner: Planner) -> Agent:
    """The same agent with another planner."""
    agent.planner = planner
    return agent


def searches(agent: Agent, found: dict[str, Planner]) -> Iterator[tuple[str, int, float]]:
    """One round: milliseconds of each planner's search for 1 and 64 environments."""
    assert agent.env_spec is not None
    model = agent.world_model
    for rooms in SIZES:
        envs = gym.make_vec(agent.env_spec, rooms, "sync")
        frames, _ = envs.reset(seed=HELD_OUT_SEED)
        envs.close()
        decision, _ = with_planner(agent, CEM()).decide(frames)
        bound = torch.ones(model.action_size)
        problem, generator = Problem(model.step, -bound, bound), torch.Generator().manual_seed(0)
        for name, planner in found.items():
            still = torch.zeros(rooms, 1, planner.horizon, model.action_size)
            times = []
            while len(times) < CALLS and sum(times) < PATIENCE:
                began = time.perf_counter()
                planner.plan(problem, decision.belief.density.mean, still, generator)
                times.append(1000 * (time.perf_counter() - began))
            yield name, rooms, min(times)


def measure(config: Planners) -> None:
    """Measure everything, with one file per environment and planner."""
    torch.set_num_threads(1)
    names = ("torch", "numpy", "gymnasium", "stable-worldmodel", "torchrl", "pytorch-mppi")
    common = {
        "versions": {name: version(name) for name in names},
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
    }
    console = Console(stderr=True)
    for env_id in ENV_STEPS:
        agent, found = learned(env_id, config.out), planners()
        for name, planner in track(found.items(), f"{env_id}: control", console=console):
            _once(
                config.out / f"{env_id}-control-{_file(name)}.json",
                lambda p=planner, n=name, a=agent, e=env_id: {
                    "planner": n,
                    "torch_seed": torch.manual_seed(0).initial_seed(),  # two libraries draw from it
                    "settings": dataclasses.asdict(p),
                    "rollouts": rollouts(p),
                    **evaluate(with_planner(a, p), e, config.episodes, HELD_OUT_SEED).summary(),
                    **common,
                },
            )
    agent, found = learned(TIMED, config.out), planners()
    for number in track(range(config.rounds), "time", console=console):
        _once(
            config.out / f"time-{number}.json",
            lambda: {
                "milliseconds": [
                    {"planner": name, "rooms": rooms, "ms": round(ms, 3)}
                    for name, rooms, ms in searches(agent, found)
                ],
                **common,
            },
        )


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _once(path: Path, measured: Callable[[], Record]) -> None:
    if not path.exists():
        write_record(path, measured())


def table(env_id: str, out: Path) -> Table:
    """A row for each planner."""
    control = [parse_record(path.read_text()) for path in sorted(out.glob(f"{env_id}-control-*.json"))]
    rounds = [parse_record(path.read_text()) for path in sorted(out.glob("time-*.json"))]

    def ms(name: str, rooms: int) -> np.ndarray:
        rows = (row for each in rounds for row in each["milliseconds"])
        return np.array([r["ms"] for r in rows if r["planner"] == name and r["rooms"] == rooms])

    result = Table(title=f"{env_id}: one learned model, {control[0]['episodes']} held-out starts")
    headings = ("planner", "rollouts", "success, %", "path ratio", "ms, 1 room", "ms, 64 rooms")
    for heading in headings:
        result.add_column(heading, justify="left" if heading == "planner" else "right")
    ours_first = sorted(control, key=lambda r: (not r["planner"].startswith("ours"), r["planner"]))
    for record in ours_first:
        name = record["planner"]
        times = (ms(name, rooms) for rooms in SIZES)
        result.add_row(
            name,
            f"{record['rollouts']:,}",
            f"{100 * record['success_rate']:.1f}",
            f"{record['path_ratio']:.3f}",
            *(f"{np.median(t):.1f} ({t.min():.1f} to {t.max():.1f})" for t in times),
        )
    return result


def main(config: Planners) -> None:
    """Run the benchmark."""
    if config.inside:
        measure(config)
        return
    arguments = ("--constraint", "constraints.txt", "--editable", ".[agent]", *PEERS)
    python = peers_python("planners", arguments)
    command = [python, "-m", "benchmarks.planning.planners", *sys.argv[1:], "--inside"]
    subprocess.run(command, check=True, cwd=ROOT)
    for env_id in ENV_STEPS:
        Console(width=130).print(table(env_id, config.out))


if __name__ == "__main__":
    command_line.run(Planners, main)
