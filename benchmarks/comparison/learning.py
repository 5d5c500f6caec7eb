r"""How fast the plain agent learns an environment, beside PPO of stable-baselines3.

    python -m benchmarks.comparison.learning --workers 2
    python -m benchmarks.comparison.learning --env-id RobotRoomRandomGoal-v0 --threshold 0.97 \
        --env-steps 2000 --evaluate-every 200 --ppo-seeds 0 --workers 2

One job is one algorithm with one seed. Each runs in a process of its own, `workers` at a time, ours
and PPO's in turn, and leaves its raw scores in a file; a job that has its file is not run again.
Success is measured on held-out starts: 100 along the way, and 1,000 where these succeed. Training
stops for an evaluation, whose time is not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.learner import Progress
from benchmarks.engine.jobs import Record, at_least_one, command, run_jobs
from benchmarks.engine.spread import spread
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, evaluate
from robot_room.app.runs.report import peak_memory_gib

Algorithm = Literal["world-model", "ppo"]
ALGORITHMS: tuple[Algorithm, ...] = ("world-model", "ppo")
EPISODES = 1000


@dataclass
class Learning:
    """Run the jobs that have no file yet, then print the table of all."""

    env_id: str = "RobotRoom-v0"
    """The environment."""
    threshold: float = 0.99
    """Success rate that counts as learned."""
    seeds: int = 10
    """Training seeds, from 0."""
    env_steps: int = 500
    """At which our training ends."""
    evaluate_every: int = 50
    """Environment steps between our evaluations."""
    ppo_seeds: int = 5
    """PPO's training seeds, from 0."""
    ppo_every: int = 1024
    """Environment steps between PPO's evaluations, a multiple of its rollouts'."""
    ppo_steps: int = 60_000
    """At which PPO is given up, if it has not reached the threshold."""
    workers: int = 1
    """Jobs at a time. More than one slow each other down; compare seconds only at the same number."""
    out: Path = Path("benchmarks/results/learning")
    """Where the raw scores are, in a folder for each environment."""

    def __post_init__(self) -> None:
        steps = ("env_steps", "evaluate_every", "ppo_every", "ppo_steps")
        at_least_one(self, "seeds", *steps, "workers")


class Recorder:
    """Evaluates along the way and finds out when the threshold was reached."""

    def __init__(self, config: Learning, algorithm: Algorithm, seed: int) -> None:
        self.env_id, self.threshold = config.env_id, config.threshold
        self.record: Record = {
            "algorithm": algorithm,
            "env_id": config.env_id,
            "seed": seed,
            "threshold": config.threshold,
            "curve": [],
        }

    def evaluate(self, policy: Policy, env_steps: int, seconds: float, episodes: int = 100) -> float:
        """Evaluate now; returns the success rate.

        PPO is taken with or without the noise of its policy, whichever succeeds more often.
        """
        where = {
            "env_steps": env_steps,
            "seconds": round(seconds, 2),
            "peak_memory_gib": round(peak_memory_gib(), 3),
        }
        points = []
        for deterministic in (True, False) if self.record["algorithm"] == "ppo" else (True,):
            result = evaluate(policy, self.env_id, episodes, HELD_OUT_SEED, deterministic)
            points.append(where | {"deterministic": deterministic} | result.summary())
        best = max(points, key=lambda point: point["success_rate"])
        self.record["curve"].append(best)
        return best["success_rate"]

    def reached(self, policy: Policy, env_steps: int, seconds: float) -> bool:
        """Whether the threshold is met by 100 starts and then by 1,000."""
        if self.evaluate(policy, env_steps, seconds) < self.threshold:
            return False
        return self.evaluate(policy, env_steps, seconds, EPISODES) >= self.threshold


