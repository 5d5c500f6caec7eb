"""What is told of learning, under the names that users of stable-baselines3 know."""

import re
from functools import partial
from pathlib import Path
from typing import Any, Self

from agent import logs
from agent.learner import Progress

OF_TIME = ("time/fps", "time/time_elapsed")
"""Numbers that differ from run to run."""


def record(progress: Progress) -> dict[str, float]:
    """Everything that is known now.

    `rollout/…` are means over the last episodes (`Progress.EPISODES`; `success_rate` over the last
    `Progress.OUTCOMES`), `train/…` those of the last update in nats per step, `eval/…` the evaluation
    that was just made, if one was. Times count collection and updates alone.
    """
    episodes = {"ep_rew_mean": progress.returns, "ep_len_mean": progress.lengths}
    episodes["success_rate"] = [float(outcome) for outcome in progress.outcomes]
    seconds = max(progress.seconds, 1e-9)
    return {
        **{f"rollout/{name}": sum(of) / len(of) for name, of in episodes.items() if of},
        **{f"eval/{name}": value for name, value in progress.evaluation.items()},
        "time/fps": round(progress.num_timesteps / seconds, 1),
        "time/time_elapsed": round(progress.seconds, 3),
        "time/total_timesteps": progress.num_timesteps,
        "train/n_updates": progress.num_updates,
        **{f"train/{name}": value for name, value in progress.metrics.items()},
    }


def _up_to(progress: Progress, found: dict[str, Any]) -> bool:
    """Whether a record that was read is not beyond the progress."""
    counts = found.get("time/total_timesteps"), found.get("train/n_updates")
    reached = progress.num_timesteps, progress.num_updates
    return all(
        isinstance(count, int) and count <= most for count, most in zip(counts, reached, strict=True)
    )


def next_run(folder: Path, name: str, goes_on: bool) -> Path:
    """The folder of a run: `name_1`, `name_2`, …, as stable-baselines3 counts them.

    Args:
        folder: the folder of all runs.
        name: what they are called.
        goes_on: whether to take the last one, if there is any, and not a new one.
    """
    numbers = [0]
    for path in folder.glob(f"{name}_*"):
        if found := re.fullmatch(re.escape(name) + r"_(\d+)", path.name):
            numbers.append(int(found[1]))
    return folder / f"{name}_{max(max(numbers) + (not goes_on), 1)}"


class RunLogger:
    """A callback for `Agent.learn` and `learn_from`; as a context manager it closes its files.

    After each vector step with its updates, or offline after every tenth update, it writes a record to
    `metrics.jsonl`, `metrics.csv` and one file of TensorBoard's events under `directory`. TensorBoard's
    steps are environment steps, offline updates.

    Args:
        directory: created if missing; None: no files.
        progress: where training stands. A directory with records goes on from there: what an
            interrupted run has logged beyond it is removed. None: a new run.
        hyperparameters: settings by name.
        log_interval: records from one table on standard output to the next; None: no tables.
        wandb: a project of Weights & Biases, or None.
    """

    def __init__(
        self,
        directory: Path | None,
        progress: Progress | None = None,
        hyperparameters: dict[str, Any] | None = None,
        log_interval: int | None = None,
        wandb: str | None = None,
    ) -> None:
        told = hyperparameters or {}
        self._logs: list[logs.Log] = []
        self._tensorboard: logs.TensorBoard | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        if wandb is not None:
            self._logs.append(logs.WeightsAndBiases(wandb, directory, told))
        if directory is not None:
            found = logs.JsonLines.read(directory / "metrics.jsonl")
            kept = 0 if progress is None else sum(map(partial(_up_to, progress), found))
            self._tensorboard = logs.TensorBoard(directory, kept, told)
            files = directory / "metrics.jsonl", directory / "metrics.csv"
            self._logs += [logs.JsonLines(files[0], kept), logs.Csv(files[1], kept), self._tensorboard]
        if log_interval is not None:
            self._logs.append(logs.Console(log_interval))

    def __call__(self, progress: Progress) -> None:
        """Log the progress."""
        if not progress.stepped:
            return
        step = progress.num_timesteps if progress.target_updates is None else progress.num_updates
        now = record(progress)
        for log in self._logs:
            log.write(step, now)

    def add_image(self, name: str, picture: Any, step: int) -> None:
        """Add a picture (H, W, 3) to TensorBoard's events."""
        if self._tensorboard is not None:
            self._tensorboard.add_image(name, picture, step)

    def flush(self) -> None:
        """Have everything on the disk, before a checkpoint that is beyond it."""
        for log in self._logs:
            log.flush()

    def __enter__(self) -> Self:
        """Nothing is to be done."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        for log in self._logs:
            log.close()
