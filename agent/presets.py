"""Settings that go together: EVERY_ROOM, the default, and MOMENTUM: `Agent(env, **MOMENTUM)`."""

from typing import TypedDict

from agent.exploration import Exploration
from agent.kinematic_world_model import KinematicWorldModel, KinematicWorldModelConfig
from agent.learner import TrainingConfig
from agent.mapped_world_model import MappedWorldModel, MappedWorldModelConfig
from agent.planning import ICEM
from agent.settings import AgentConfig
from agent.world_model import WorldModel


class Preset(TypedDict):
    """Arguments of `Agent`."""

    config: AgentConfig
    world_model: type[WorldModel]
    exploration: Exploration


EVERY_ROOM = Preset(
    config=AgentConfig(
        MappedWorldModelConfig(),
        ICEM(discount=0.98, states=512, first_searches=2),
        TrainingConfig(random_steps=24, updates_per_step=1.0, longest_episode=20),
    ),
    world_model=MappedWorldModel,
    exploration=Exploration(
        random_correlation=0.85, random_amplitude=2.0, random_share=0.5, until_reward=True
    ),
)
"""One configuration that learns every room, with walls or without, and from sparse rewards: a static
map beside what moves, a value beyond the plan's horizon, and random actions in half of the
environments. Three steps in each of eight environments are enough to tell what moves, and plans made
from so little arrive more often than random actions do."""

MOMENTUM = Preset(
    config=AgentConfig(
        KinematicWorldModelConfig(),
        ICEM(horizon=20, discount=0.99),
        TrainingConfig(
            random_steps=400,
            updates_per_step=1.0,
            batch_size=4,
            sequence_length=16,
            learning_rate=3e-3,
            clip_norm=1000.0,
            longest_episode=50,
        ),
    ),
    world_model=KinematicWorldModel,
    exploration=Exploration(
        random_correlation=0.85, random_amplitude=2.0, random_share=0.25, until_reward=True
    ),
)
"""For tasks in which things have momentum, such as a pendulum: positions and velocities, found in
closed form, and a longer look ahead. Gradients are hardly clipped: their norm is that of the decoder's,
and those of the other networks would shrink with it."""
