"""How actions are chosen while data are collected: at random, then the planner's with noise."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le, Lt
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from agent.actions import one_hot
from agent.config import Config, NonNegative
from agent.planning import Problem
from agent.protocols import Model


@dataclass(frozen=True)
class Exploration(Config):
    """The default, and the base class of others, which override what they change.

    It has no state, so that a run can be stopped and resumed at any step: what depends on time takes it
    from the model, or from the generators.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    random_correlation: Annotated[float, Ge(0), Lt(1)] = 0.7
    """Probability that a random action is repeated, to produce longer displacements."""
    exploration_std: NonNegative = 0.3
    """Std of the noise on the planner's actions; the probability of a random one if discrete."""
    random_amplitude: Annotated[float, Ge(1), Le(100)] = 1.0
    """Random actions are uniform in ± this, then clipped to ±1. Those on the bounds lead farther."""
    random_share: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the environments that act at random throughout, beside those where the planner acts.
    What a planner does not try it never learns, such as where else a wall would stop it."""
    until_reward: bool = False
    """Whether plans seek what is new to the model (`Model.novelty`) until returns vary, or actions stay
    random where it cannot tell. A constant reward prefers no plan, unless episodes end."""

    def random_actions(
        self,
        last: NDArray[np.float32],
        episode_start: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Actions before the planner takes over, each repeated with some probability.

        Args:
            last: the last actions, (N, A) in [−1, 1].
            episode_start: where an episode starts, (N,); no action is repeated there.
            generator: the only source of randomness.
        """
        changed = generator.random(len(last)) >= self.random_correlation
        amplitude = self.random_amplitude
        drawn = generator.uniform(-amplitude, amplitude, last.shape).clip(-1, 1).astype(np.float32)
        return np.where((changed | episode_start)[:, None], drawn, last)

    def problem(self, problem: Problem, model: Model) -> Problem:
        """What the planner solves; by default, what it solves when it does not explore.

        A bonus for novelty is a negative `penalty` of the problem.
        """
        if not self.until_reward or (novelty := model.novelty) is None:
            return problem
        return replace(problem, penalty=lambda m, action: -novelty(m))

    def perturbed(
        self, action: Float[Tensor, "N A"], generator: torch.Generator
    ) -> Float[Tensor, "N A"]:
        """The planner's actions as they are taken: with Gaussian noise, clipped to [−1, 1]."""
        if self.exploration_std > 0:
            noise = torch.randn(action.shape, generator=generator, device=action.device)
            action = (action + self.exploration_std * noise).clamp(-1, 1)
        return action

    def switched(
        self, action: Float[Tensor, "N A"], generator: torch.Generator
    ) -> Float[Tensor, "N A"]:
        """The planner's discrete actions as they are taken: each random with some probability."""
        chance = torch.rand(len(action), 1, generator=generator, device=action.device)
        drawn = torch.rand(action.shape, generator=generator, device=action.device)
        return torch.where(chance < self.exploration_std, one_hot(drawn), action)
