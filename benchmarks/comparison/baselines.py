"""Model-free baselines; the only file that imports stable-baselines3.

Each algorithm has a handful of settings, which were tried by hand on tuning
seeds. What a setting does not say is stable-baselines3's own default.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from benchmarks.comparison.algorithms import Snapshot
from benchmarks.engine.random_shifts import shifted

NUM_ENVS = 8
SHIFT = 4  # pixels


class ShiftedReplay(ReplayBuffer):
    """Frames are shifted at random by up to four pixels whenever they are drawn (arXiv 2004.13649)."""

    def _get_samples(self, batch_inds: NDArray[np.int64], env: Any = None) -> ReplayBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(
            observations=_shifted(samples.observations),
            next_observations=_shifted(samples.next_observations),
        )


def _shifted(images: Tensor) -> Tensor:
    return shifted(images.permute(0, 2, 3, 1), SHIFT).permute(0, 3, 1, 2)


class SmallCnn(BaseFeaturesExtractor):
    """stable-baselines3's NatureCNN with half its channels and a quarter of its features.

    An update takes half the time, so that the off-policy algorithms get further in theirs.
    """

    def __init__(self, space: gym.Space[Any], features_dim: int = 128) -> None:
        super().__init__(space, features_dim)
        assert space.shape is not None
        convolutions = nn.Sequential(
            *(nn.Conv2d(space.shape[0], 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten()),
        )
        size = convolutions(torch.zeros(1, *space.shape)).shape[1]
        self.layers = nn.Sequential(convolutions, nn.Linear(size, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Features (B, F) of frames (B, C, H, W)."""
        return self.layers(observations)


class NormedCnn(SmallCnn):
    """A `SmallCnn` whose few features are layer-normalised and squashed (arXiv 1910.01741).

    At the start, NatureCNN's features of two frames differ by some 0.001, as frames are nearly alike
    and its features small; these differ by 0.03. Without it, algorithms stay on a long plateau, and
    TD3's and DDPG's actors saturate for good (with it, too, unless the learning rate is low).
    """

    def __init__(self, space: gym.Space[Any], features_dim: int = 50) -> None:
        super().__init__(space, features_dim)
        self.layers[-1] = nn.Sequential(nn.LayerNorm(features_dim), nn.Tanh())


@dataclass(frozen=True)
class Setting:
    """The arguments of an algorithm."""

    arguments: dict[str, Any] = field(default_factory=dict)
    """Those of its class, beside policy, environment, seed and device."""
    exploration_std: float | None = None
    """Std of Gaussian noise on the actions, where the algorithm needs some."""
    longest_episode: int | None = None
    """Steps after which an environment is reset in training; None: its own limit. Ours: 10."""

    def describe(self) -> str:
        """All of it, in one line."""
        own = {"exploration_std": self.exploration_std, "longest_episode": self.longest_episode}
        said = self.arguments | {name: value for name, value in own.items() if value is not None}
        return ", ".join(f"{name}={_plain(value)}" for name, value in said.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(each)}" for key, each in value.items()) + "}"
    return getattr(value, "__name__", None) or str(value)


# One update per environment step: eight environments step, then eight updates follow.
OFF_POLICY: dict[str, Any] = {
    "buffer_size": 50_000,
    "learning_starts": 500,
    "batch_size": 64,
    "train_freq": 1,
    "gradient_steps": NUM_ENVS,
}


SMALL, NORMED = (
    {"policy_kwargs": {"features_extractor_class": network, "net_arch": [128, 128]}}
    for network in (SmallCnn, NormedCnn)
)


def off_policy(rate: float, noise: float | None = None, **changes: Any) -> dict[str, Setting]:
    """The settings of an off-policy algorithm whose other learning rate to try is `rate`."""
    tried: dict[str, dict[str, Any]] = {
        "γ 0.97": {"gamma": 0.97},
        "γ 0.9, small network": {"gamma": 0.9, **SMALL},
        "γ 0.97, small network": {"gamma": 0.97, **SMALL},
        "γ 0.97, small network, other rate": {"gamma": 0.97, "learning_rate": rate, **SMALL},
        "γ 0.9, normed network": {"gamma": 0.9, **NORMED},
        "γ 0.9, normed network, other rate": {"gamma": 0.9, "learning_rate": rate, **NORMED},
        "γ 0.97, normed network, other rate": {"gamma": 0.97, "learning_rate": rate, **NORMED},
    }
    settings = {name: Setting(OFF_POLICY | changes | own, noise) for name, own in tried.items()}
    return with_short(settings, "γ 0.97, small network", "γ 0.9, normed network, other rate")


def with_short(settings: dict[str, Setting], *names: str) -> dict[str, Setting]:
    """The settings, and those named again, resetting an environment after ten steps."""
    return settings | {
        f"{name}, short episodes": replace(settings[name], longest_episode=10) for name in names
    }


