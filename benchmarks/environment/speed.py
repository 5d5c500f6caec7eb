"""Speed of the environment, as ratios to references timed in the same run.

python -m benchmarks.environment.speed

Times are CPU time, so that what else the machine does counts little. Each round runs all timings in
turn, so that a slow phase affects all of them. Ratios are computed per round; their median is reported
with the lowest and highest. Everything runs on one core with fixed actions, resets included. Other
projects are installed, pinned, in a separate virtual environment (`.venv-peers`).
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.performance import benchmark_step, benchmark_vector_step
from rich.console import Console
from rich.progress import track
from rich.table import Table

import robot_room
from benchmarks.engine.peers import ROOT, peers_python
from robot_room.app import command_line
from robot_room.sensors import SEVERITIES

NUM_ENVS = 64
PEERS = ("minigrid==3.2.0", "gym-pusht==0.1.8", "gymnasium==1.4.0", "numpy==2.4.6", "pymunk==6.11.1")
CAMERA = "RobotRoomNoisyCamera-v0"


@dataclass
class EnvSpeed:
    """Compare with numpy, Gymnasium's own vector environment, Minigrid and gym-pusht."""

    rounds: int = 15
    """Number of rounds through all timings."""
    seconds: float = 0.05
    """CPU seconds for each timing in a round."""
    peers: bool = True
    """Whether to time other projects too; they are installed the first time."""
    out: Path = ROOT / "benchmarks/results/env_speed.json"
    """File for the raw numbers."""


def vector_steps(env_id: str, mode: str, **kwargs: Any) -> Iterator[int]:
    """Step 64 environments; yields the number of frames per call."""
    envs: Any = gym.make_vec(env_id, NUM_ENVS, mode, **kwargs)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (16, NUM_ENVS, 2)).astype(np.float32)
    while True:
        for action in actions:
            envs.step(action)
            yield NUM_ENVS


def single_steps(env_id: str, **kwargs: Any) -> Iterator[int]:
    """Step one environment through `gym.make`."""
    env = gym.make(env_id, **kwargs)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype(np.float32)
    while True:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
            yield 1


def copies() -> Iterator[int]:
    """`numpy.copyto` of 64 frames."""
    source = np.random.default_rng(0).integers(0, 256, (NUM_ENVS, 64, 64, 3), dtype=np.uint8)
    target = np.empty_like(source)
    while True:
        np.copyto(target, source)
        yield NUM_ENVS


FIRST_STEP = """
import gymnasium, robot_room
env = gymnasium.make("RobotRoom-v0", compiled={compiled})
env.reset(seed=0)
env.step(env.action_space.sample())
"""


def starts(code: str) -> float:
    """Processes per second of their CPU time that run some code and end."""
    began = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    ended = os.times()
    return 1 / (
        ended.children_user + ended.children_system - began.children_user - began.children_system
    )


def rate(steps: Iterator[int], seconds: float) -> float:
    """Frames per second of CPU time, after a warm-up."""
    for _ in range(8):
        next(steps)
    frames, began = 0, time.thread_time()
    while (elapsed := time.thread_time() - began) < seconds:
        for _ in range(8):
            frames += next(steps)
    return frames / elapsed


def peers() -> "subprocess.Popen[str]":
    """A process of `peers_speed` in its virtual environment."""
    python = peers_python("peers", PEERS)
    script = Path(__file__).with_name("peers_speed.py")
    pipe = subprocess.PIPE
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
    return subprocess.Popen([python, script], stdin=pipe, stdout=pipe, text=True, env=environment)


