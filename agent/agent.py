"""The agent, with the interface of stable-baselines3: learn, predict, save and load."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import gymnasium as gym
import numpy as np
import torch
from annotated_types import Ge
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from agent.checkpoint import (
    MALFORMED,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from agent.collection import (
    Collector,
    as_vector_env,
    finite_width,
    importable_id,
    registered_spec,
    scale_actions,
    single_spec,
)
from agent.config import Config, Count, checked
from agent.control import ControlState, Decision, decide
from agent.gate import AcceptAll, Gate
from agent.learner import Learner, LearnerState, Progress, TrainingConfig
from agent.planning import ICEM, PLANNERS, AnyPlanner
from agent.progress_bar import ProgressBar
from agent.replay import Episode, Replay, checked_episode
from agent.restoration.restorer import Identity, Restorer
from agent.training import Callback, fit, train
from agent.world_model import WorldModel, WorldModelConfig

MakeWorldModel = Callable[[tuple[int, int, int], int, WorldModelConfig], WorldModel]
AnyEnv = str | EnvSpec | gym.Env[Any, Any] | VectorEnv[Any, Any, Any]


@dataclass(frozen=True)
class AgentConfig(Config):
    """All settings of an agent."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    """The sequential VAE."""
    planner: AnyPlanner = field(default_factory=ICEM)
    """The improved cross-entropy method, or another planner of `agent.planning`."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Exploration and optimisation."""