SETTINGS: dict[str, dict[str, Setting]] = {
    "ppo": with_short(
        {
            name: Setting({"n_steps": 128, "batch_size": 256} | own)
            for name, own in {
                "γ 0.9": {"gamma": 0.9},
                "γ 0.97": {"gamma": 0.97},
                "γ 0.97, rate 1e-3": {"gamma": 0.97, "learning_rate": 1e-3},
                "γ 0.95, half a rollout": {"gamma": 0.95, "n_steps": 64},
                "γ 0.9, normed network": {"gamma": 0.9, **NORMED},
                "γ 0.9, normed network, rate 1e-3": {"gamma": 0.9, "learning_rate": 1e-3, **NORMED},
            }.items()
        },
        *("γ 0.9", "γ 0.97", "γ 0.9, normed network"),
    ),
    "a2c": with_short(
        {
            name: Setting({"n_steps": 8} | own)
            for name, own in {
                "γ 0.9": {"gamma": 0.9},
                "γ 0.97": {"gamma": 0.97},
                "γ 0.97, 32 steps": {"gamma": 0.97, "n_steps": 32},
                "γ 0.97, Adam": {"gamma": 0.97, "use_rms_prop": False},
                "γ 0.9, normed network": {"gamma": 0.9, **NORMED},
            }.items()
        },
        *("γ 0.9", "γ 0.9, normed network"),
    ),
    "sac": off_policy(1e-3),
    "td3": off_policy(3e-4, noise=0.3),
    "ddpg": off_policy(3e-4, noise=0.3),
    "drq-sac": off_policy(1e-3, replay_buffer_class=ShiftedReplay),
}
CLASSES: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO,
    "a2c": A2C,
    "sac": SAC,
    "td3": TD3,
    "ddpg": DDPG,
    "drq-sac": SAC,
}


def make(
    algorithm: str, setting: Setting, env_id: str, seed: int, device: str = "cpu"
) -> BaseAlgorithm:
    """An untrained baseline that sees pixels.

    Raises:
        ValueError: an algorithm that is not there.
    """
    if algorithm not in CLASSES:
        raise ValueError(f"algorithm: got {algorithm!r}, allowed: {tuple(CLASSES)}")
    limit = setting.longest_episode
    shorter = None if limit is None else lambda env: TimeLimit(env, limit)
    env = make_vec_env(env_id, NUM_ENVS, seed, wrapper_class=shorter)
    arguments = copy.deepcopy(setting.arguments)  # some algorithms change what they are given
    if setting.exploration_std is not None:
        size = env.action_space.shape or (1,)
        arguments["action_noise"] = NormalActionNoise(
            np.zeros(size), np.full(size, setting.exploration_std)
        )
    return CLASSES[algorithm]("CnnPolicy", env, seed=seed, device=device, **arguments)


def train(
    algorithm: str, setting: Setting, env_id: str, seed: int, every: int = 64, device: str = "cpu"
) -> Iterator[Snapshot]:
    """Train without end, stopping at every so many steps, or where a rollout ends after them.

    PPO's rollouts have 1,024 steps or 512, so that it stops at each of them.
    """
    model = make(algorithm, setting, env_id, seed, device)
    seconds = 0.0
    while True:
        began = time.perf_counter()
        model.learn(every, reset_num_timesteps=False)
        seconds += time.perf_counter() - began
        yield Snapshot(model, model.num_timesteps, seconds)


# The best of `benchmarks/results/tune`, and a test holds them against its raw scores.
CHOSEN: dict[str, dict[str, str]] = {
    "RobotRoom-v0": {
        "ppo": "γ 0.9, normed network, short episodes",
        "a2c": "γ 0.9, normed network, short episodes",
        "sac": "γ 0.9, normed network, other rate, short episodes",
        "td3": "γ 0.9, normed network, other rate, short episodes",
        "ddpg": "γ 0.9, normed network, other rate, short episodes",
        "drq-sac": "γ 0.9, normed network, other rate",
    },
    "RobotRoomRandomGoal-v0": {"ppo": "γ 0.9, normed network, short episodes"},
}
# Paths are longer there, too.
TUNED_AS: dict[str, str] = dict.fromkeys(
    ("RobotRoomDoor-v0", "RobotRoomMaze-v0"), "RobotRoomRandomGoal-v0"
)


def chosen(algorithm: str, env_id: str) -> str:
    """The setting that the comparison uses in an environment: its own, or else RobotRoom-v0's."""
    return (CHOSEN["RobotRoom-v0"] | CHOSEN.get(TUNED_AS.get(env_id, env_id), {}))[algorithm]


def chosen_setting(algorithm: str, env_id: str) -> Setting:
    """What `chosen` names."""
    return SETTINGS[algorithm][chosen(algorithm, env_id)]
