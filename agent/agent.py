"""The agent, with the interface of stable-baselines3: learn, predict, save and load."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Self, Unpack

import gymnasium as gym
import numpy as np
import torch
from annotated_types import Ge, Le, Lt
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import nn

from agent import environment_state
from agent.actions import action_size, scale_actions
from agent.advice import Advice
from agent.checkpoint import MALFORMED, Arrays, Checkpoint, Settings, load_checkpoint, save_checkpoint
from agent.collection import (
    as_registered,
    as_vector_env,
    described,
    importable_id,
    registered_spec,
    single_spec,
)
from agent.config import Count, checked
from agent.control import ControlState, Decision, decide
from agent.gate import AcceptAll, Gate
from agent.hub import located, model_card, uploaded
from agent.learner import Learner, LearnerState, Progress
from agent.log_options import LogOptions, checked_log, told
from agent.parts import (
    OWN_MODELS,
    AnyExploration,
    AnyPlanner,
    made_exploration,
    made_planner,
    model_settings,
    own_model,
    require_plain,
    telling_of,
    tried_exploration,
    tried_gate,
    tried_planner,
    tried_restorer,
)
from agent.parts import path as import_path
from agent.planning import PLANNERS, Planner
from agent.presets import EVERY_ROOM
from agent.protocols import Model, check_model
from agent.replay import Episode, Replay, as_array, checked_episode
from agent.restoration.restorer import DiffusionRestorer, Identity, Restorer
from agent.saved_agent import (
    SavedAgent,
    fitting_tensors,
    found_parts,
    remade_env,
    require_replay,
    require_spaces,
    saved_settings,
)
from agent.seeded import Seeded
from agent.settings import AgentConfig, default_exploration
from agent.spaces import described as described_space
from agent.spaces import served
from agent.threads import torch_threads
from agent.training import Callback, OnlineRun, fit, train

MakeWorldModel = Callable[[tuple[int, int, int], int, Any], Model]
"""A class of world models, or a function that makes one: (frame shape, A, settings) ↦ model."""
AnyEnv = str | EnvSpec | gym.Env[Any, Any] | VectorEnv[Any, Any, Any]

Seed = Annotated[int, Ge(0), Lt(2**63)]
"""A seed of all random streams."""


class Agent:
    """A model-based agent: a sequential VAE, and a planner that acts through it.

    Supports environments whose observations are images, Box(0, 255, (H, W, C), uint8), and whose
    actions are a bounded one-dimensional Box, or Discrete.

    Args:
        env: an id, a spec, an environment or a vector environment to learn in.
        config: all settings; `AgentConfig()` is the plain state-space model. None, without a world
            model: those of `agent.presets.EVERY_ROOM`, with its world model and exploration; with one:
            `AgentConfig()`. To change one part of the default: `Agent(env, **{**EVERY_ROOM, ...})`.
        seed: seed of all random streams: parameters, exploration, planning, environment resets.
        device: "auto" (CUDA if available, else the CPU) or a torch device.
        restorer: preprocesses frames when acting (not when learning).
        gate: decides which frames the filter uses. Both are also attributes, to be set later, since
            they are calibrated on a trained agent (see `agent.calibration`).
        world_model: a class, called with the frame shape, the number of action dimensions and
            `config.world_model`, or a model; either has `agent.protocols.Model`. None: the class
            whose settings `config.world_model` are.
        threads: threads of torch's operations, which are too small to be worth more than one. The
            number of before is restored after each call.
        planner: an `agent.planning.Planner`, its class, or a function (problem, z, generator) ↦ actions
            over `problem.step(z, a)`; None: `config.planner`. It can be set later, too.
        exploration: an `agent.exploration.Exploration` or its class; None: that of `EVERY_ROOM` where
            its settings are used, else noise as in `config.training`.

    Each part is tried once before anything is learned.

    Raises:
        ValueError: the environment's spaces or the device are not supported, the seed or the number
            of threads is out of bounds, or a part does not keep its protocol.
    """

    def __init__(
        self,
        env: AnyEnv,
        config: AgentConfig | None = None,
        seed: int = 0,
        device: str = "auto",
        restorer: Restorer = Identity(),  # noqa: B008 - both are frozen and stateless
        gate: Gate = AcceptAll(),  # noqa: B008
        world_model: MakeWorldModel | Model | None = None,
        threads: int = 1,
        planner: AnyPlanner | None = None,
        exploration: AnyExploration | None = None,
    ) -> None:
        default_noise = None
        if config is None and world_model is None:
            config, default_noise = EVERY_ROOM["config"], EVERY_ROOM["exploration"]
        config = AgentConfig() if config is None else config
        checked("config", config, AgentConfig)
        if world_model is None:
            world_model = own_model(config.world_model)
        self.seed = checked("seed", seed, Seed)
        self.threads = checked("threads", threads, Count)
        checked("restorer", restorer, Restorer)
        checked("gate", gate, Gate)
        is_model = isinstance(world_model, nn.Module)
        if not callable(world_model):
            allowed = "a class of world models, or a model; see agent.protocols.Model"
            raise ValueError(f"world_model: got {world_model!r:.200}, allowed: {allowed}")
        planner = config.planner if planner is None else made_planner(planner)
        settings = model_settings(world_model, config.world_model)
        require_plain("world_model", settings)
        config = replace(config, world_model=settings, planner=planner)  # pyright: ignore[reportArgumentType]
        self.device = _device(device)
        self.env = as_vector_env(env, config.training.num_envs)
        same = isinstance(env, str | EnvSpec) or as_registered(self.env)
        self.env_spec = single_spec(self.env) if same else None
        spaces = self.env.single_observation_space, self.env.single_action_space
        self.observation_space, self.action_space = served(*spaces)
        self.restorer, self.gate = restorer, gate

        model_seed, env_seed, *_ = seeds = np.random.SeedSequence(self.seed).spawn(3)
        self._env_seed = int(env_seed.generate_state(1)[0])
        shape, size = self.observation_space.shape, action_size(self.action_space)
        model: Any = world_model
        if not is_model:
            height, width, channels = shape
            with Seeded(int(model_seed.generate_state(1)[0])), telling_of(world_model):
                model = world_model((height, width, channels), size, settings)
        if isinstance(model, nn.Module):
            model = model.to(self.device)
        if type(model) not in OWN_MODELS:
            check_model(model, shape, size)
        if type(planner) not in PLANNERS:
            planner = tried_planner(planner, model)
            config = replace(config, planner=planner)  # pyright: ignore[reportArgumentType]
        self.config = config
        default = default_noise or default_exploration(config.training)
        self.exploration = made_exploration(exploration, default)
        if exploration is not None:
            tried_exploration(self.exploration, planner, model)
        if type(restorer) not in (Identity, DiffusionRestorer):
            tried_restorer(restorer, shape, self.device)
        tried_gate(gate, self.device)
        self.learner = Learner(model, config.training, seeds[2])
        self._run: OnlineRun | None = None  # while learning
        self._interrupted: dict[str, Any] | None = None  # its state, if it was stopped

    @property
    def world_model(self) -> Any:
        """The world model, an `agent.protocols.Model`: by default a `MappedWorldModel`."""
        return self.learner.world_model

    @property
    def planner(self) -> Planner:
        """The planner; it can be set to whatever the argument `planner` may be.

        Raises:
            ValueError: when it is set to something that does not keep its protocol.
        """
        return self.config.planner

    @planner.setter
    def planner(self, planner: AnyPlanner) -> None:
        tried = tried_planner(made_planner(planner), self.world_model)
        self.config = replace(self.config, planner=tried)  # pyright: ignore[reportArgumentType]

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
        **log: Unpack[LogOptions],
    ) -> Self:
        """Learn for `total_timesteps` more environment steps, rounded up to a whole vector step.

        If the last call was stopped by a callback, or this agent was saved during a call and loaded,
        this one continues from there, in the same episodes: with the steps that were left, the
        result is that of a call that was not stopped, to the last bit. See `resume`.

        Args:
            total_timesteps: environment steps; 0 to make only the updates that a stopped call owes.
            callback: one or several, called with the `Progress` after each vector step and
                every tenth update. One that returns False ends this call; `resume` would go on.
            progress_bar: whether to show a progress bar on standard error.
            **log: see `LogOptions`.

        Raises:
            ValueError: total_timesteps is below 1, or another argument is not allowed. Nothing is
                learned.
            FloatingPointError: a term of the loss is not finite.
        """
        least = 1 if self._interrupted is None else 0
        total_timesteps = checked(
            "total_timesteps", total_timesteps, Annotated[int, Ge(least), Le(2**60)]
        )
        callbacks, log = _callbacks(callback), checked_log(log)
        self._run = self._resumed() or self._begun()
        self._interrupted = None
        self.progress.target_timesteps = self.num_timesteps + total_timesteps

        def report(progress: Progress) -> bool:  # between two steps, where a run can be resumed
            assert self._run is not None
            try:
                going = all([each(progress) is not False for each in several])
            except BaseException:
                self._interrupted = self._run.state()
                raise
            if not going:
                self._interrupted = self._run.state()
            return going

        try:
            with self._told(callbacks, progress_bar, log) as several, torch_threads(self.threads):
                ended = train(self.learner, self._run, self.planner, self.exploration, [report])
        finally:
            self._run = None
        if ended:
            self.replay.finish_all()
        return self

    def _told(
        self, callbacks: Sequence[Callback], progress_bar: bool, log: LogOptions
    ) -> AbstractContextManager[list[Callback]]:
        several = [*callbacks, Advice(self.learner)]
        return told(several, progress_bar, log, self.progress, self.hyperparameters)

    @property
    def hyperparameters(self) -> Settings:
        """All settings by name, as they are logged."""
        saved = saved_settings(self.config, self.planner, self.exploration)
        parts = {
            "world_model": saved.world_model,
            "planner": saved.planner,
            "training": saved.training,
            "exploration": saved.exploration,
        }
        named = {
            f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()
        }
        model = import_path(type(self.world_model))
        who: Settings = {"env_id": self.env_id, "seed": self.seed, "planner": saved.planner_type}
        return who | {"world_model": model} | named

    def resume(
        self,
        callback: Callback | Sequence[Callback] | None = None,
        progress_bar: bool = False,
        **log: Unpack[LogOptions],
    ) -> Self:
        """Continue a `learn` or `learn_from` that was stopped, to the end that it had.

        Args:
            callback: as for `learn`.
            progress_bar: as for `learn`.
            **log: as for `learn`.

        Raises:
            ValueError: there is nothing to learn from, or an argument is not allowed.
            FloatingPointError: a term of the loss is not finite.
        """
        left = self.progress.target_timesteps - self.num_timesteps
        if left > 0 or self._interrupted is not None:
            return self.learn(max(left, 0), callback, progress_bar, **log)
        return self.learn_from((), callback, progress_bar, **log)

    def _begun(self) -> OnlineRun:
        """A run in new episodes. Their starts differ from those of an earlier call."""
        env_seed = (self._env_seed + self.num_timesteps) % 2**31
        return OnlineRun.begun(self.env, self.learner, self.planner, env_seed)

    def _resumed(self) -> OnlineRun | None:
        """The run that was stopped; None if there is none, or its environment cannot be restored."""
        if self._interrupted is None:
            return None
        try:
            return OnlineRun.resumed(self.env, self.learner, self.planner, self._interrupted)
        except ValueError as error:
            warnings.warn(
                f"the environment cannot go on where it stopped ({error}); new episodes begin",
                stacklevel=3,
            )
            run = self._begun()
            run.updating = self._interrupted.get("updating") is True
            return run

    def learn_from(
        self,
        episodes: Iterable[Episode],
        callback: Callback | Sequence[Callback] | None = None,
        progress_bar: bool = False,
        **log: Unpack[LogOptions],
    ) -> Self:
        """Learn offline from recorded episodes; no environment is stepped.

        The episodes are added to the replay and count as environment steps. Then
        `config.training.updates_per_step` updates are made per step.

        Args:
            episodes: frames, actions in [−1, 1], rewards; if empty, the current replay is used.
            callback: as for `learn`.
            progress_bar: as for `learn`.
            **log: as for `learn`. TensorBoard's steps are updates, as no steps are taken.

        Raises:
            ValueError: there are no steps to learn from, an episode is not as described (see
                `agent.replay.checked_episode`), or `callback` is not callable. Nothing is learned,
                and the replay is left unchanged.
            FloatingPointError: a term of the loss is not finite.
        """
        callbacks, log = _callbacks(callback), checked_log(log)
        self.add(episodes)
        with self._told(callbacks, progress_bar, log) as several, torch_threads(self.threads):
            fit(self.learner, several)
        return self

    def add(self, episodes: Iterable[Episode]) -> None:
        """Add recorded episodes to the replay, as environment steps, without learning from them yet.

        Raises:
            ValueError: an episode is not as described in `learn_from`. Nothing is added.
        """
        shape, size = self.observation_space.shape, action_size(self.action_space)
        if not isinstance(episodes, Iterable):
            raise ValueError(f"episodes: got {episodes!r:.200}, allowed: several `Episode`s")
        checked_episodes = [checked_episode(each, shape, size) for each in episodes]
        self.replay.finish_all()
        self._interrupted = None
        for episode in checked_episodes:
            self.replay.add(episode)
            self.progress.num_timesteps += len(episode.actions)
        self.progress.target_timesteps = self.num_timesteps

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
            An action (A,) or a batch (N, A), in the environment's units; a number or (N,) of a
            Discrete space.

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
        shape = self.observation_space.shape
        frames = as_array(observation)
        if frames.dtype != np.uint8 or frames.shape[-3:] != shape or frames.ndim not in (3, 4):
            got = f"{frames.dtype} {frames.shape}"
            raise ValueError(f"observation: got {got}, allowed: uint8 {shape} or (N, *{shape})")
        frames = frames.reshape(-1, *shape)
        num_envs = len(frames)
        fresh = ControlState.initial(self.world_model, self.planner, num_envs)
        if state is None:
            state = fresh
            episode_start = np.ones(num_envs, np.bool_)
        starts = np.zeros(num_envs, np.bool_) if episode_start is None else _flags(episode_start)
        if not isinstance(state, ControlState):
            allowed = "None, or what the last call has returned"
            raise ValueError(f"state: got {type(state).__name__}, allowed: {allowed}")
        if len(state.plans) != num_envs or starts.size != num_envs:
            got = f"state of {len(state.plans)} and episode_start of {starts.size}"
            raise ValueError(f"state, episode_start: got {got}, allowed: {num_envs}, as observation")
        if state.shapes != fresh.shapes:
            got = f"{state.shapes}, allowed: {fresh.shapes}, as this agent's"
            raise ValueError(f"state: got {got}")
        generator, exploration = self.learner.generators.control, self.exploration
        if deterministic:
            generator, exploration = torch.Generator(self.device).manual_seed(self.seed), None
        with torch_threads(self.threads):
            return decide(
                self.world_model,
                self.planner,
                torch.from_numpy(np.ascontiguousarray(frames)).to(self.device),
                state,
                torch.from_numpy(starts.astype(np.bool_).reshape(num_envs)).to(self.device),
                generator,
                exploration,
                self.restorer,
                self.gate,
                discrete=isinstance(self.action_space, gym.spaces.Discrete),
            )

    def save(self, path: str | Path) -> None:
        """Write a checkpoint directory that learning can resume from; see `agent.checkpoint`.

        Called from a callback of `learn`, it also holds the environments and open episodes, if the
        environment can give its state (see `agent.environment_state`); RobotRoom's can.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        self._save(path)

    def save_pretrained(self, path: str | Path) -> None:
        """Write a checkpoint directory for others: the weights in half precision, to act with.

        It lacks optimiser, replay, random streams and a call of `learn` that was stopped, and takes
        less than a megabyte. After loading it, `learn` begins with an empty replay.

        Raises:
            ValueError: `path` exists and is not a checkpoint. It is left unchanged.
        """
        self._save(path, weights_only=True)

    def _save(self, path: str | Path, weights_only: bool = False) -> None:
        learned = self.learner.state_dict()
        state = None if weights_only else self._interrupted
        run, arrays = environment_state.split(
            state if self._run is None or weights_only else self._run.state()
        )
        saved = SavedAgent(
            env_id=self.env_id,
            env_spec=None if self.env_spec is None else self.env_spec.to_json(),
            seed=self.seed,
            **learned.progress,
            observation_space=described_space(self.observation_space),
            action_space=described_space(self.action_space),
            agent=saved_settings(self.config, self.planner, self.exploration),
            world_model_type=import_path(type(self.world_model)),
            online_run=run,
            vector_env=None if run is None else described(self.env),
        )
        state = {f"generators.{name}": array for name, array in learned.generators.items()}
        state |= {f"online_run.{name}": array for name, array in arrays.items()}
        model = learned.model
        if weights_only:
            left_out = self.world_model.training_buffers
            model = {name: value for name, value in model.items() if name not in left_out}
        contents = model, learned.optimizer, learned.replay, state
        save_checkpoint(path, Checkpoint(saved, *contents, weights_only=weights_only))

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """An agent that somebody has trained.

        Args:
            name: the id of an environment for which this package ships an agent, such as
                "RobotRoom-v0" (see `agent.hub.shipped`); the package that registers it must have been
                imported. Or a directory written by `save_pretrained` or `save`. Or "USER/NAME" on the
                Hugging Face Hub, the only case in which the network is used.
            options: as for `load`. Whatever the source, loading runs no code from it.

        Raises:
            ValueError: there is no such agent, or it cannot be loaded; see `load`.
            ImportError: huggingface_hub, the extra "hub", is missing.
        """
        return cls.load(located(name), **options)

    def push_to_hub(
        self,
        repo_id: str,
        metrics: Mapping[str, float] | None = None,
        film: Path | None = None,
        restorer: Path | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Upload this agent, as `save_pretrained` writes it, and a model card to the Hugging Face Hub.

        Args:
            repo_id: "USER/NAME"; created if it does not exist.
            metrics: results to state in the card and in the Hub's metadata, by name.
            film: a .gif or .mp4 to show in the card.
            restorer: a directory written by `Restoration.save_pretrained`, to go with the agent.
            private: whether a new repository is private; None: as the account says.
            token: a token that may write; None: the one that `hf auth login` has stored.

        Returns:
            The repository's address.

        Raises:
            ValueError: the name, metrics or film are not as described. Nothing is uploaded.
            ImportError: huggingface_hub, the extra "hub", is missing.
        """
        env = self.env_id or "an environment without an id"
        card = model_card(repo_id, env, self.num_timesteps, self.seed, metrics or {}, film)
        with TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder, "agent"))
            checkpoint = Path(folder, "agent")
            return uploaded(repo_id, checkpoint, card, film, restorer, private, token)

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: AnyEnv | None = None,
        device: str = "auto",
        restorer: Restorer = Identity(),  # noqa: B008
        gate: Gate = AcceptAll(),  # noqa: B008
        world_model: MakeWorldModel | Model | None = None,
        threads: int = 1,
        planner: AnyPlanner | None = None,
        exploration: AnyExploration | None = None,
    ) -> Self:
        """Load a saved agent; `learn` continues from there, and `resume` completes a stopped call.

        Args:
            path: a checkpoint written by `save`.
            env: the environment to act in; None: the id and arguments the agent was created with. The
                id must already be registered: a checkpoint never decides what is imported or called.
                Needed where the agent was created with an environment that no id makes, as one in
                wrappers.
            device: as for `Agent`.
            restorer: as for `Agent`; it is saved separately.
            gate: as for `Agent`.
            world_model: as for `Agent`; None: the class it was saved with, which must be one of the
                project's, or derived from one and imported already. Nothing is imported by a name
                from the file.
            threads: as for `Agent`.
            planner: the same; the saved settings are used if it is the class that was saved.
                Anything else replaces what was saved. A function must always be given.
            exploration: the same.

        Raises:
            ValueError: not a complete checkpoint of a supported format version, `env` has other
                spaces, the checkpoint's environment is not registered in this form, or the agent
                was saved with other parts, or with other settings than they have now.
        """
        saved, tensors, optimizer, replay, state, weights_only = load_checkpoint(path, SavedAgent)
        path = Path(path)
        if weights_only and saved.online_run is not None:
            raise ValueError(f"{path}: online_run: got one, allowed: none beside weights only")
        own = env is None
        if env is None:
            if saved.env_spec is None:
                raise ValueError(
                    "env: got None, allowed: an environment like the one that the agent was made "
                    "with, which no registered id makes"
                )
            try:
                env = registered_spec(saved.env_spec)
            except ValueError as error:
                raise ValueError(f"{path / 'config.json'}: {error}") from error
        try:
            parts = found_parts(saved, world_model, planner, exploration)
            tensors = fitting_tensors(saved, parts, tensors, weights_only)
            if own and isinstance(env, EnvSpec):
                env = remade_env(saved, env, state)
            made = restorer, gate, parts.world_model, threads, None, parts.exploration
            agent = cls(env, parts.config, saved.seed, device, *made)
            if planner is None:  # not tried, as the memory that it takes is up to the file
                agent.config = replace(agent.config, planner=parts.planner)  # pyright: ignore[reportArgumentType]
            else:
                agent.planner = parts.planner
            require_spaces(saved, agent.observation_space, agent.action_space)
            require_replay(saved, replay)
            generators, run = (_below(name, state) for name in ("generators", "online_run"))
            counters = {name: getattr(saved, name) for name in Progress().state_dict()}
            agent.learner.load_state_dict(
                LearnerState(tensors, optimizer, replay, counters, generators, weights_only)
            )
            if saved.online_run is not None:
                stopped = environment_state.joined(saved.online_run, run)
                if own and stopped["collector"]["environment"] is not None:
                    OnlineRun.resumed(agent.env, agent.learner, agent.planner, stopped)
                agent._interrupted = stopped
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except MALFORMED as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: its files do not belong together ({problem})") from error
        return agent


def _below(name: str, arrays: Arrays) -> Arrays:
    """The arrays whose path begins with a name, by the rest of their path."""
    start = f"{name}."
    return {path[len(start) :]: array for path, array in arrays.items() if path.startswith(start)}


def _device(name: str) -> torch.device:
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
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


def _flags(value: Any) -> NDArray[Any]:
    """An array of truth values.

    Raises:
        ValueError: it is something else.
    """
    flags = as_array(value)
    if flags.dtype.kind not in "biu":
        raise ValueError(f"episode_start: got {value!r:.200}, allowed: bools (N,)")
    return flags
