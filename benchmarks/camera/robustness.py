"""Control with a failing camera: the diffusion model as a restorer, compared with simpler methods.

    python -m benchmarks.camera.robustness

For each training seed an agent learns RobotRoom-v0 with an uncorrupted camera, and a restorer is
trained on the agent's frames. Every arm then meets every corruption at every severity, on the same
held-out starts. An episode succeeds if the goal is reached within 20 steps; no start needs more than 9.
The arms:

    baseline            the agent without changes
    median              a 3 × 3 median filter before the agent
    trained on it       another agent, trained with the same corruption and severity; at the middle
                        severity also one trained for four times as many steps
    innovation gate     frames with too large an innovation are rejected
    gate                the same, and frames that the critic finds implausible are rejected
    restorer            frames are denoised and inpainted, and every frame is used
    restorer + gate     both: what `train-restorer --kind diffusion` makes

A job is one corruption, severity and seed with all arms. Intervals are 95 % bootstrap intervals over
seeds and over starts, which all seeds share; few seeds make them too narrow. Differences are paired by
start. The restorer's settings were chosen with training seed 100 on tuning starts. Besides the 500
steps that both agents learn from, the restorer is calibrated on 200 new episodes with an uncorrupted
camera (about 1,200 steps, not used for training).
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.calibration import Restoration, calibrate_restorer
from agent.gate import AcceptAll
from agent.restoration.denoiser import to_frames, to_images
from agent.restoration.noise import neighbourhood_median
from agent.restoration.restorer import Identity
from agent.restoration.training import DenoiserTrainer
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, env_spec, evaluate
from robot_room.app.figures import styled_figure
from robot_room.sensors import SEVERITIES

ROOM = "RobotRoom-v0"
TRAINING_STEPS = 500
LIMIT = 20  # steps
CLEAN = "none"
CONDITIONS = [(CLEAN, 0), *((kind, severity) for kind in SEVERITIES for severity in range(1, 6))]
MIDDLE = 3


@dataclass
class Robustness:
    """Run the jobs that have no result file yet, then print the table and draw the figure."""

    seeds: int = 2
    """Number of training seeds, from 0."""
    episodes: int = 100
    """Episodes per seed; an arm has seeds × episodes at each severity."""
    workers: int = 1
    """Jobs at a time."""
    out: Path = Path("benchmarks/results/robustness")
    """Folder of the raw scores."""
    figure: Path = Path("docs/robustness.png")
    """File of the figure."""

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "episodes", "workers")


class Filtered:
    """A policy behind a 3 × 3 median filter."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """See `Policy.predict`."""
        images = to_images(torch.from_numpy(np.ascontiguousarray(observation)))
        frames = to_frames(neighbourhood_median(images)).numpy()
        return self.policy.predict(frames, state, episode_start, deterministic)


@cache
def prepared(seed: int) -> tuple[Agent, Restoration]:
    """An agent trained with an uncorrupted camera, with restorer and gate; cached per process."""
    agent = Agent(ROOM, AgentConfig(), seed, "cpu").learn(TRAINING_STEPS)
    return agent, learned_restoration(agent, seed)


def learned_restoration(agent: Agent, seed: int) -> Restoration:
    """A restorer trained on the agent's frames, and its gate, calibrated."""
    frames = [frame for episode in agent.replay.episodes for frame in episode.frames]
    height, width, channels = agent.observation_space.shape
    trainer = DenoiserTrainer((height, width, channels), seed=seed)
    trainer.fit(torch.from_numpy(np.stack(frames)))
    return calibrate_restorer(agent, trainer.averaged, seed=seed)


def failing(kind: str, severity: int) -> EnvSpec:
    """The room with a failing camera."""
    kwargs = {} if kind == CLEAN else {"corruption": kind, "severity": severity}
    return env_spec(ROOM, json.dumps(kwargs))


def learned_with(kind: str, severity: int, seed: int, steps: int) -> Agent:
    """An agent trained with the failing camera."""
    return Agent(failing(kind, severity), AgentConfig(), seed, "cpu").learn(steps)


def plain(agent: Agent) -> Agent:
    """The agent using every frame unchanged."""
    agent.restorer, agent.gate = Identity(), AcceptAll()
    return agent


