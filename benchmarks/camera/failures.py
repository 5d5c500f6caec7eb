"""Control under failures of the camera that nobody named to the restorer.

    python -m benchmarks.camera.failures

An agent learns with an uncorrupted camera; restorers are trained on its frames. Then each arm meets
each failure, at severities 1, 3 and 5, from the same held-out starts: the environment's five
corruptions and six more, on which the restorer was developed, and sixteen that were held out
(`benchmarks.camera.corruptions`). An episode succeeds if the goal is reached within 20 steps; no
start of RobotRoom-v0 needs more than 9.
The arms:

    nothing             the agent without changes
    median              a 3 × 3 median filter
    temporal median     the median of the last three frames, pixel by pixel
    nearest frame       the nearest of the frames that the agent has learned from
    innovation, hard    no restorer; a frame that contradicts the prediction is not believed
    innovation, soft    no restorer; the more it contradicts, the larger a variance it is given
    noise autoencoder   an autoencoder trained on Gaussian noise alone; every frame is believed
    autoencoder         one trained on the broad family of degradations; every frame is believed
    autoencoder, hard   the same; frames that may mislead, or contradict, are not believed
    autoencoder, soft   the same; both give them a larger variance
    full system         the same; only what may mislead does: what `--restorer` switches on
    diffusion           the diffusion model denoises and inpaints; every frame is believed
    diffusion, gate     the same; implausible and surprising frames are not believed

A job is one failure, severity and seed with all arms. Intervals are 95 % bootstrap intervals over
seeds and over starts; with few seeds they are too narrow.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.calibration import Restoration, calibrate_restorer, innovation_threshold
from agent.gate import AcceptAll, ConformalGate, Gate, SoftGate
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.denoiser import Denoiser
from agent.restoration.restorer import Identity, Restorer
from agent.restoration.training import AutoencoderTrainer, DenoiserTrainer
from benchmarks.camera.corruptions import DEVELOPED, HELD_OUT, KINDS, FailingCamera
from benchmarks.camera.rivals import Median, Nearest, Plain, TemporalMedian
from benchmarks.camera.robustness import interval
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs, write_record
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, env_spec, evaluate
from robot_room.sensors import SEVERITIES

TRAINING_STEPS = {"RobotRoom-v0": 500, "RobotRoomRandomGoal-v0": 2000}
LIMIT = 20  # steps
CLEAN = "none"
MILD, MIDDLE, HEAVY = 1, 3, 5
GROUPS = {"named": [*SEVERITIES], "developed": [*DEVELOPED], "held out": [*HELD_OUT]}
FULL, NOTHING = "full system", "nothing"
WITHOUT_RESTORER = (
    *(NOTHING, "median", "temporal median", "nearest frame", "innovation, hard", "innovation, soft"),
)
NAMES = (
    *WITHOUT_RESTORER,
    *("noise autoencoder", "autoencoder", "autoencoder, hard", "autoencoder, soft", FULL),
    *("diffusion", "diffusion, gate"),
)
THRESHOLDED = {"innovation, hard", "innovation, soft", "autoencoder, hard", "autoencoder, soft"}


@dataclass
class Failures:
    """Run the jobs that have no result file yet, then print the tables and draw the figure."""

    env_id: str = "RobotRoom-v0"
    """The environment."""
    seeds: int = 1
    """Number of training seeds."""
    first_seed: int = 0
    """The first of them."""
    episodes: int = 25
    """Episodes per seed."""
    severities: tuple[int, ...] = (MILD, MIDDLE, HEAVY)
    """Severities, 1 to 5."""
    groups: tuple[str, ...] = field(default=tuple(GROUPS))
    """Groups of kinds."""
    arms: tuple[str, ...] = field(default=NAMES)
    """The arms."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/failures")
    """Folder of the raw scores."""
    trained: Path = Path("runs/failures")
    """Folder in which trained agents and restorers are kept, so that they are not trained again."""
    figure: Path = Path("docs/failures.png")
    """File of the figure."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "episodes", "workers")
        if self.env_id not in TRAINING_STEPS:
            raise ValueError(f"env_id: got {self.env_id!r}, allowed: {list(TRAINING_STEPS)}")
        for name, allowed in (("arms", NAMES), ("groups", GROUPS), ("severities", range(1, 6))):
            if unknown := set(getattr(self, name)) - set(allowed):
                raise ValueError(f"{name}: got {sorted(unknown)}, allowed: {list(allowed)}")


class Prepared(NamedTuple):
    """An agent and what was trained on its frames."""

    agent: Agent
    frames: Tensor  # those that the agent has learned from
    blind: Autoencoder
    full: Restoration  # the same autoencoder's
    threshold: float  # on the innovation
    noise: Autoencoder | None
    diffusion: Restoration | None
    seconds: dict[str, float]  # of processor time


@cache
def prepared(env_id: str, seed: int, arms: tuple[str, ...], folder: Path) -> Prepared:
    """Train everything that the arms need, or load what has been trained; cached per process."""
    seconds: dict[str, float] = {}
    folder = folder / env_id / f"seed{seed}"

    def kept(name: str, make: Callable[[], Any], load: Callable[[Path], Any]) -> Any:
        path = folder / name
        clock = folder / f"{name}.json"
        if not clock.exists():
            began = time.process_time()
            made = make()
            made.save(path)
            write_record(clock, {"processor_seconds": time.process_time() - began})
        seconds[name] = json.loads(clock.read_text())["processor_seconds"]
        return load(path)

    steps = TRAINING_STEPS[env_id]
    agent: Agent = kept(
        "agent",
        lambda: Agent(env_id, AgentConfig(), seed, "cpu").learn(steps),
        lambda path: Agent.load(path, device="cpu"),
    )
    frames = learned_frames(agent)
    height, width, channels = agent.observation_space.shape

    def fitted(trainer: Any) -> Any:
        trainer.fit(frames)
        return trainer

    def network(name: str, kind: type[Any], config: Any) -> Any:
        shape = height, width, channels
        return kept(name, lambda: fitted(kind(shape, config, seed=seed)), kind.load).averaged

    def calibrated(name: str, trained: Autoencoder | Denoiser) -> Restoration:
        return kept(name, lambda: calibrate_restorer(agent, trained, seed=seed), Restoration.load)

    blind = network("autoencoder", AutoencoderTrainer, None)
    full = calibrated("full", blind)
    threshold = math.inf
    if set(arms) & THRESHOLDED:
        threshold = innovation_threshold(agent, seed=seed)
    noise = diffusion = None
    if "noise autoencoder" in arms:
        noise = network("noise", AutoencoderTrainer, AutoencoderConfig(degradation="noise"))
    if any(name.startswith("diffusion") for name in arms):
        diffusion = calibrated("diffusion", network("denoiser", DenoiserTrainer, None))
    return Prepared(agent, frames, blind, full, threshold, noise, diffusion, seconds)


def learned_frames(agent: Agent) -> Tensor:
    """The frames of an agent's replay."""
    frames = [frame for episode in agent.replay.episodes for frame in episode.frames]
    return torch.from_numpy(np.stack(frames))


