"""The data card of a dataset: what was recorded, how, and how good it is."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agent.collection import plain
from robot_room import __version__
from robot_room.app.evaluation.policies import NOISE_STD, PERSISTENCE

CARD = "data_card.md"
"""Name of the card in the folder of a dataset."""
UNKNOWN = "unknown"
POLICIES = {
    UNKNOWN: "not told by who recorded it",
    "random": f"uniform actions, each kept with probability {PERSISTENCE:g}",
    "noisy": f"the optimal expert with Gaussian noise of standard deviation {NOISE_STD:g}",
    "mixed": "optimal and random actions; each episode draws its fraction of random ones uniformly",
    "expert": "the optimal expert, which needs the smallest number of steps",
}


class Outcome(NamedTuple):
    """How an episode went."""

    steps: int
    total: float
    """Sum of the rewards."""
    success: bool | None
    """Whether the goal was reached; None: the environment does not tell."""

    @classmethod
    def of(cls, rewards: NDArray[Any], successes: NDArray[np.bool_] | None) -> Self:
        """The outcome of an episode of T rewards, with `is_success` of each step if it is known."""
        reached = None if successes is None else bool(np.any(successes))
        return cls(len(rewards), float(np.sum(rewards)), reached)


def card(
    dataset_id: str, env: gym.Env[Any, Any], policies: Sequence[str], outcomes: Sequence[Outcome]
) -> str:
    """The card of a dataset that has at least one episode, in Markdown."""
    lengths = [outcome.steps for outcome in outcomes]
    returns = [outcome.total for outcome in outcomes]
    successes = [outcome.success for outcome in outcomes if outcome.success is not None]
    spec = env.spec
    rows = {
        "environment": "unknown" if spec is None else f"`{spec.id}` with `{plain(spec.kwargs)}`",
        "observations": f"`{env.observation_space}`",
        "actions": f"`{env.action_space}`",
        "policy": "; ".join(f"{name}: {POLICIES.get(name, 'a trained agent')}" for name in policies),
        "episodes": f"{len(lengths):,}",
        "steps": f"{sum(lengths):,}",
        "length of an episode": f"{np.mean(lengths):.1f} (from {min(lengths)} to {max(lengths)})",
        "return": f"{np.mean(returns):.3f} (from {min(returns):.3f} to {max(returns):.3f})",
        "episodes that reach the goal": f"{100 * np.mean(successes):.1f} %" if successes else "unknown",
        "version": f"robot-room {__version__}",
    }
    lines = [f"# {dataset_id}", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]
    lines += [
        "",
        "Episode i starts from `reset(seed=s)` with the seed in its metadata, and replays bit for bit.",
        "For work without rewards, leave out `rewards`; `infos` has positions, never to be observed.",
    ]
    return "\n".join(lines) + "\n"