def innovation_gate(agent: Agent, restoration: Restoration) -> Agent:
    """No diffusion model: every frame counts as plausible, and none is restored."""
    agent.restorer, agent.gate = Identity(), restoration.gate
    return agent


def judged(agent: Agent, restoration: Restoration) -> Agent:
    """Implausible and surprising frames are rejected; none is restored."""
    agent.restorer = dataclasses.replace(restoration.restorer, cleans=False)
    agent.gate = restoration.gate
    return agent


def cleaned(agent: Agent, restoration: Restoration) -> Agent:
    """Frames are restored, and every frame is used."""
    agent.restorer, agent.gate = restoration.restorer, AcceptAll()
    return agent


ARMS: dict[str, Callable[[Agent, Restoration], Policy]] = {
    "baseline": lambda agent, restoration: plain(agent),
    "median": lambda agent, restoration: Filtered(plain(agent)),
    "innovation gate": innovation_gate,
    "gate": judged,
    "restorer": cleaned,
    "restorer + gate": lambda agent, restoration: restoration.attach(agent),
}
TRAINED, LONGER = "trained on it", "trained on it, four times as long"
NAMES = ["baseline", "median", TRAINED, "innovation gate", "gate", "restorer", "restorer + gate"]
WITHOUT_DIFFUSION = NAMES[:4]
OLD_NAMES: dict[str, str] = {
    "nothing": "baseline",
    "prior gate": "gate",
    "purify": "restorer",
    "purify + gate": "restorer + gate",
}
"""Arms of older records, and what they are called now."""


def run_job(kind: str, severity: int, seed: int, episodes: int) -> Record:
    """Every arm, on the same starts."""
    agent, restoration = prepared(seed)
    record: Record = {"kind": kind, "severity": severity, "training_seed": seed, "arms": {}}
    spec = failing(kind, severity)
    for name in NAMES:
        if name == TRAINED:
            if kind == CLEAN:
                continue
            policy: Policy = learned_with(kind, severity, seed, TRAINING_STEPS)
        else:
            policy = ARMS[name](agent, restoration)
        record["arms"][name] = outcome(policy, spec, episodes)
    return record


def outcome(policy: Policy, spec: EnvSpec, episodes: int) -> Record:
    """Results of a policy on the held-out starts within the limit, per episode."""
    spec = copy.deepcopy(spec)
    spec.max_episode_steps = LIMIT
    result = evaluate(policy, spec, episodes, HELD_OUT_SEED)
    each = {"is_success": result.is_success.astype(int).tolist(), "steps": result.steps.tolist()}
    return result.summary() | each


def run_longer(kind: str, seed: int, episodes: int) -> Record:
    """An agent trained for longer with the failing camera, at the middle severity."""
    spec = failing(kind, MIDDLE)
    arm = outcome(learned_with(kind, MIDDLE, seed, 4 * TRAINING_STEPS), spec, episodes)
    return {"kind": kind, "severity": MIDDLE, "training_seed": seed, "arms": {LONGER: arm}}


Scores = dict[tuple[str, int], dict[str, NDArray[np.float64]]]


def scores_of(records: list[Record]) -> Scores:
    """Success by condition and arm, (seeds, episodes)."""
    scores: Scores = {}
    for kind, severity in CONDITIONS:
        some = [r for r in records if (r["kind"], r["severity"]) == (kind, severity)]
        names: list[str] = list(some[0]["arms"])
        scores[kind, severity] = {
            OLD_NAMES.get(name, name): np.array([r["arms"][name]["is_success"] for r in some], float)
            for name in names
        }
    return scores


