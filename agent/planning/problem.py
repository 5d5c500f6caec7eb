"""The planning problem, and the imagined return of action sequences."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.actions import one_hot
from agent.types import Step


@dataclass(frozen=True)
class Problem:
    """A planning problem: dynamics with rewards, action bounds, and optional hooks.

    Raises:
        ValueError: the bounds are not two finite vectors of equal size with low below high.
    """

    step: Step
    """(z, a) ↦ (next z, the reward that arrives with it), for rows of z and a."""
    low: Float[Tensor, "A"]  # noqa: F821 - a shape, not a name
    """Smallest action."""
    high: Float[Tensor, "A"]  # noqa: F821 - a shape, not a name
    """Largest action."""
    terminal_value: Callable[[Tensor], Tensor] | None = None
    """z_{t+H} ↦ the value of the final state, weighted by γ^H."""
    continuation: Callable[[Tensor], Tensor] | None = None
    """z_{t+k} ↦ the probability, 0 to 1, that the episode goes on from there; None: it always does."""
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None
    """(z, a) ↦ a penalty subtracted from the step's reward, such as the model's uncertainty."""

    discrete: bool = False
    """Whether only the vectors of discrete actions are valid; see `agent.actions`."""

    def valid(self, actions: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """The valid actions nearest to any."""
        return one_hot(actions) if self.discrete else actions.clamp(self.low, self.high)

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if (
            not (isinstance(low, Tensor) and isinstance(high, Tensor))
            or low.ndim != 1
            or low.shape != high.shape
            or not (torch.isfinite(low) & torch.isfinite(high) & (low < high)).all()
        ):
            allowed = "two finite vectors (tensors) of one size, low below high"
            raise ValueError(f"low, high: got {low}, {high}, allowed: {allowed}")


@torch.no_grad()
def imagined_return(
    problem: Problem,
    z: Float[Tensor, "N D"],
    actions: Float[Tensor, "N K H A"],
    discount: float,
    particles: int = 1,
) -> Float[Tensor, "N K"]:
    """Σ_{k=1..H} γ^k C_k r(z_{t+k}) for each candidate, averaged over `particles` rollouts.

    C_k = ∏_{j<k} c(z_{t+j}) is the probability that the episode has not ended before. It weights the
    terminal value, C_{H+1}, and the penalties, too.

    Raises:
        ValueError: `step` or a hook returns a wrong shape, or the returns are not finite.
    """
    num_envs, candidates = actions.shape[:2]
    z = z.repeat_interleave(candidates * particles, 0)
    actions = problem.valid(actions).flatten(0, 1).repeat_interleave(particles, 0)
    z, total, remaining = rollout(problem, z, actions, discount)
    if problem.terminal_value is not None:
        total = total + remaining * _shaped("terminal_value", problem.terminal_value(z), total)
    if not torch.isfinite(total).all():
        hooks = ("continuation", "penalty", "terminal_value")
        names = ", ".join(["step", *(name for name in hooks if getattr(problem, name) is not None)])
        raise ValueError(f"{names}: got returns that are not finite, allowed: finite numbers")
    return total.view(num_envs, candidates, particles).mean(2)


def rollout(
    problem: Problem, z: Float[Tensor, "M D"], actions: Float[Tensor, "M H A"], discount: float
) -> tuple[Float[Tensor, "M D"], Float[Tensor, "M"], Float[Tensor, "M"]]:  # noqa: F821 - shapes
    """Follow a sequence of actions from each state.

    Returns:
        The states z_{t+H}, the returns Σ_{k=1..H} γ^k C_k r(z_{t+k}) less the penalties, and the
        weights γ^H C_{H+1} of what follows.

    Raises:
        ValueError: `step` or a hook returns a wrong shape.
    """
    total = z.new_zeros(len(z))
    weight, alive = 1.0, torch.ones_like(total)
    for action in actions.unbind(1):
        weight *= discount
        if problem.penalty is not None:
            total = total - weight * alive * _shaped("penalty", problem.penalty(z, action), total)
        following, reward = problem.step(z, action)
        z = _shaped("step", following, z)
        total = total + weight * alive * _shaped("step", reward, total)
        if problem.continuation is not None:
            alive = alive * _shaped("continuation", problem.continuation(z), total)
    return z, total, weight * alive


def _shaped(name: str, got: Tensor, like: Tensor) -> Tensor:
    if got.shape != like.shape:
        shapes = f"got shape {tuple(got.shape)}, allowed: {tuple(like.shape)}"
        raise ValueError(f"{name}: {shapes}; it takes z (N, D) and returns z (N, D), values (N,)")
    return got
