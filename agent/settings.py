"""All settings of an agent."""

from dataclasses import dataclass, field

from agent.config import Config, checked
from agent.exploration import Exploration
from agent.learner import TrainingConfig
from agent.planning import ICEM, OwnPlanner, Planner
from agent.world_model import WorldModelConfig


@dataclass(frozen=True)
class AgentConfig(Config):
    """All settings of an agent."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    """The sequential VAE."""
    planner: OwnPlanner = field(default_factory=ICEM)
    """The improved cross-entropy method, or another planner of `agent.planning`."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Exploration and optimisation."""

    def __post_init__(self) -> None:
        # From Python, settings of other models and any planner may be given, too.
        if not (isinstance(self.world_model, Config) and isinstance(self.planner, Planner)):
            super().__post_init__()
        checked("training", self.training, TrainingConfig)


def default_exploration(training: TrainingConfig) -> Exploration:
    """Exploration as the settings of training have it."""
    return Exploration(training.random_correlation, training.exploration_std)
