"""The parts that a user gives an agent: made, tried once, and found again when the agent is loaded.

A part is saved by the import path of its class, or function, and its settings. Loading imports nothing:
a path is looked up among the project's own classes and among those classes derived from theirs that are
imported already. Anything else has to be passed to `Agent.load`.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import numpy as np
import torch

from agent.config import Config
from agent.control import ControlState
from agent.deterministic import DeterministicModel
from agent.exploration import Exploration
from agent.gate import Gate
from agent.kinematic_world_model import KinematicWorldModel
from agent.mapped_world_model import MappedWorldModel
from agent.planning import PLANNERS, Plan, Planner, Problem
from agent.planning.function import FunctionPlanner, PlanFunction, described
from agent.protocols import TRIED, Model, shaped, telling
from agent.restoration.restorer import Restorer
from agent.world_model import WorldModel, WorldModelConfig

AnyPlanner = Planner | type[Planner] | PlanFunction
"""What can be given as a planner."""
AnyExploration = Exploration | type[Exploration]
"""What can be given as an exploration."""

OWN_MODELS = (WorldModel, MappedWorldModel, KinematicWorldModel)
Kind = TypeVar("Kind")


def path(named: Any) -> str:
    """A class or a function by its module and name."""
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"


def require_plain(field: str, settings: Config) -> None:
    """Require settings that a file can hold.

    Raises:
        ValueError: one is something else than a bool, a number, a string or None.
    """
    for name, value in dataclasses.asdict(cast(Any, settings)).items():
        if value is not None and type(value) not in (bool, int, float, str):
            allowed = "a bool, a number, a string or None, as settings are saved"
            kind = type(settings).__name__
            raise ValueError(f"{field}: {kind}.{name}: got {value!r:.200}, allowed: {allowed}")


# ---- planner ---------------------------------------------------------------------------------------


def made_planner(planner: Any) -> Planner:
    """A planner from an instance, a class or a function.

    Raises:
        ValueError: it is none of these, or a class that needs settings.
    """
    if isinstance(planner, Planner):
        return planner
    if isinstance(planner, type) and issubclass(planner, Planner):
        with telling("planner", planner.__name__, "the class, called without settings,"):
            return planner()
    if not callable(planner) or isinstance(planner, type):
        allowed = "a Planner, its class, or a callable (problem, z, generator) -> actions"
        raise ValueError(f"planner: got {planner!r:.200}, allowed: {allowed}")
    function: Any = planner
    return FunctionPlanner(function=function)


def tried_planner(planner: Planner, model: Model) -> Planner:
    """The planner, after it has planned once with the model; a function gets the horizon that it has.

    Raises:
        ValueError: it raises an error, or returns something else than plans within the bounds.
    """
    name = described(planner)
    if not isinstance(planner, FunctionPlanner):
        require_plain("planner", planner)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        z, step, continuation = model.imagine(model.initial(TRIED)[0].mean)
        bound = z.new_ones(model.action_size)
        problem = Problem(step, -bound, bound, continuation=continuation)
        if isinstance(planner, FunctionPlanner):
            assert planner.function is not None
            with telling("planner", name, "calling it"):
                actions = planner.function(problem, z, generator)
            horizon = actions.shape[1] if getattr(actions, "ndim", 0) == 3 else 1
            planner = dataclasses.replace(planner, horizon=horizon)
        with telling("planner", name, "planning"):
            start = ControlState.initial(model, planner, TRIED).plans
            plan = planner.plan(problem, z, start, generator)
            actions, candidates, returns = Plan(*plan)
        size = (TRIED, planner.horizon, model.action_size)
        shaped("planner", f"{name}: actions", actions, size)
        several = (TRIED, candidates.shape[1], *size[1:])
        shaped("planner", f"{name}: candidates", candidates, several)
        shaped("planner", f"{name}: returns", returns, several[:2])
    if (actions.abs() > 1).any():
        got = f"an action of {actions.abs().max().item():g}"
        raise ValueError(f"planner: {name}: got {got}, allowed: from -1 to 1")
    return planner


def saved_planner(planner: Planner) -> tuple[str, dict[str, Any]]:
    """A planner's name and settings, for a file."""
    if isinstance(planner, FunctionPlanner):
        return path(planner.function), {}
    own = type(planner) in PLANNERS
    return type(planner).__name__ if own else path(type(planner)), dataclasses.asdict(planner)