def parts(prepared: Prepared, name: str) -> tuple[Restorer, Gate]:
    """An arm's restorer and gate."""
    full, noise, diffusion = prepared.full, prepared.noise, prepared.diffusion
    tau = prepared.threshold
    simple: dict[str, tuple[Restorer, Gate]] = {
        NOTHING: (Identity(), AcceptAll()),
        "median": (Median(), AcceptAll()),
        "temporal median": (Identity(), AcceptAll()),
        "nearest frame": (Nearest(prepared.frames), AcceptAll()),
        "innovation, hard": (Identity(), ConformalGate(tau)),
        "innovation, soft": (Identity(), SoftGate(tau)),
        "autoencoder, hard": (full.restorer, ConformalGate(tau)),
        "autoencoder, soft": (full.restorer, SoftGate(tau)),
        FULL: (full.restorer, full.gate),
    }
    if name in simple:
        return simple[name]
    if name == "noise autoencoder" and noise is not None:
        return Plain(noise), AcceptAll()
    if name == "autoencoder":
        return Plain(prepared.blind), AcceptAll()
    assert diffusion is not None
    return diffusion.restorer, AcceptAll() if name == "diffusion" else diffusion.gate


def run_job(
    env_id: str,
    kind: str,
    severity: int,
    seed: int,
    episodes: int,
    arms: tuple[str, ...],
    trained: Path,
) -> Record:
    """Every arm, on the same starts and failures."""
    ready = prepared(env_id, seed, arms, trained)
    named = {"corruption": kind, "severity": severity} if kind in SEVERITIES else {}
    spec = env_spec(env_id, json.dumps(named))
    spec.max_episode_steps = LIMIT
    record: Record = {"kind": kind, "severity": severity, "training_seed": seed}
    record["processor_seconds"] = ready.seconds
    record["arms"] = {}
    for name in arms:
        ready.agent.restorer, ready.agent.gate = parts(ready, name)
        policy: Policy = ready.agent
        if name == "temporal median":
            policy = TemporalMedian(policy)
        if kind in KINDS:
            policy = FailingCamera(policy, kind, severity, seed)
        result = evaluate(policy, spec, episodes, HELD_OUT_SEED, timed=False)
        record["arms"][name] = {
            "is_success": result.is_success.astype(int).tolist(),
            "steps": result.steps.tolist(),
        }
    return record


