"""DreamerV3 of sheeprl (arXiv 2301.04104), small enough for a CPU; needs sheeprl's own environment.

The models, losses, optimisers, replay and acting are sheeprl's. Its training script steps environments,
updates and logs in one function that nothing can look into, so that this loop is its own: eight
environments step, then as many updates follow as the replay ratio owes.
"""

# pyright: reportMissingImports=false

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

NUM_ENVS = 8
CAPACITY = 50_000  # steps
SIZES = (
    "exp=dreamer_v3",
    "algo=dreamer_v3_XS",
    "env.wrapper=none",
    "env.id=none",
    "env.screen_size=64",
    "run_name=none",
    "buffer.size=1",
    "algo.world_model.encoder.cnn_channels_multiplier=8",
    "algo.dense_units=128",
    "algo.world_model.stochastic_size=16",
    "algo.world_model.discrete_size=16",
    "algo.world_model.transition_model.hidden_size=128",
    "algo.world_model.representation_model.hidden_size=128",
    "algo.per_rank_batch_size=8",
)
"""sheeprl's smallest configuration, with half its widths and half its sequences."""


@dataclass(frozen=True)
class Setting:
    """What tuning tries."""

    rate: float = 4e-4
    """Learning rate of the world model; actor and critic have half of it."""
    gamma: float = 0.97
    horizon: int = 10
    """Imagined steps."""
    replay_ratio: float = 0.5
    """Updates per environment step."""
    random_steps: int = 200
    """Environment steps with uniform actions before the first update."""
    longest_episode: int | None = 10
    """Steps after which an environment is reset in training; None: its own limit."""
    sequence_length: int = 8
    """Steps of a sequence; an update takes time in proportion, and episodes are short."""

    def overrides(self) -> list[str]:
        """As sheeprl's configuration has it."""
        return [
            f"algo.world_model.optimizer.lr={self.rate}",
            f"algo.actor.optimizer.lr={self.rate / 2}",
            f"algo.critic.optimizer.lr={self.rate / 2}",
            f"algo.gamma={self.gamma}",
            f"algo.horizon={self.horizon}",
            f"algo.per_rank_sequence_length={self.sequence_length}",
        ]


def configured(overrides: Sequence[str]) -> Any:
    """The configuration of sheeprl."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf
    from sheeprl.utils.utils import dotdict

    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    return dotdict(OmegaConf.to_container(config, resolve=True))


class Dreamer:
    """The agent, its optimisers and its replay."""

    def __init__(self, env: VectorEnv[Any, Any, Any], setting: Setting, seed: int) -> None:
        import hydra
        from lightning.fabric import Fabric
        from sheeprl.algos.dreamer_v3.agent import build_agent
        from sheeprl.algos.dreamer_v3.utils import Moments
        from sheeprl.data.buffers import EnvIndependentReplayBuffer, SequentialReplayBuffer
        from sheeprl.utils.metric import MetricAggregator

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        MetricAggregator.disabled = True
        self.cfg = cfg = configured([*SIZES, *setting.overrides(), f"env.num_envs={env.num_envs}"])
        self.fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
        shape = env.single_observation_space.shape
        assert shape is not None
        height, width, channels = shape
        pixels = gym.spaces.Box(0, 255, (channels, height, width), np.uint8)
        self.actions_dim = env.single_action_space.shape
        spaces = gym.spaces.Dict({"rgb": pixels})
        self.models = build_agent(self.fabric, self.actions_dim, True, cfg, spaces)
        world_model, actor, critic, _, self.player = self.models
        algo = cfg.algo
        self.optimizers = self.fabric.setup_optimizers(
            *(
                hydra.utils.instantiate(part.optimizer, params=model.parameters(), _convert_="all")
                for part, model in (
                    (algo.world_model, world_model),
                    (algo.actor, actor),
                    (algo.critic, critic),
                )
            )
        )
        percentile = algo.actor.moments.percentile
        self.moments = Moments(
            algo.actor.moments.decay, algo.actor.moments.max, percentile.low, percentile.high
        )
        self.replay = EnvIndependentReplayBuffer(
            CAPACITY // env.num_envs, env.num_envs, buffer_cls=SequentialReplayBuffer, seed=seed
        )
        self.updates = 0

    def update(self) -> None:
        """One step of all optimisers, on a batch from the replay."""
        from sheeprl.algos.dreamer_v3.dreamer_v3 import train

        batch = self.replay.sample_tensors(
            batch_size=self.cfg.algo.per_rank_batch_size,
            sequence_length=self.cfg.algo.per_rank_sequence_length,
            dtype=None,
            device=self.fabric.device,
        )
        world_model, actor, critic, slow, _ = self.models
        share = self.cfg.algo.critic.tau if self.updates else 1.0
        with torch.no_grad():
            for mine, theirs in zip(critic.module.parameters(), slow.parameters(), strict=True):
                theirs.lerp_(mine, share)
        train(
            self.fabric,
            world_model,
            actor,
            critic,
            slow,
            *self.optimizers,
            {name: value[0].float() for name, value in batch.items()},
            None,
            self.cfg,
            True,
            self.actions_dim,
            self.moments,
        )
        self.updates += 1

    def predict(
        self,
        observation: NDArray[np.uint8],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions (N, A) for frames (N, H, W, C); the state is that of the recurrent model."""
        player, count = self.player, len(observation)
        own = self._memory(), player.num_envs
        player.num_envs = count
        if state is None:
            player.init_states()
        else:
            player.actions, player.recurrent_state, player.stochastic_state = (
                each.clone() for each in state
            )
            fresh = np.flatnonzero(np.zeros(count) if episode_start is None else episode_start)
            if len(fresh):
                player.init_states(fresh)
        actions = self.act(observation, deterministic)
        state = self._memory()
        (player.actions, player.recurrent_state, player.stochastic_state), player.num_envs = own
        return actions, state

    def _memory(self) -> tuple[Any, Any, Any]:
        player = self.player
        return tuple(
            getattr(player, name, None) for name in ("actions", "recurrent_state", "stochastic_state")
        )  # pyright: ignore[reportReturnType]

    def act(self, observation: NDArray[np.uint8], deterministic: bool = False) -> NDArray[np.float32]:
        """Actions (N, A) for frames (N, H, W, C), going on from the player's state."""
        frames = torch.from_numpy(channels_first(observation))[None] / 255 - 0.5
        with torch.no_grad():
            actions = self.player.get_actions({"rgb": frames}, deterministic)
        return torch.cat(list(actions), -1)[0].clamp(-1, 1).numpy()