def loaded_planner(name: str, settings: dict[str, Any], given: Any) -> Planner:
    """The planner that was saved; an instance, a function or another class that is given replaces it.

    Raises:
        ValueError: it is not known here, or its settings are not those that were saved.
    """
    if given is not None and not (isinstance(given, type) and path(given) == name):
        return made_planner(given)
    own = {kind.__name__: kind for kind in PLANNERS}
    kind = given or own.get(name) or _imported(name, Planner)
    if kind is None:
        raise ValueError(_unknown("planner", name, list(own)))
    return _with_settings("planner", kind, settings)


# ---- exploration -----------------------------------------------------------------------------------


def made_exploration(exploration: Any, default: Exploration) -> Exploration:
    """An exploration from an instance, or a class, which is given the settings of the default.

    Raises:
        ValueError: it is neither.
    """
    if exploration is None:
        return default
    if isinstance(exploration, type) and issubclass(exploration, Exploration):
        with telling("exploration", exploration.__name__, "the class"):
            return exploration(**dataclasses.asdict(default))
    if not isinstance(exploration, Exploration):
        allowed = "an agent.exploration.Exploration, or a class derived from it"
        raise ValueError(f"exploration: got {exploration!r:.200}, allowed: {allowed}")
    return exploration


def tried_exploration(exploration: Exploration, planner: Planner, model: Model) -> None:
    """Try an exploration once.

    Raises:
        ValueError: it raises an error, or returns something else than actions and a problem.
    """
    name, size = type(exploration).__name__, (TRIED, model.action_size)
    require_plain("exploration", exploration)
    device = next(model.parameters()).device
    with torch.no_grad(), telling("exploration", name, "trying it"):
        last, starts = np.zeros(size, np.float32), np.ones(TRIED, np.bool_)
        actions = exploration.random_actions(last, starts, np.random.default_rng(0))
        z, step, continuation = model.imagine(model.initial(TRIED)[0].mean)
        bound = z.new_ones(model.action_size)
        problem = Problem(step, -bound, bound, continuation=continuation)
        problem = exploration.problem(problem, model)
        if not isinstance(problem, Problem):
            raise TypeError(f"problem returned {type(problem).__name__}, not a Problem")
        if problem.penalty is not None:
            shaped("exploration", "penalty", problem.penalty(z, z.new_zeros(size)), size[:1])
        generator = torch.Generator(device).manual_seed(0)
        perturbed = exploration.perturbed(z.new_zeros(size), generator)
        for got in (torch.from_numpy(actions), perturbed):
            shaped("exploration", "actions", got, size)
            if (got.abs() > 1).any():
                raise ValueError(f"actions: got {got.abs().max().item():g}, allowed: from -1 to 1")


def loaded_exploration(
    name: str | None, settings: dict[str, Any], given: Any, default: Exploration
) -> Exploration:
    """The exploration that was saved; an instance or another class that is given replaces it.

    Raises:
        ValueError: it is not known here, or its settings are not those that were saved.
    """
    if given is not None and not (isinstance(given, type) and path(given) == name):
        return made_exploration(given, default)
    if name is None:
        return default
    kind = given or _imported(name, Exploration)
    if kind is None:
        raise ValueError(_unknown("exploration", name, ["Exploration"]))
    return _with_settings("exploration", kind, settings)


# ---- world model -----------------------------------------------------------------------------------


def model_settings(world_model: Any, settings: Config) -> Config:
    """The settings of a model, given those of the agent's configuration.

    Raises:
        ValueError: the model has settings of another class.
    """
    own = getattr(world_model, "config", None)
    if not isinstance(world_model, type) and isinstance(own, Config):
        return own
    kind = getattr(world_model, "config_type", None) or WorldModelConfig
    if isinstance(settings, kind):
        return settings
    if settings == WorldModelConfig():  # nobody has asked for them
        with telling("world_model", kind.__name__, "the class, called without settings,"):
            return kind()
    got = f"settings of {type(settings).__name__}"
    raise ValueError(f"world_model: got {got}, allowed: {kind.__name__}, its `config_type`")


