"""Settings that go together: `Agent(env, **EVERY_ROOM)`."""

from typing import TypedDict

from agent.exploration import Exploration
from agent.learner import TrainingConfig
from agent.mapped_world_model import MappedWorldModel, MappedWorldModelConfig
from agent.planning import ICEM
from agent.settings import AgentConfig


class Preset(TypedDict):
    """Arguments of `Agent`."""

    config: AgentConfig
    world_model: type[MappedWorldModel]
    exploration: Exploration


EVERY_ROOM = Preset(
    config=AgentConfig(
        MappedWorldModelConfig(),
        ICEM(discount=0.98, states=512),
        TrainingConfig(updates_per_step=1.0, longest_episode=20),
    ),
    world_model=MappedWorldModel,
    exploration=Exploration(
        random_correlation=0.85, random_amplitude=2.0, random_share=0.5, until_reward=True
    ),
)
"""One configuration that learns every room, with walls or without, and from sparse rewards: a static
map beside what moves, a value beyond the plan's horizon, and random actions in half of the
environments."""
