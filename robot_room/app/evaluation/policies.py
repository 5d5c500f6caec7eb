"""Policies for collecting data and for comparison: random, the optimal expert, mixtures, and an agent.

A behaviour is called with an observation and its `info`, and returns an action. `reset` begins an
episode.
"""

import copy
from typing import Any, Literal, Protocol, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

BehaviourKind = Literal["random", "noisy", "mixed", "expert"]
NOISE_STD = 0.5  # of the noise on a noisy expert's actions, in units of full speed
PERSISTENCE = 0.7  # probability that a random action is repeated, for longer displacements


class Behaviour(Protocol):
    """A policy for one environment."""

    def reset(self, generator: np.random.Generator) -> None:
        """Begin an episode; all its randomness comes from `generator`."""
        ...

    def __call__(self, observation: NDArray[np.uint8], info: dict[str, Any]) -> NDArray[np.float32]:
        """The next action, (2,)."""
        ...


class Scripted:
    """A mixture of the expert and persistent random actions.

    Args:
        env: a RobotRoom, whose state the expert reads.
        kind: "random"; "noisy", the expert with Gaussian noise on its actions; "mixed", where each
            episode draws its fraction of random actions; or "expert".

    Raises:
        ValueError: `kind` is unknown, or the environment is not a RobotRoom.
    """

    def __init__(self, env: gym.Env[Any, Any], kind: BehaviourKind) -> None:
        if kind not in get_args(BehaviourKind):
            raise ValueError(f"policy: got {kind!r}, allowed: {get_args(BehaviourKind)}")
        self.kind = kind
        self.room: Any = env.unwrapped
        if not hasattr(self.room, "expert_action") and kind != "random":
            raise ValueError(f"policy: got {kind!r}, allowed: random, as {env} is no RobotRoom")
        if not isinstance(env.action_space, gym.spaces.Box):
            raise ValueError(f"action space: got {env.action_space}, allowed: a Box")
        self.space = env.action_space
        self.reset(np.random.default_rng(0))

    def reset(self, generator: np.random.Generator) -> None:
        """Begin an episode."""
        self.generator = generator
        self.share = {"random": 1.0, "expert": 0.0, "noisy": 0.0}.get(self.kind, generator.random())
        self.action = self._random()

    def __call__(self, observation: NDArray[np.uint8], info: dict[str, Any]) -> NDArray[np.float32]:
        """The next action."""
        if self.generator.random() > PERSISTENCE:
            self.action = self._random()
        if self.generator.random() < self.share:
            return self.action
        action = self.room.expert_action()
        if self.kind == "noisy":
            action = action + self.generator.normal(0, NOISE_STD, action.shape)
        return np.clip(action, self.space.low, self.space.high).astype(np.float32)

    def _random(self) -> NDArray[np.float32]:
        return self.generator.uniform(self.space.low, self.space.high).astype(np.float32)


class Learned:
    """A trained agent, or any other policy with stable-baselines3's `predict`.

    Args:
        agent: the policy.
        deterministic: passed to `predict`.
    """

    def __init__(self, agent: Any, deterministic: bool = True) -> None:
        self.agent, self.deterministic = agent, deterministic

    def reset(self, generator: np.random.Generator) -> None:
        """Begin an episode."""
        self.state = None

    def __call__(self, observation: NDArray[np.uint8], info: dict[str, Any]) -> NDArray[np.float32]:
        """The next action."""
        action, self.state = self.agent.predict(
            observation, self.state, deterministic=self.deterministic
        )
        return action


class Uniform:
    """A policy for `evaluate` that draws every action uniformly from its space."""

    def __init__(self, space: gym.Space[Any], seed: int) -> None:
        self.space = copy.deepcopy(space)
        self.space.seed(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for a batch of observations."""
        return np.stack([self.space.sample() for _ in observation]), None