def run_world_model(config: Learning, seed: int) -> Record:
    """Train the agent, evaluating on the way."""
    recorder = Recorder(config, "world-model", seed)
    agent = Agent(config.env_id, AgentConfig(), seed, "cpu")  # as PPO
    due, confirmed = config.evaluate_every, False

    def callback(progress: Progress) -> None:
        nonlocal due, confirmed
        owed = agent.config.training.updates_per_step * progress.num_timesteps
        if due <= progress.num_timesteps < config.env_steps and progress.num_updates >= owed:
            if confirmed:
                recorder.evaluate(agent, progress.num_timesteps, progress.seconds)
            else:
                confirmed = recorder.reached(agent, progress.num_timesteps, progress.seconds)
            due = progress.num_timesteps + config.evaluate_every

    agent.learn(config.env_steps, callback)
    recorder.evaluate(agent, agent.num_timesteps, agent.progress.seconds, EPISODES)
    return recorder.record


def run_ppo(config: Learning, seed: int) -> Record:
    """Train PPO until it succeeds often enough on 100, then on 1,000 starts."""
    from benchmarks.comparison.baselines import chosen_setting, train  # not in our agent's memory

    recorder = Recorder(config, "ppo", seed)
    setting = chosen_setting("ppo", config.env_id)
    for policy, env_steps, seconds in train("ppo", setting, config.env_id, seed):
        if env_steps % config.ppo_every == 0 and recorder.reached(policy, env_steps, seconds):
            break
        if env_steps >= config.ppo_steps:
            break
    return recorder.record


def run_job(config: Learning, algorithm: Algorithm, seed: int) -> Record:
    """One training run."""
    return {"world-model": run_world_model, "ppo": run_ppo}[algorithm](config, seed)


def first_reached(record: Record) -> dict[str, Any] | None:
    """The first point of a curve at the threshold over 1,000 starts; None if there is none."""
    points = (point for point in record["curve"] if point["episodes"] >= EPISODES)
    return next((point for point in points if point["success_rate"] >= record["threshold"]), None)


def rows(records: list[Record]) -> Iterator[list[str]]:
    """A row for each algorithm: figures as mean (lowest to highest) over the seeds."""
    for algorithm in ALGORITHMS:
        runs = [record for record in records if record["algorithm"] == algorithm]
        ends = [record["curve"][-1] for record in runs]
        reached = [point for record in runs if (point := first_reached(record)) is not None]
        if runs:
            yield [
                algorithm,
                f"{len(reached)} of {len(runs)}",
                spread([point["env_steps"] for point in reached], 0),
                spread([point["seconds"] for point in reached], 1),
                spread([end["env_steps"] for end in ends], 0),
                spread([end["seconds"] for end in ends], 1),
                spread([100 * end["success_rate"] for end in ends], 1),
                spread([end["path_ratio"] for end in ends], 3),
                spread([end["peak_memory_gib"] for end in ends], 2),
            ]


def main(config: Learning) -> None:
    """Run the benchmark."""
    from benchmarks.comparison.baselines import chosen_setting

    seeds = {"world-model": config.seeds, "ppo": config.ppo_seeds}
    jobs = {
        config.out / config.env_id / f"{algorithm}-seed{seed}.json": (config, algorithm, seed)
        for seed in range(max(seeds.values()))
        for algorithm in ALGORITHMS
        if seed < seeds[algorithm]
    }
    setting = chosen_setting("ppo", config.env_id)
    settings = {
        "world-model": {"env_steps": config.env_steps, "evaluate_every": config.evaluate_every},
        "ppo": {"every": config.ppo_every, "steps": config.ppo_steps, "arguments": setting.describe()},
    }
    own = {path: settings[algorithm] for path, (_, algorithm, _) in jobs.items()}
    records = run_jobs(run_job, jobs, {"threshold": config.threshold}, config.workers, own=own)
    table = Table(title=f"{config.env_id}: mean (lowest to highest) over training seeds")
    for heading in (
        "algorithm",
        f"reached {config.threshold:.0%}",
        "steps to it",
        "seconds to it",
        "steps at end",
        "seconds at end",
        "success at end, %",
        "path ratio",
        "peak GiB",
    ):
        table.add_column(heading)
    for row in rows(records):
        table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    command(Learning, main)
