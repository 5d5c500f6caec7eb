"""Do faults on purpose, and count what came of them.

    python -m benchmarks.faults kills
    python -m benchmarks.faults resumes
    python -m benchmarks.faults disk-full
    python -m benchmarks.faults hostile --count 500
    python -m benchmarks.faults fuzz
    python -m benchmarks.faults soak --seconds 600
    python -m benchmarks.faults cost
    python -m benchmarks.faults report

Counts are kept in `--out` and continued by the next call, up to `--count`. Needs Linux. "BAD" is what
must not be: something lost, a hostile file that ran code, took memory or was not refused in one
ValueError, a call that was neither carried out nor refused. The command then fails.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.engine.jobs import command
from benchmarks.faults import cost, disk_full, fuzz, hostile, kills, resumes, soak
from benchmarks.faults.tally import Tally

COUNTS = {
    "kills": 1000,
    "resumes": 10,
    "disk-full": 200,
    "hostile": 5000,
    "fuzz": 1_000_000,
    "cost": 40,
}
RECORDINGS = 0.3  # of the kills, those of `collect`; as many of learning


@dataclass
class Faults:
    """Do one kind of faults, or print the table of all."""

    kind: Annotated[
        Literal["kills", "resumes", "disk-full", "hostile", "fuzz", "soak", "cost", "report"],
        tyro.conf.Positional,
    ]
    """Which."""
    count: int | None = None
    """Trials, with those of earlier calls (resumes: of each kind of run); None: the number that the
    documentation promises."""
    seconds: float = 3600.0
    """How long to soak."""
    seed: int = 0
    """Seed of what is drawn; it is added to the number of trials so far."""
    out: Path = Path("benchmarks/results/faults")
    """Where the counts are."""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"count: got {self.count}, allowed: at least 1")
        if not self.seconds > 0:
            raise ValueError(f"seconds: got {self.seconds}, allowed: more than 0")


def main(config: Faults) -> None:
    """Run the command.

    Raises:
        RuntimeError: there was something bad.
    """
    torch.set_num_threads(1)  # also, a process with more cannot be forked
    if config.kind != "report":
        with Tally(config.out / f"{config.kind}.json") as tally:
            count = config.count or COUNTS.get(config.kind, 0)
            generator = np.random.default_rng([config.seed, tally.trials])
            match config.kind:
                case "kills":
                    kills.calls_of_a_save(tally)
                    kills.sweeps(tally, int(RECORDINGS * count), generator)
                    kills.recording(tally, int(RECORDINGS * count), generator)
                    kills.saves(tally, count, generator)
                    kills.learning(tally, int(RECORDINGS * count), generator)
                case "resumes":
                    resumes.commands(tally, count, generator)
                case "disk-full":
                    disk_full.files(tally, count, generator)
                case "hostile":
                    hostile.files(tally, count, generator)
                case "fuzz":
                    fuzz.calls(tally, count, generator)
                case "soak":
                    soak.run(tally, config.seconds)
                case "cost":
                    cost.saves(tally, count)
                    tally.write()
                    cost.learning(tally, cost.STEPS)
    bad = show(config.out, "*" if config.kind == "report" else config.kind)
    if bad:
        raise RuntimeError(f"{bad} faults did what they must not")


def show(folder: Path, kinds: str) -> int:
    """Print the table of the counts of some kinds, a glob; returns the number of bad ones."""
    table = Table("kind", "what", "trials", title="faults")
    total = 0
    for path in sorted(folder.glob(f"{kinds}.json")):
        tally = Tally(path)
        for outcome, number in sorted(tally.counts.items()):
            table.add_row(path.stem, outcome, f"{number:,}")
            total += number if outcome.endswith("BAD") else 0
        for name, value in tally.figures.items():
            if not isinstance(value, list):
                table.add_row(path.stem, name.replace("_", " "), f"{value:g}")
    Console(width=120).print(table)
    return total


if __name__ == "__main__":
    command(Faults, main)