Scores = dict[tuple[str, int], dict[str, NDArray[np.float64]]]


def scores_of(records: Sequence[Record]) -> Scores:
    """Success in per cent by condition and arm, (seeds, episodes)."""
    scores: Scores = {}
    for condition in dict.fromkeys((r["kind"], r["severity"]) for r in records):
        some = [r for r in records if (r["kind"], r["severity"]) == condition]
        scores[condition] = {
            name: 100 * np.array([r["arms"][name]["is_success"] for r in some], float)
            for name in some[0]["arms"]
        }
    return scores


def pooled(scores: Scores, kinds: Sequence[str], severity: int, arm: str) -> NDArray[np.float64]:
    """The mean over kinds of an arm's success at a severity, (seeds, episodes)."""
    return np.mean([scores[kind, severity][arm] for kind in kinds], 0)


def written(values: NDArray[np.float64], sign: str = "") -> str:
    """A mean and its interval."""
    low, high = interval(values)
    return f"{values.mean():{sign}.0f} ({low:{sign}.0f} to {high:{sign}.0f})"


def summary(scores: Scores, severities: Sequence[int]) -> Table:
    """Means over groups of kinds, for every arm."""
    arms = list(next(iter(scores.values())))
    headings = [f"{group} {severity}" for group in measured(scores) for severity in severities]
    result = Table("arm", "clean", *headings, title="Success, %: means over kinds (95 % interval)")
    for arm in arms:
        means = [
            written(pooled(scores, kinds, severity, arm))
            for kinds in measured(scores).values()
            for severity in severities
        ]
        result.add_row(arm, f"{scores[CLEAN, 0][arm].mean():.0f}", *means)
    return result


def measured(scores: Scores) -> dict[str, list[str]]:
    """The groups of which every kind was measured."""
    return {
        group: kinds
        for group, kinds in GROUPS.items()
        if all(any(kind == found for found, _ in scores) for kind in kinds)
    }


def by_kind(scores: Scores) -> Table:
    """Success of every arm under every failure."""
    arms = list(next(iter(scores.values())))
    result = Table("camera", *arms, f"{FULL} − {NOTHING}", title="Success, %")
    for (kind, severity), found in scores.items():
        gain = written(found[FULL] - found[NOTHING], "+")
        result.add_row(f"{kind} {severity}", *(f"{found[arm].mean():.0f}" for arm in arms), gain)
    return result