def timings(config: EnvSpeed) -> dict[str, Callable[[], float]]:
    """All timings, by name."""
    kinds: dict[str, dict[str, Any]] = {"": {"compiled": False}, " compiled": {"compiled": True}}
    steps: dict[str, Iterator[int]] = {"copyto": copies()}
    for kind, kwargs in kinds.items():
        steps[f"single{kind}"] = single_steps("RobotRoom-v0", **kwargs)
        steps[f"sync{kind}"] = vector_steps("RobotRoom-v0", "sync", **kwargs)
        native = {"mode": "vector_entry_point", **kwargs}
        steps[f"no copy{kind}"] = vector_steps("RobotRoom-v0", copy=False, **native)
        for name in robot_room.VARIANTS:
            steps[f"{name}{kind}"] = vector_steps(name, **native)
        for corruption in SEVERITIES:
            camera = {"corruption": corruption, "severity": 3}
            steps[f"camera {corruption}{kind}"] = vector_steps(CAMERA, **native, **camera)

    def timed(one: Iterator[int]) -> Callable[[], float]:
        return lambda: rate(one, config.seconds)

    found = {name: timed(one) for name, one in steps.items()}
    found["import gymnasium"] = lambda: starts("import gymnasium")
    for kind, kwargs in kinds.items():
        code = FIRST_STEP.format(**kwargs)
        found[f"first step{kind}"] = lambda code=code: starts(code)
        env = gym.make("RobotRoom-v0", **kwargs)
        envs: Any = gym.make_vec("RobotRoom-v0", NUM_ENVS, "vector_entry_point", **kwargs)
        whole = int(np.ceil(config.seconds))  # s
        found[f"benchmark_step{kind}"] = lambda e=env, t=whole: benchmark_step(e, t, 0)
        found[f"benchmark_vector_step{kind}"] = lambda e=envs, t=whole: benchmark_vector_step(e, t, 0)
    if config.peers:
        process = peers()
        assert process.stdin is not None and process.stdout is not None
        into, out = process.stdin, process.stdout

        def ask(name: str) -> float:
            into.write(name + "\n")
            into.flush()
            return float(json.loads(out.readline()))

        found |= {"minigrid": lambda: ask("minigrid"), "pusht": lambda: ask("pusht")}
    return found


def figures(rates: dict[str, list[float]], kind: str) -> Iterator[tuple[str, float, str, str]]:
    """Name, target, and the two timings of each ratio."""
    v0 = f"RobotRoom-v0{kind}"
    yield "native vector over numpy.copyto", 0.45, v0, "copyto"
    yield "the same with copy=False", 1.0, f"no copy{kind}", "copyto"
    if "minigrid" in rates:
        yield "single over Minigrid 64×64", 40, f"single{kind}", "minigrid"
        yield "single over gym-pusht 96×96", 100, f"single{kind}", "pusht"
    yield (
        "CPU time to a first step over importing Gymnasium",
        1.5,
        "import gymnasium",
        f"first step{kind}",
    )
    yield "native vector over SyncVectorEnv", 10, v0, f"sync{kind}"
    yield "all factors varied over v0", 0.3, f"RobotRoomVaried-v0{kind}", v0
    others = [f"{name}{kind}" for name in robot_room.VARIANTS if "Varied" not in name]
    others += [f"camera {corruption}{kind}" for corruption in SEVERITIES]
    slowest = min(others, key=lambda name: np.median(rates[name]))
    yield f"slowest variant ({slowest.removesuffix(kind)}) over v0", 0.3, slowest, v0


def main(config: EnvSpeed) -> None:
    """Run the benchmark."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = timings(config)
    rates: dict[str, list[float]] = {name: [] for name in found}
    for _ in track(range(config.rounds), "rounds", console=Console(stderr=True)):
        for name, timing in found.items():
            rates[name].append(timing())
    versions = {
        "python": platform.python_version(),
        "gymnasium": gym.__version__,
        "numpy": np.__version__,
    }
    record = {"versions": versions, "peers": PEERS, "rooms": NUM_ENVS, "frames_per_second": rates}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(record, indent=1) + "\n")

    console = Console(width=120)
    table = Table(title=f"Median (lowest to highest) ratio of {config.rounds} rounds")
    for heading in ("figure", "target", "numpy", "compiled"):
        table.add_column(heading)
    for plain, fast in zip(figures(rates, ""), figures(rates, " compiled"), strict=True):
        row = []
        for _, _, above, below in (plain, fast):
            ratio = np.array(rates[above]) / np.array(rates[below])
            row.append(f"{np.median(ratio):.3g} ({ratio.min():.3g} to {ratio.max():.3g})")
        same = plain[0] == fast[0]
        table.add_row(plain[0] if same else f"{plain[0]}; compiled: {fast[0]}", f"{plain[1]:g}", *row)
    console.print(table)
    table = Table(title="Median frames per second")
    for heading in ("timing", "numpy", "compiled"):
        table.add_column(heading)
    for name in rates:
        if not name.endswith(" compiled"):
            both = [rates[key] for key in (name, f"{name} compiled") if key in rates]
            table.add_row(name, *(f"{np.median(values):,.0f}" for values in both))
    console.print(table)


if __name__ == "__main__":
    command_line.run(EnvSpeed, main)
