"""The comparison's algorithms and environments, and how long each algorithm may train there."""

from dataclasses import dataclass
from typing import Literal, get_args

Algorithm = Literal["world-model", "ppo", "a2c", "sac", "td3", "ddpg", "drq-sac", "random", "oracle"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
OURS: Algorithm = "world-model"
REFERENCES: tuple[Algorithm, ...] = ("random", "oracle")
BASELINES = tuple(a for a in ALGORITHMS if a not in (OURS, *REFERENCES))
EPISODES = 100
"""Held-out starts of every evaluation."""


@dataclass(frozen=True)
class Budget:
    """When an environment counts as learned, and how long an algorithm may take."""

    threshold: float
    """Success rate that counts as learned."""
    env_steps: int
    """Environment steps that our agent learns from; at equal frames, all are compared here."""
    seconds: float
    """Seconds of training that a baseline has."""


BUDGETS: dict[str, Budget] = {
    "RobotRoom-v0": Budget(0.99, 500, 120),
    "RobotRoomRandomGoal-v0": Budget(0.95, 2000, 240),
    "RobotRoomSparse-v0": Budget(0.95, 1000, 90),
    "RobotRoomDistractors-v0": Budget(0.95, 2000, 120),
    "RobotRoomDoor-v0": Budget(0.95, 3000, 180),
}