class Agent:
    """A model-based agent: a sequential VAE, and a planner that acts through it.

    Supports environments whose observations are images, Box(0, 255, (H, W, C), uint8), and whose
    actions are a bounded one-dimensional Box.

    Args:
        env: an id, a spec, an environment or a vector environment to learn in.
        config: all settings; the defaults are those of the README.
        seed: seed of all random streams: parameters, exploration, planning, environment resets.
        device: "auto" (CUDA if available, else the CPU) or a torch device.
        restorer: preprocesses frames when acting (not when learning).
        gate: decides which frames the filter uses. Both are also attributes, to be set later, since
            they are calibrated on a trained agent (see `agent.calibration`).
        world_model: builds the model from the frame shape, the number of action dimensions and
            `config.world_model`: `WorldModel` or a subclass.

    Raises:
        ValueError: the environment's spaces or the device are not supported.
    """

    def __init__(
        self,
        env: AnyEnv,
        config: AgentConfig | None = None,
        seed: int = 0,
        device: str = "auto",
        restorer: Restorer = Identity(),  # noqa: B008 - both are frozen and stateless
        gate: Gate = AcceptAll(),  # noqa: B008
        world_model: MakeWorldModel = WorldModel,
    ) -> None:
        self.config = config or AgentConfig()
        self.seed = checked("seed", seed, Annotated[int, Ge(0)])
        self.device = _device(device)
        self.env = as_vector_env(env, self.config.training.num_envs)
        self.env_spec = single_spec(self.env)
        spaces = self.env.single_observation_space, self.env.single_action_space
        self.observation_space, self.action_space = _served(*spaces)
        self.restorer, self.gate = restorer, gate

        model_seed, env_seed, *_ = seeds = np.random.SeedSequence(self.seed).spawn(3)
        self._env_seed = int(env_seed.generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):  # torch initialises from the global stream only
            torch.manual_seed(int(model_seed.generate_state(1)[0]))
            shape, actions = self.observation_space.shape, self.action_space.shape
            height, width, channels = shape
            model = world_model((height, width, channels), actions[0], self.config.world_model)
        self.learner = Learner(model.to(self.device), self.config.training, seeds[2])

    @property
    def world_model(self) -> WorldModel:
        """The sequential VAE."""
        return self.learner.world_model

    @property
    def replay(self) -> Replay:
        """The replay buffer."""
        return self.learner.replay

    @property
    def progress(self) -> Progress:
        """Training progress."""
        return self.learner.progress

    @property
    def env_id(self) -> str | None:
        """The environment's id, prefixed by the package that registers it; None if it has no id."""
        return None if self.env_spec is None else importable_id(self.env_spec)

    @property
    def num_timesteps(self) -> int:
        """Environment steps learned from."""
        return self.progress.num_timesteps

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | Sequence[Callback] | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Learn for `total_timesteps` more environment steps, rounded up to a whole vector step.

        Args:
            total_timesteps: environment steps.
            callback: one or several, called with the `Progress` after each vector step and
                every tenth update.
            progress_bar: whether to show a progress bar on standard error.

        Raises:
            ValueError: total_timesteps is below 1, or `callback` is not callable. Nothing is learned.
            FloatingPointError: a term of the loss is not finite.
        """
        total_timesteps = checked("total_timesteps", total_timesteps, Count)
        callbacks = _callbacks(callback)
        # Starts differ from those of an earlier call, but are reproducible.
        env_seed = (self._env_seed + self.num_timesteps) % 2**31
        collector = Collector(self.env, self.replay, env_seed, self.config.training.longest_episode)
        self.progress.target_timesteps = self.num_timesteps + total_timesteps
        with ProgressBar() if progress_bar else nullcontext() as bar:
            several = callbacks if bar is None else [*callbacks, bar]
            train(self.learner, collector, self.config.planner, several)
        return self

    def learn_from(
        self,
        episodes: Iterable[Episode],
        callback: Callback | Sequence[Callback] | None = None,
        progress_bar: bool = False,
    ) -> Self:
        """Learn offline from recorded episodes; no environment is stepped.

        The episodes are added to the replay and count as environment steps. Then
        `config.training.updates_per_step` updates are made per step.

        Args:
            episodes: frames, actions in [−1, 1], rewards; if empty, the current replay is used.
            callback: as for `learn`.
            progress_bar: as for `learn`.

        Raises:
            ValueError: there are no steps to learn from, an episode is not as described (see
                `agent.replay.checked_episode`), or `callback` is not callable. Nothing is learned,
                and the replay is left unchanged.
            FloatingPointError: a term of the loss is not finite.
        """
        callbacks = _callbacks(callback)
        shape, (size,) = self.observation_space.shape, self.action_space.shape
        for episode in [checked_episode(each, shape, size) for each in episodes]:
            self.replay.add(episode)
            self.progress.num_timesteps += len(episode.actions)
        self.progress.target_timesteps = self.num_timesteps
        with ProgressBar() if progress_bar else nullcontext() as bar:
            fit(self.learner, callbacks if bar is None else [*callbacks, bar])
        return self

    def predict(
        self,
        observation: NDArray[np.uint8],
        state: ControlState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.generic], ControlState]:
        """The next action, and the state to pass with the next observation.

        Args:
            observation: a frame (H, W, C) or a batch of frames (N, H, W, C), uint8.
            state: the state returned by the last call; None at the start.
            episode_start: whether each frame starts an episode, (N,); None: none does, unless
                `state` is None.
            deterministic: whether the action depends on the arguments alone; if not, exploration
                noise is added. True by default, unlike in stable-baselines3, whose policies are
                trained to be sampled: here the noise serves data collection and lowers returns.

        Returns:
            An action (A,) or a batch (N, A), in the environment's units.

        Raises:
            ValueError: an observation of the wrong shape or dtype, or a state of another batch size.
        """
        decision, state = self.decide(observation, state, episode_start, deterministic)
        actions = scale_actions(self.action_space, decision.action.cpu().numpy())
        return (actions if np.ndim(observation) == 4 else actions[0]), state

    def decide(
        self,
        observation: NDArray[np.uint8],
        state: ControlState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Decision, ControlState]:
        """Like `predict`, but also return belief and plan."""
        frames = np.asarray(observation)
        shape = self.observation_space.shape
        if frames.dtype != np.uint8 or frames.shape[-3:] != shape or frames.ndim not in (3, 4):
            got = f"{frames.dtype} {frames.shape}"
            raise ValueError(f"observation: got {got}, allowed: uint8 {shape} or (N, *{shape})")
        frames = frames.reshape(-1, *shape)
        num_envs = len(frames)
        if state is None:
            state = ControlState.initial(self.world_model, self.config.planner, num_envs)
            episode_start = np.ones(num_envs, np.bool_)
        starts = np.zeros(num_envs, np.bool_) if episode_start is None else np.asarray(episode_start)
        if len(state.plans) != num_envs or starts.size != num_envs:
            got = f"state of {len(state.plans)} and episode_start of {starts.size}"
            raise ValueError(f"state, episode_start: got {got}, allowed: {num_envs}, as observation")
        generator, noise = self.learner.generators.control, self.config.training.exploration_std
        if deterministic:
            generator, noise = torch.Generator(self.device).manual_seed(self.seed), 0.0
        return decide(
            self.world_model,
            self.config.planner,
            torch.from_numpy(np.ascontiguousarray(frames)).to(self.device),
            state,
            torch.from_numpy(starts.astype(np.bool_).reshape(num_envs)).to(self.device),
            generator,
            noise,
            self.restorer,
            self.gate,
        )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint directory that learning can resume from; see `agent.checkpoint`.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        state = self.learner.state_dict()
        config = {
            "env_id": self.env_id,
            "env_spec": None if self.env_spec is None else self.env_spec.to_json(),
            "seed": self.seed,
            **state.progress,
            "observation_space": _describe(self.observation_space),
            "action_space": _describe(self.action_space),
            "agent": dataclasses.asdict(self.config)
            | {"planner_type": type(self.config.planner).__name__},
            "world_model_type": _name(type(self.world_model)),
            "generators": state.generators,
        }
        save_checkpoint(Path(path), Checkpoint(config, state.model, state.optimizer, state.replay))

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: AnyEnv | None = None,
        device: str = "auto",
        restorer: Restorer = Identity(),  # noqa: B008
        gate: Gate = AcceptAll(),  # noqa: B008
        world_model: MakeWorldModel = WorldModel,
    ) -> Self:
        """Load a saved agent; `learn` continues from there, in new episodes.

        Args:
            path: a checkpoint written by `save`.
            env: the environment to act in; None: the id and arguments the agent was created with. The
                id must already be registered: a checkpoint never decides what is imported or called.
            device: as for `Agent`.
            restorer: as for `Agent`; it is saved separately.
            gate: as for `Agent`.
            world_model: as for `Agent`, if the agent was created with another one than the default.

        Raises:
            ValueError: not a complete checkpoint of a supported format version, `env` has other
                spaces, the checkpoint's environment is not registered in this form, or the agent
                was saved with another world model.
        """
        path = Path(path)
        checkpoint = load_checkpoint(path)
        config = checkpoint.config
        if env is None:
            if config.get("env_spec") is None:
                raise ValueError(
                    "env: got None, allowed: an environment (this agent was made without an id)"
                )
            try:
                env = registered_spec(config["env_spec"])
            except ValueError as error:
                raise ValueError(f"{path / 'config.json'}: {error}") from error
        try:
            settings = config["agent"]
            planners = {kind.__name__: kind for kind in PLANNERS}
            if (planner := settings["planner_type"]) not in planners:
                raise ValueError(f"planner: got {planner}, allowed: {list(planners)}")
            agent_config = AgentConfig(
                WorldModelConfig(**settings["world_model"]),
                planners[planner](**settings["planner"]),
                TrainingConfig(**settings["training"]),
            )
            (height, width, channels), (size,) = (
                config[name]["shape"] for name in ("observation_space", "action_space")
            )
            with torch.device("meta"):  # no memory is taken for sizes that the file does not hold
                sizes = world_model((height, width, channels), size, agent_config.world_model)
            _require_shapes(checkpoint.model, sizes)
            agent = cls(env, agent_config, config["seed"], device, restorer, gate, world_model)
            saved, made = config.get("world_model_type"), _name(type(agent.world_model))
            if saved not in (None, made):  # None: written before other models could be told apart
                raise ValueError(f"world_model: got {made}, allowed: {saved}, as saved")
            for name in ("observation_space", "action_space"):
                got = _describe(getattr(agent, name))
                if got != config[name]:
                    raise ValueError(f"{name}: got {got}, allowed: {config[name]}, as saved")
            _, model, optimizer, replay = checkpoint
            for name in ("frames", "actions"):
                space = agent.observation_space if name == "frames" else agent.action_space
                if name in replay and replay[name].shape[1:] != space.shape:
                    got = replay[name].shape[1:]
                    raise ValueError(f"replay: {name}: got {got}, allowed: {space.shape}")
            state = LearnerState(model, optimizer, replay, config, config["generators"])
            agent.learner.load_state_dict(state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except MALFORMED as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: its files do not belong together ({problem})") from error
        return agent


def _require_shapes(tensors: dict[str, torch.Tensor], model: WorldModel) -> None:
    """Refuse parameters of another model."""
    for name, like in model.state_dict().items():
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != tuple(like.shape):
            allowed = f"{tuple(like.shape)}, as the settings in config.json say"
            raise ValueError(f"model.safetensors: {name}: got {got}, allowed: {allowed}")


def _name(kind: type[Any]) -> str:
    """A class by its module and name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: got {name!r}, allowed: auto, cpu, or another available device"
        ) from error
    return device