def interval(values: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over seeds and starts, both resampled.

    A start that is hard for one seed is hard for all, so starts are resampled jointly.
    """
    generator = np.random.default_rng(0)
    seeds, episodes = values.shape
    chosen = generator.integers(seeds, size=(draws, seeds))
    starts = generator.integers(episodes, size=(draws, 1, episodes))
    means = values[chosen[..., None], starts].mean((1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(scores: Scores) -> Table:
    """Success of every arm under every condition; the last column is the gain."""
    headings = ("camera", *NAMES, "gain over the best without diffusion")
    result = Table(title=f"{ROOM}: success within {LIMIT} steps, % (95 % interval)")
    for heading in headings:
        result.add_column(heading, justify="left" if heading == "camera" else "right")
    for (kind, severity), arms in scores.items():
        row = [f"{kind} {severity}" if severity else "uncorrupted"]
        for name in NAMES:
            row.append(written(arms[name]) if name in arms else "")
        row.append("" if kind == CLEAN else gain(arms))
        result.add_row(*row)
    return result


def written(values: NDArray[np.float64]) -> str:
    """A mean and its interval, in per cent."""
    low, high = interval(values)
    return f"{100 * values.mean():.0f} ({100 * low:.0f}-{100 * high:.0f})"


def gain(arms: dict[str, NDArray[np.float64]]) -> str:
    """Paired difference between restorer + gate and the best arm without diffusion, in points."""
    best = max(WITHOUT_DIFFUSION, key=lambda name: arms[name].mean())
    difference = arms["restorer + gate"] - arms[best]
    low, high = interval(difference)
    return f"{100 * difference.mean():+.0f} ({100 * low:+.0f} to {100 * high:+.0f}), {best}"


def draw(scores: Scores, path: Path) -> None:
    """A panel for each corruption: success against severity."""
    colours = {
        "baseline": "#8a8a8a",
        "median": "#e69f00",
        TRAINED: "#cc79a7",
        "innovation gate": "#56b4e9",
        "gate": "#009e73",
        "restorer": "#0072b2",
        "restorer + gate": "#d55e00",
    }
    with styled_figure(path, 2, 3, sharey=True, figsize=(8.3, 4.9)) as (_, panels):
        _draw(scores, panels.flat, colours)


def _draw(scores: Scores, panels: Any, colours: dict[str, str]) -> None:
    for panel, kind in zip(panels, SEVERITIES, strict=False):
        for number, name in enumerate(NAMES):
            severities = range(1, 6)
            values = [scores[kind, severity][name] for severity in severities]
            means = np.array([100 * each.mean() for each in values])
            bounds = np.array([interval(each) for each in values]).T * 100
            everything = name == "restorer + gate"
            panel.errorbar(
                np.arange(1, 6) + 0.05 * (number - 3),  # so that tied arms stay visible
                means,
                np.abs(bounds - means),
                color=colours[name],
                label=name,
                linewidth=2.5 if everything else 1.5,
                zorder=3 if everything else 2,
                marker="o",
                markersize=5 if everything else 3.5,
            )
        panel.set_title(kind.replace("_", " "))
        panel.set_xlabel("severity")
        panel.set_xticks(range(1, 6))
        panel.set_ylim(-4, 104)
    for panel in panels[::3]:
        panel.set_ylabel(f"success within {LIMIT} steps, %")
    panels[len(SEVERITIES)].set_axis_off()
    handles = panels[0].get_legend_handles_labels()
    panels[len(SEVERITIES)].legend(*handles, loc="center left", title="mean, 95 % interval")


def main(config: Robustness) -> None:
    """Run the benchmark."""
    jobs = {
        config.out / f"seed{seed}" / f"{kind}-{severity}.json": (kind, severity, seed, config.episodes)
        for seed in range(config.seeds)
        for kind, severity in CONDITIONS
    }
    settings = {"episodes": config.episodes, "limit": LIMIT, "training_steps": TRAINING_STEPS}
    records = run_jobs(run_job, jobs, settings, config.workers, jobs_per_process=len(CONDITIONS))
    scores = scores_of(records)
    Console(width=200).print(table(scores))
    jobs = {
        config.out / f"seed{seed}" / f"{kind}-longer.json": (kind, seed, config.episodes)
        for seed in range(config.seeds)
        for kind in SEVERITIES
    }
    settings["training_steps"] *= 4
    longer = run_jobs(run_longer, jobs, settings, config.workers, jobs_per_process=len(SEVERITIES))
    for kind in SEVERITIES:
        some = [each["arms"][LONGER]["is_success"] for each in longer if each["kind"] == kind]
        print(f"{LONGER}, {kind} {MIDDLE}: {written(np.array(some, float))}")
    draw(scores, config.figure)


if __name__ == "__main__":
    command(Robustness, main)
