"""The comparison: run what is missing, then write its report."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.comparison import report, sweep
from benchmarks.comparison.budgets import REFERENCES
from benchmarks.engine.jobs import INTERRUPTED

__all__ = ["INTERRUPTED", "Benchmark", "main"]


@dataclass
class Benchmark(sweep.Machines):
    """The full comparison takes some ten hours of two cores; it can be interrupted and resumed.

    With --algorithm it runs those alone, with random and oracle, beside what is in --out already.
    """

    quick: bool = False
    """Two environments, two seeds, three algorithms, less time for baselines: twelve minutes."""
    algorithm: tuple[str, ...] = ()
    """Built-in algorithms, module:function or NAME=module:function; none: all the built-in ones."""
    env_id: tuple[str, ...] = ()
    """Environments, those of a package of its own as package:Name-v0; none: all of the comparison's."""
    seeds: int | None = None
    """Training seeds of each algorithm; None: ten of ours and of PPO, five of the others."""
    workers: int = 2
    """Local runs at a time, each with one thread."""
    out: Path = sweep.Sweep.out
    """Raw scores; the page lies beside them."""


QUICK = Path("runs", "quick-benchmark")
LABEL = (
    "A quick run: two training seeds, and for the baselines two fifths of the full run's seconds, too "
    "few for DDPG, and with a random goal for all. It shows the kind of result, not its size."
)


def main(config: Benchmark) -> None:
    """Run the command.

    Raises:
        ValueError: as `sweep.run` and `report.main`; nothing is run then.
    """
    names = ["workers", *(field.name for field in fields(sweep.Machines))]
    where: dict[str, Any] = {name: getattr(config, name) for name in names}
    if config.quick:
        env_ids = ("RobotRoom-v0", "RobotRoomRandomGoal-v0")
        few = ("world-model", "ppo", "ddpg", "random", "oracle")  # the fastest in seconds, in steps
        out = QUICK / "results"
        sweep.run(sweep.Sweep(few, env_ids, 2, 2, 0.4, out=out, **where))
        report.main(report.Report(out, QUICK / "report.html", QUICK / "comparison.png", LABEL))
        return
    plan = sweep.Sweep(out=config.out, **where)
    if config.algorithm:
        plan = replace(plan, algorithms=tuple(dict.fromkeys((*config.algorithm, *REFERENCES))))
    if config.env_id:
        plan = replace(plan, env_ids=config.env_id)
    if config.seeds is not None:
        plan = replace(plan, seeds=config.seeds, other_seeds=config.seeds)
    sweep.run(plan)
    usual = report.Report()
    beside = report.Report(config.out, config.out.with_suffix(".html"), config.out.with_suffix(".png"))
    report.main(usual if config.out == usual.results else beside)
