"""Evaluations of a policy in training, at marks that were fixed beforehand."""

from collections.abc import Sequence

from gymnasium.envs.registration import EnvSpec

from benchmarks.comparison.budgets import EPISODES
from benchmarks.engine.backends import Record
from robot_room.app.evaluation.protocol import HELD_OUT_SEED, Policy, evaluate


class EvaluationCurve:
    """Evaluates a policy whenever its training has passed a mark.

    Args:
        env: the environment, its id or its spec.
        env_steps: marks, environment steps.
        seconds: marks, seconds of training.
        modes: asks the policy for its mean action (True) or for one with noise (False); if both, the
            better of the two counts.

    Attributes:
        points: the evaluations so far, in order.
    """

    def __init__(
        self,
        env: str | EnvSpec,
        env_steps: Sequence[float],
        seconds: Sequence[float] = (),
        modes: Sequence[bool] = (True,),
    ) -> None:
        self.env, self.modes = env, modes
        self._marks = {"env_steps": sorted(env_steps), "seconds": sorted(seconds)}
        self.points: list[Record] = []

    def update(
        self, policy: Policy, env_steps: int, seconds: float, planning_seconds: float = 0.0
    ) -> None:
        """Evaluate if a mark has been passed since the last call."""
        due = False
        for name, now in (("env_steps", env_steps), ("seconds", seconds)):
            while self._marks[name] and self._marks[name][0] <= now:
                self._marks[name].pop(0)
                due = True
        if due:
            self.evaluate(policy, env_steps, seconds, planning_seconds)

    def evaluate(
        self, policy: Policy, env_steps: int, seconds: float, planning_seconds: float = 0.0
    ) -> None:
        """Evaluate now."""
        results = [
            evaluate(policy, self.env, EPISODES, HELD_OUT_SEED, mode).summary()
            | {"deterministic": mode}
            for mode in self.modes
        ]
        best = max(results, key=lambda result: (result["success_rate"], result["spl"]))
        self.add(best, env_steps, seconds, planning_seconds)

    def add(
        self, result: Record, env_steps: int = 0, seconds: float = 0.0, planning_seconds: float = 0.0
    ) -> None:
        """Append the result of an evaluation."""
        self.points.append(
            {
                "env_steps": env_steps,
                "seconds": round(seconds, 2),
                "planning_seconds": round(planning_seconds, 2),
            }
            | {name: value for name, value in result.items() if name not in ("env_id", "env_kwargs")}
        )