def headlines(scores: Scores, severities: Sequence[int]) -> list[str]:
    """The figures that are aimed at."""
    arms = list(next(iter(scores.values())))
    gains = {key: (found[FULL] - found[NOTHING]).mean() for key, found in scores.items()}
    worst = min(gains, key=lambda key: gains[key])
    lines = [f"worst, {FULL} − {NOTHING}: {gains[worst]:+.0f} points, {worst[0]} {worst[1]}"]
    below = sum(gain < -3 for gain in gains.values())
    lines.append(f"conditions in which it is more than 3 points below: {below} of {len(gains)}")
    for severity in severities if "held out" in measured(scores) else ():
        rivals = [arm for arm in arms if arm in WITHOUT_RESTORER]
        best = max(rivals, key=lambda arm: pooled(scores, GROUPS["held out"], severity, arm).mean())
        ours = pooled(scores, GROUPS["held out"], severity, FULL)
        gain = ours - pooled(scores, GROUPS["held out"], severity, best)
        lines.append(f"held out, severity {severity}: {written(gain, '+')} over {best}")
    return lines


def draw(scores: Scores, severities: Sequence[int], path: Path) -> None:
    """All kinds at once: a row for each, a column for each arm, a block for each severity."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    arms = list(next(iter(scores.values())))
    kinds = [(group, kind) for group, members in measured(scores).items() for kind in members]
    figure = Figure(figsize=(4.2 * len(severities) + 1.5, 9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(severities), sharey=True))
    colours = ScalarMappable(Normalize(0, 100), "RdYlGn")
    for panel, severity in zip(panels, severities, strict=True):
        values = np.array([[scores[kind, severity][arm].mean() for arm in arms] for _, kind in kinds])
        panel.imshow(values, cmap=colours.cmap, norm=colours.norm, aspect="auto")
        for row, column in np.ndindex(*values.shape):
            panel.text(column, row, f"{values[row, column]:.0f}", ha="center", va="center", fontsize=7)
        edges = np.cumsum([len(members) for members in measured(scores).values()])[:-1]
        panel.hlines(edges - 0.5, -0.5, len(arms) - 0.5, color="black", linewidth=1.5)
        panel.set_xticks(range(len(arms)), arms, rotation=60, ha="right", fontsize=8)
        panel.set_yticks(range(len(kinds)), [kind.replace("_", " ") for _, kind in kinds], fontsize=8)
        panel.set_title(f"severity {severity}")
        panel.tick_params(length=0)
    figure.colorbar(colours, ax=panels, shrink=0.4, label=f"success within {LIMIT} steps, %")
    figure.savefig(path, dpi=100)


def main(config: Failures) -> None:
    """Run the benchmark."""
    kinds = [kind for group in config.groups for kind in GROUPS[group]]
    conditions = [(CLEAN, 0), *((kind, each) for each in config.severities for kind in kinds)]
    jobs = {
        config.out / config.env_id / f"seed{seed}" / f"{kind}-{severity}.json": (
            *(config.env_id, kind, severity, seed, config.episodes),
            *(config.arms, config.trained),
        )
        for seed in range(config.first_seed, config.first_seed + config.seeds)
        for kind, severity in conditions
    }
    settings = {
        "episodes": config.episodes,
        "limit": LIMIT,
        "training_steps": TRAINING_STEPS[config.env_id],
        "arms": list(config.arms),
    }
    records = run_jobs(run_job, jobs, settings, config.workers, jobs_per_process=len(conditions))
    scores = scores_of(records)
    console = Console(width=240)
    console.print(by_kind(scores))
    console.print(summary(scores, config.severities))
    for line in headlines(scores, config.severities):
        print(line)
    draw(scores, config.severities, config.figure)


if __name__ == "__main__":
    command(Failures, main)