def own_model(settings: Config) -> Callable[..., WorldModel]:
    """The project's model whose settings these are; the sequential VAE if they are no model's."""
    own = (kind for kind in OWN_MODELS if kind.config_type is type(settings))
    return next(own, WorldModel)


def found_model(name: str | None) -> Any:
    """The class of the model that was saved.

    Raises:
        ValueError: it is not known here.
    """
    if name is None:
        return WorldModel
    own = {path(kind): kind for kind in OWN_MODELS}
    kind = own.get(name) or _imported(name, WorldModel) or _imported(name, DeterministicModel)
    if kind is None:
        raise ValueError(_unknown("world_model", name, list(own)))
    return kind


def telling_of(made: Any) -> AbstractContextManager[None]:
    """Errors of a model's own constructor say whose they are."""
    if made in OWN_MODELS:
        return nullcontext()
    return telling("world_model", getattr(made, "__name__", repr(made)), "making it")


def loaded_model_settings(world_model: Any, settings: dict[str, Any]) -> Config:
    """The settings that were saved, as those of a model.

    Raises:
        ValueError: the model's settings are others now.
    """
    own: Any = getattr(world_model, "config", None)
    if not isinstance(world_model, type) and own is not None:
        if dataclasses.asdict(own) != settings:
            raise ValueError(f"world_model: got settings {own}, allowed: {settings}, as saved")
        return own
    kind = getattr(world_model, "config_type", None) or WorldModelConfig
    return _with_settings("world_model", kind, settings)


# ---- restorer and gate -----------------------------------------------------------------------------


def tried_restorer(restorer: Restorer, frame_shape: tuple[int, ...], device: torch.device) -> None:
    """Try a restorer once.

    Raises:
        ValueError: it raises an error, or returns another shape.
    """
    name, frames = type(restorer).__name__, torch.zeros(TRIED, *frame_shape, dtype=torch.uint8)
    with torch.no_grad(), telling("restorer", name, "restore"):
        restored, score, doubt = restorer.restore(frames.to(device))
        shaped("restorer", "frames", restored, tuple(frames.shape))
        if restored.dtype != torch.uint8:
            raise ValueError(f"frames: got {restored.dtype}, allowed: uint8")
        shaped("restorer", "doubt", doubt, (TRIED,))
        if not doubt.is_floating_point() or not (doubt >= 0).all():  # false for NaN, too
            raise ValueError(f"doubt: got {doubt}, allowed: floats from 0 to infinity")
        shaped("restorer", "score", score.nan_to_num(), (TRIED,))


def tried_gate(gate: Gate, device: torch.device) -> None:
    """Try a gate once.

    Raises:
        ValueError: it raises an error, or returns something else.
    """
    yes, zero = torch.ones(TRIED, dtype=torch.bool, device=device), torch.zeros(TRIED, device=device)
    with torch.no_grad(), telling("gate", type(gate).__name__, "decide"):
        weight, reset = gate.decide(zero, zero, zero, yes)
        shaped("gate", "weight", weight, (TRIED,))
        shaped("gate", "reset", reset, (TRIED,))
        if not weight.is_floating_point() or not ((weight >= 0) & (weight <= 1)).all():
            raise ValueError(f"weight: got {weight}, allowed: floats from 0 to 1")
        if reset.dtype != torch.bool:
            raise ValueError(f"reset: got {reset.dtype}, allowed: bool")


# ---- looking up ------------------------------------------------------------------------------------


def _derived(kind: type[Kind]) -> Iterator[type[Kind]]:
    """All classes derived from one, that are imported."""
    for each in kind.__subclasses__():
        yield each
        yield from _derived(each)


def _imported(name: str, kind: type[Kind]) -> type[Kind] | None:
    """The class of this path that is another or derived from it; of several, the last to be defined."""
    return next((each for each in [*[*_derived(kind)][::-1], kind] if path(each) == name), None)


def _unknown(field: str, name: str, own: list[str]) -> str:
    return (
        f"{field}: got {name!r}, allowed: {', '.join(own)}, or a class that is imported already; "
        f"import the module that defines it before loading, or pass {field}= to load"
    )


def _with_settings(field: str, kind: Any, settings: dict[str, Any]) -> Any:
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{field}: got settings {settings}, which {kind.__name__} does not take ({error}); "
            f"allowed: its own; pass {field}= to load to choose others"
        ) from error
