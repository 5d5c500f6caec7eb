"""The comparison with stable-baselines3: run what is missing, then write its report."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison import report, sweep
from benchmarks.engine.jobs import INTERRUPTED

__all__ = ["INTERRUPTED", "Benchmark", "main"]


@dataclass
class Benchmark:
    """The full sweep takes some seven hours of two cores; it can be interrupted and resumed."""

    quick: bool = False
    """Two environments, two seeds, three algorithms, less time for baselines: twelve minutes."""
    workers: int = 2
    """Runs at a time, each with one thread."""


QUICK = Path("runs", "quick-benchmark")
LABEL = (
    "A quick run: two training seeds, and for the baselines two fifths of the full run's seconds, too "
    "few for DDPG, and with a random goal for all. It shows the kind of result, not its size."
)


def main(config: Benchmark) -> None:
    """Run the command."""
    if config.quick:
        env_ids = ("RobotRoom-v0", "RobotRoomRandomGoal-v0")
        few = ("world-model", "ppo", "ddpg", "random", "oracle")  # the fastest in seconds, in steps
        out = QUICK / "results"
        sweep.run(sweep.Sweep(few, env_ids, 2, 2, 0.4, workers=config.workers, out=out))
        report.main(report.Report(out, QUICK / "report.html", QUICK / "comparison.png", LABEL))
    else:
        sweep.run(sweep.Sweep(workers=config.workers))
        report.main(report.Report())