def _callbacks(callback: Callback | Sequence[Callback] | None) -> Sequence[Callback]:
    """None, one or several callbacks as a sequence."""
    several = () if callback is None else [callback] if callable(callback) else callback
    if isinstance(several, str) or not isinstance(several, Sequence) or not all(map(callable, several)):
        allowed = "None, a callable, or several"
        raise ValueError(f"callback: got {callback!r}, allowed: {allowed}")
    return several


def _served(
    observations: gym.Space[Any], actions: gym.Space[Any]
) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    """The spaces, if the agent supports them."""
    if (
        not isinstance(observations, gym.spaces.Box)
        or observations.dtype != np.uint8
        or len(observations.shape) != 3
        or min(observations.shape[:2]) < 16
    ):
        raise ValueError(
            f"observation space: got {observations}, allowed: images Box(0, 255, (H, W, C), uint8) "
            "with H and W at least 16 (see gymnasium.wrappers.AddRenderObservation)"
        )
    if (
        not isinstance(actions, gym.spaces.Box)
        or len(actions.shape) != 1
        or not np.issubdtype(actions.dtype, np.floating)
        or not actions.is_bounded()
        or not finite_width(actions)
    ):
        raise ValueError(
            f"action space: got {actions}, allowed: a bounded Box of floats with one dimension, whose "
            "width does not overflow"
        )
    return observations, actions


def _describe(space: gym.spaces.Box) -> dict[str, Any]:
    """A JSON description of a Box."""
    limits = {"low": np.unique(space.low).tolist(), "high": np.unique(space.high).tolist()}
    if len(space.shape) == 1:
        limits = {"low": space.low.tolist(), "high": space.high.tolist()}
    return json.loads(json.dumps({"shape": space.shape, "dtype": str(space.dtype), **limits}))
