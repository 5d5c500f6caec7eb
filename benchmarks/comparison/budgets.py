"""The comparison's algorithms and environments, and how long each algorithm may train there."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Algorithm = Literal[
    "world-model", "plain", "ppo", "a2c", "sac", "td3", "ddpg", "drq-sac", "random", "oracle"
]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
OURS: Algorithm = "world-model"
PLAIN: Algorithm = "plain"
"""Our agent without its additions, `AgentConfig()`."""
REFERENCES: tuple[Algorithm, ...] = ("random", "oracle")
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
    """Seconds of training that any other algorithm has."""
    evaluated_with: dict[str, Any] = field(default_factory=dict)
    """Arguments in which the environment of evaluations differs from that of training."""


OTHER = Budget(0.95, 2000, 240)
"""In environments that are not the comparison's own, unless said otherwise."""
BUDGETS: dict[str, Budget] = {
    "RobotRoom-v0": Budget(0.99, 500, 120),
    "RobotRoomRandomGoal-v0": Budget(0.95, 2000, 240),
    "RobotRoomSparse-v0": Budget(0.95, 1000, 90),
    "RobotRoomDistractors-v0": Budget(0.95, 2000, 120),
    "RobotRoomDoor-v0": Budget(0.95, 3000, 180),
    "RobotRoomMaze-v0": Budget(0.8, 5000, 360, {"layout_seed": 1}),  # mazes never seen in training
}
