"""What config.json says of an agent, and what must hold before an agent is made of it.

A file may come from a stranger. No memory is taken for sizes that it does not hold, and nothing is
imported by a name from it (see `agent.parts`).
"""

import dataclasses
from contextlib import closing
from typing import Any, NamedTuple

import gymnasium as gym
import msgspec
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from agent.checkpoint import Arrays, Finite, Settings, Whole, require_shapes
from agent.collection import SavedVectorEnv, remade
from agent.exploration import Exploration
from agent.learner import TrainingConfig
from agent.parts import (
    found_model,
    loaded_exploration,
    loaded_model_settings,
    loaded_planner,
    path,
    saved_planner,
    telling_of,
)
from agent.planning import Planner
from agent.settings import AgentConfig, default_exploration
from agent.spaces import SavedBox, described, served


class SavedSettings(msgspec.Struct):
    """An `AgentConfig` in config.json."""

    world_model: Settings
    planner: Settings
    planner_type: str
    training: Settings
    exploration: Settings = {}
    exploration_type: str | None = None
    """None: the default, with the settings of `training`."""


class SavedAgent(msgspec.Struct, kw_only=True):
    """config.json of an agent, but for the format version."""

    env_id: str | None = None
    env_spec: Any = None
    """The output of `EnvSpec.to_json`, which `registered_spec` checks where it is needed; None if no
    spec makes the same environment."""
    seed: Whole
    num_timesteps: Whole
    target_timesteps: Whole
    num_updates: Whole
    skipped_updates: Whole = 0
    skipped_in_a_row: Whole = 0
    seconds: Finite
    planning_seconds: Finite
    metrics: dict[str, Finite] = {}
    outcomes: list[bool] = []
    returns: list[Finite] = []
    lengths: list[Whole] = []
    observation_space: SavedBox
    action_space: SavedBox
    agent: SavedSettings
    world_model_type: str | None = None
    """None: written before other models could be told apart."""
    online_run: dict[str, Any] | None = None
    """The plain values of `OnlineRun.state`; None if no run is under way."""
    vector_env: SavedVectorEnv | None = None
    """The form of the environment of the run that is under way."""


class Parts(NamedTuple):
    """The parts that an agent was saved with, or those given instead."""

    world_model: Any
    """A class of world models, or a model."""
    config: AgentConfig
    """The settings, but for the planner."""
    planner: Planner
    exploration: Exploration


def saved_settings(config: AgentConfig, planner: Planner, exploration: Exploration) -> SavedSettings:
    """Settings and parts as a file holds them."""
    kind, settings = saved_planner(planner)
    default = exploration == default_exploration(config.training)
    return SavedSettings(
        dataclasses.asdict(config.world_model),
        settings,
        kind,
        dataclasses.asdict(config.training),
        {} if default else dataclasses.asdict(exploration),
        None if default else path(type(exploration)),
    )


def found_parts(saved: SavedAgent, world_model: Any, planner: Any, exploration: Any) -> Parts:
    """The parts that a file names, or those given instead of them.

    Raises:
        ValueError: a part is not known, was saved with other settings than it has now, or is not what
            was saved.
    """
    settings = saved.agent
    kind = found_model(saved.world_model_type) if world_model is None else world_model
    training = TrainingConfig(**settings.training)  # pyright: ignore[reportArgumentType]
    model_settings = loaded_model_settings(kind, settings.world_model)
    return Parts(
        kind,
        AgentConfig(model_settings, training=training),  # pyright: ignore[reportArgumentType]
        loaded_planner(settings.planner_type, settings.planner, planner),
        loaded_exploration(
            settings.exploration_type,
            settings.exploration,
            exploration,
            default_exploration(training),
        ),
    )


def fitting_tensors(
    saved: SavedAgent, parts: Parts, tensors: dict[str, Tensor], weights_only: bool
) -> dict[str, Tensor]:
    """The tensors of a world model; of weights only, with those that they lack as they are at first.

    Raises:
        ValueError: they are those of another model.
    """
    model = parts.world_model
    if not isinstance(model, nn.Module):
        height, width, channels = saved.observation_space.shape
        (size,) = saved.action_space.shape
        with torch.device("meta"), telling_of(model):  # which takes no memory
            model = model((height, width, channels), size, parts.config.world_model)
    named = path(type(model))
    if saved.world_model_type not in (None, named):
        allowed = f"{saved.world_model_type}, as saved"
        raise ValueError(f"world_model: got {named}, allowed: {allowed}")
    if weights_only:
        tensors = tensors | _unused(model)
    require_shapes(tensors, model)
    return tensors


def _unused(model: Any) -> dict[str, Tensor]:
    """The buffers of a model that only learning needs, as they are before any."""
    state = model.state_dict()
    return {
        name: torch.zeros(state[name].shape, dtype=state[name].dtype) for name in model.training_buffers
    }


def remade_env(saved: SavedAgent, spec: EnvSpec, state: Arrays) -> EnvSpec | VectorEnv[Any, Any, Any]:
    """The environment that an agent was made with; while it was learning, in the same form.

    Raises:
        ValueError: it has other spaces than the agent, or another number of environments.
    """
    with closing(gym.make(spec)) as env:
        require_spaces(saved, env.observation_space, env.action_space)
    form = saved.vector_env
    if form is None:
        return spec
    held = len(state["online_run.actions"])
    if form.num_envs != held:
        raise ValueError(f"num_envs: got {form.num_envs}, allowed: {held}, as its actions")
    return remade(spec, form)


def require_spaces(saved: SavedAgent, observations: Any, actions: Any) -> None:
    """Refuse an environment of other spaces than an agent was saved with.

    Raises:
        ValueError: it is one.
    """
    observations, actions = served(observations, actions)
    for name, space in (("observation_space", observations), ("action_space", actions)):
        got, like = described(space), getattr(saved, name)
        if got != like:
            raise ValueError(f"{name}: got {got}, allowed: {like}, as saved")


def require_replay(saved: SavedAgent, replay: Arrays) -> None:
    """Refuse a replay of other frames or actions than an agent's.

    Raises:
        ValueError: it is one.
    """
    for name, space in (("frames", saved.observation_space), ("actions", saved.action_space)):
        if name in replay and replay[name].shape[1:] != tuple(space.shape):
            got = replay[name].shape[1:]
            raise ValueError(f"replay: {name}: got {got}, allowed: {tuple(space.shape)}")
    if "actions" in replay and (np.abs(replay["actions"]) > 1).any():
        raise ValueError("replay: actions: got some outside of [-1, 1], allowed: scaled ones")