def channels_first(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (N, C, H, W) of frames (N, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(frames, -1, 1))


def make(spec: EnvSpec, seed: int, **setting: Any) -> Iterator[tuple[Dreamer, int]]:
    """Train without end; yields the agent and the environment steps so far, at first before all."""
    return training(spec, seed, Setting(**setting))


def training(spec: EnvSpec, seed: int, setting: Setting) -> Iterator[tuple[Dreamer, int]]:
    """As `make`."""
    limit = setting.longest_episode
    env: Any = gym.make_vec(
        spec,
        NUM_ENVS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        wrappers=[] if limit is None else [lambda env: TimeLimit(env, limit)],
    )
    env.action_space.seed(seed)
    dreamer, steps = Dreamer(env, setting, seed), 0
    yield dreamer, steps
    observation, _ = env.reset(seed=[1000 * seed + number for number in range(NUM_ENVS)])
    zeros = np.zeros((1, NUM_ENVS, 1), np.float32)
    row = {name: zeros.copy() for name in ("rewards", "terminated", "truncated")}
    row |= {"rgb": channels_first(observation)[None], "is_first": zeros + 1}
    dreamer.player.init_states()
    while True:
        if steps < setting.random_steps:
            actions = env.action_space.sample()
        else:
            actions = dreamer.act(observation)
        dreamer.replay.add(row | {"actions": actions[None]})
        observation, reward, terminated, truncated, info = env.step(actions)
        steps += NUM_ENVS
        ends = {"rewards": reward, "terminated": terminated, "truncated": truncated}
        row = {name: value.reshape(1, NUM_ENVS, 1).astype(np.float32) for name, value in ends.items()}
        row |= {"rgb": channels_first(observation)[None], "is_first": zeros.copy()}
        over = np.flatnonzero(terminated | truncated)
        if len(over):
            last = channels_first(np.stack([info["final_obs"][number] for number in over]))
            final = {name: row[name][:, over] for name in (*ends, "is_first")}
            final["actions"] = np.zeros((1, len(over), *env.single_action_space.shape), np.float32)
            dreamer.replay.add(final | {"rgb": last[None]}, over.tolist())
            for name in ("rewards", "terminated", "truncated"):
                row[name][:, over] = 0
            row["is_first"][:, over] = 1
            dreamer.player.init_states(over.tolist())
        if steps >= setting.random_steps:
            while dreamer.updates < setting.replay_ratio * (steps - setting.random_steps):
                dreamer.update()
        yield dreamer, steps
