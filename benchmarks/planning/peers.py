"""Planners of other libraries, behind this project's interface; they must be installed.

Each search rolls out the same model with `agent.planning`'s own functions, so that only the search
differs. Libraries that are missing where the project's types are checked are imported where they are
used.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import types
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from agent.planning import Plan, Planner, Problem, imagined_return


class Peer(Planner):
    """A planner of another library, which returns only actions."""

    @abstractmethod
    def _actions(self, problem: Problem, z: Tensor, plans: Tensor) -> Tensor:
        """Run the library's search from plans (N, W, H, A); returns actions (N, H, A)."""

    def plan(
        self,
        problem: Problem,
        z: Tensor,
        warm_start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `Planner.plan`; the noise is torch's global one."""
        problem, plans = self.start(problem, z, warm_start)
        actions = self._actions(problem, z, plans).clamp(problem.low, problem.high)
        return Plan(actions, actions[:, None], torch.zeros(len(actions), 1))


@dataclass(frozen=True)
class StableWorldModel(Peer):
    """stable-worldmodel's CEMSolver or ICEMSolver, by default with its own defaults."""

    solver: str = "CEMSolver"
    candidates: int = 300
    iterations: int = 30
    elites: int = 30

    def _actions(self, problem: Problem, z: Tensor, plans: Tensor) -> Tensor:
        return stable_worldmodel(problem, z, self, plans)


@dataclass(frozen=True)
class TorchRL(Peer):
    """TorchRL's CEMPlanner; it has no discount and no warm start."""

    iterations: int = 3
    elites: int = 10

    def _actions(self, problem: Problem, z: Tensor, plans: Tensor) -> Tensor:
        return torchrl(problem, z, self, plans)


@dataclass(frozen=True)
class PytorchMPPI(Peer):
    """pytorch_mppi's MPPI, one environment after the other; it has no discount. Defaults: its own."""

    temperature: float = 1.0
    iterations: int = 1

    def _actions(self, problem: Problem, z: Tensor, plans: Tensor) -> Tensor:
        return pytorch_mppi(problem, z, self, plans)


@lru_cache
def _solvers() -> Any:
    """Only stable-worldmodel's solvers: the rest of the package needs datasets and torchvision."""
    spec = importlib.util.find_spec("stable_worldmodel")
    assert spec is not None and spec.submodule_search_locations is not None
    package = types.ModuleType("stable_worldmodel")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["stable_worldmodel"] = package
    return importlib.import_module("stable_worldmodel.solver")


class _Costs:
    """The model with stable-worldmodel's interface: (bs, K) costs of candidates (bs, K, H, A)."""

    def __init__(self, problem: Problem, discount: float) -> None:
        self.problem, self.discount = problem, discount

    def get_cost(self, info: dict[str, Tensor], candidates: Tensor) -> Tensor:
        return -imagined_return(self.problem, info["z"][:, 0], candidates, self.discount)


def stable_worldmodel(
    problem: Problem, z: Tensor, config: StableWorldModel, warm_start: Tensor
) -> Tensor:
    """Plan by `config.solver`, all environments in one batch, the mean shifted from the last plan."""
    rooms, size = len(z), len(problem.low)
    kind = getattr(_solvers(), config.solver)
    solver = kind(
        _Costs(problem, config.discount),
        batch_size=rooms,
        num_samples=config.candidates,
        n_steps=config.iterations,
        topk=config.elites,
    )
    low, high = (np.tile(bound.numpy(), (rooms, 1)) for bound in (problem.low, problem.high))
    space = gym.spaces.Box(low, high, (rooms, size), np.float32)
    settings = types.SimpleNamespace(horizon=config.horizon, action_block=1)
    solver.configure(action_space=space, n_envs=rooms, config=settings)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its time
        actions = solver.solve({"z": z}, init_action=warm_start[:, 0])["actions"]
    return actions


def torchrl(problem: Problem, z: Tensor, config: TorchRL, warm_start: Tensor) -> Tensor:
    """Plan by `CEMPlanner`, which returns only the first action."""
    planning = importlib.import_module("torchrl.modules.planners.cem")
    model_based = importlib.import_module("torchrl.envs.model_based")
    data = importlib.import_module("torchrl.data")
    tensordict = importlib.import_module("tensordict")

    class Imagination(model_based.ModelBasedEnvBase):
        def __init__(self) -> None:
            super().__init__(world_model=torch.nn.Identity(), batch_size=[])
            self.observation_spec = data.Composite(z=data.Unbounded((z.shape[1],)))
            self.state_spec = data.Composite(z=data.Unbounded((z.shape[1],)))
            self.action_spec = data.Bounded(problem.low, problem.high, problem.low.shape)
            self.reward_spec = data.Unbounded((1,))

        def _step(self, state: Any) -> Any:
            flat = state["z"].flatten(0, -2), state["action"].flatten(0, -2)
            following, reward = problem.step(*flat)
            batch = state.batch_size
            done = torch.zeros(*batch, 1, dtype=torch.bool)
            return tensordict.TensorDict(
                {
                    "z": following.view(*batch, -1),
                    "reward": reward.view(*batch, 1),
                    "done": done,
                    "terminated": done.clone(),
                },
                batch,
            )

        def _reset(self, tensordict: Any) -> Any:
            return tensordict

        def _set_seed(self, seed: int | None) -> None:
            """Nothing is rendered."""

    search = planning.CEMPlanner(
        Imagination(), config.horizon, config.iterations, config.candidates, config.elites
    )
    done = torch.zeros(len(z), 1, dtype=torch.bool)
    state = tensordict.TensorDict({"z": z, "done": done, "terminated": done.clone()}, [len(z)])
    first = search.planning(state)
    return first[:, None].expand(-1, config.horizon, -1)


def pytorch_mppi(problem: Problem, z: Tensor, config: PytorchMPPI, warm_start: Tensor) -> Tensor:
    """Plan by `MPPI`, from the shifted last plan."""
    library = importlib.import_module("pytorch_mppi")
    reward_there: list[Tensor] = []

    def dynamics(z: Tensor, action: Tensor) -> Tensor:
        following, reward = problem.step(z, action)
        reward_there[:] = [reward]
        return following

    plans = []
    for room, plan in zip(z, warm_start[:, 0], strict=True):
        search = library.MPPI(
            dynamics,
            lambda z, action: -reward_there[0],
            len(room),
            torch.eye(len(problem.low)),
            num_samples=config.candidates,
            horizon=config.horizon,
            lambda_=config.temperature,
            u_min=problem.low,
            u_max=problem.high,
            U_init=plan.clone(),
        )
        search.command(room, shift_nominal_trajectory=False)
        plans.append(search.U)
    return torch.stack(plans)
