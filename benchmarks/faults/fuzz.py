"""Senseless calls: each must be carried out or refused, and a refusal changes nothing."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.learner import TrainingConfig
from agent.planning import CEM, ICEM, MPPI, RandomShooting
from agent.replay import Episode, Replay
from agent.restoration.conformal import check_calibration_size
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.noise import denoise_frames
from agent.restoration.training import DenoiserTrainingConfig
from agent.world_model import WorldModelConfig
from benchmarks.faults.samples import SMALL
from benchmarks.faults.tally import Tally
from robot_room import goals, layouts, oracle, sensors
from robot_room.app.evaluation.protocol import evaluate
from robot_room.env import RobotRoomEnv
from robot_room.vector_env import RobotRoomVectorEnv

PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 5, 7, 64, 10**7, 2**63, -(2**70), 0.0, 0.5, -0.5, 1.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        1e-320,
        1j,
        "",
        "x",
        "centre",
        "random",
        "door",
        "maze",
    ),
    *("gaussian", "dense", "sparse", "filter", b"x", (), (0.5, 0.5), (1, 2, 3), [], [0.1, -0.3], {}),
    *({"x": 1}, set(), object, len, np.int64(2), np.float32(0.3), np.float16(9), np.bool_(True)),
    *(np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 2)), np.full(2, np.nan), np.full(2, 9.0)),
    *(np.array("x"), np.array(None), np.zeros((0,)), np.zeros((64, 64, 3), np.uint8), np.zeros(3, int)),
    *(np.ones(2, bool), np.zeros((2, 64, 64, 3), np.uint8), np.array([1e300, 0]), "ν" * 99, 1 << 200),
)


class Target(NamedTuple):
    """Something to call."""

    name: str
    call: Callable[..., object]
    """Called with keyword arguments."""
    good: dict[str, Any]
    """Arguments that it accepts; one or two of them are replaced."""
    state: Callable[[], object] = lambda: None
    """What a refused call must leave as it was."""


def targets() -> list[Target]:
    """Everything that is called."""
    env = RobotRoomEnv(goal="random", walls="door")
    env.reset(seed=0)
    envs = RobotRoomVectorEnv(2, goal="random", slip=0.1)
    envs.reset(seed=0)
    made = gym.make("RobotRoom-v0")
    made.reset(seed=0)
    agent = Agent("RobotRoom-v0", SMALL)
    replay = Replay(100)
    frame = np.zeros((64, 64, 3), np.uint8)
    whole = Episode([frame] * 3, [np.zeros(2, np.float32)] * 2, [0.0, 0.0])
    agent.learn_from([whole])
    _, control = agent.predict(frame)
    options = {"robot_position": (0.8, 0.8), "goal_position": (-0.5, 0.2), "layout": 3}

    def reset(**changed: Any) -> object:
        return env.reset(options=changed)

    def restored(**changed: Any) -> object:
        return env.set_state(changed)

    def restored_vector(**changed: Any) -> object:
        return envs.set_state(changed)

    def learned(**changed: Any) -> object:
        return agent.add([_episode(**changed)])

    def appended(reward: Any) -> object:
        return replay.append(replay.start(frame), np.zeros(2, np.float32), reward, frame)

    def sampled(**changed: Any) -> object:
        return agent.replay.sample(generator=np.random.default_rng(0), **changed)

    def trained(total_timesteps: Any) -> object:
        return Agent("RobotRoom-v0", SMALL).learn(total_timesteps, _enough)

    def evaluated(**changed: Any) -> object:
        return evaluate(Impatient(), **changed)

    denoiser = Denoiser((16, 16, 3), DenoiserConfig(width=8, steps=4))

    def cleaned(frames: Any) -> object:
        return denoise_frames(denoiser, frames)

    goal_env: Any = gym.make("RobotRoomGoalImage-v0").unwrapped
    seen, _ = goal_env.reset(seed=0)
    achieved = {"achieved_goal": seen["achieved_goal"], "desired_goal": seen["desired_goal"]}
    places = {"robot": np.zeros((1, 2)), "goal": np.ones((1, 2)) / 2, "layout": None}
    places |= {"speed": 1.0, "friction": 0.1}

    def of_env() -> object:
        return _comparable(env.get_state())

    def of_envs() -> object:
        return _comparable(envs.get_state())

    def of_agent() -> object:
        return agent.num_timesteps, agent.replay.num_steps, len(agent.replay.episodes)

    episode = {"frames": whole.frames, "actions": whole.actions, "rewards": whole.rewards}
    configs = (WorldModelConfig, TrainingConfig, CEM, ICEM, MPPI, RandomShooting, AgentConfig)
    others = (DenoiserConfig, DenoiserTrainingConfig)
    return [
        *(Target(c.__name__, c, _defaults(c)) for c in (*configs, *others)),
        Target("RobotRoomEnv", RobotRoomEnv, _defaults(RobotRoomEnv) | {"compiled": False}),
        Target("RobotRoomVectorEnv", RobotRoomVectorEnv, _defaults(RobotRoomVectorEnv)),
        Target("env.reset(options)", reset, options, of_env),
        Target("env.reset", env.reset, {"seed": 3, "options": None}, of_env),
        Target("env.step", env.step, {"action": np.zeros(2, np.float32)}, of_env),
        Target("made.step", made.step, {"action": np.zeros(2, np.float32)}),
        Target("env.set_state", restored, env.get_state(), of_env),
        Target("envs.reset", envs.reset, {"seed": 3, "options": {}}, of_envs),
        Target("envs.step", envs.step, {"actions": np.zeros((2, 2), np.float32)}, of_envs),
        Target("envs.set_state", restored_vector, envs.get_state(), of_envs),
        Target("agent.predict", agent.predict, {"observation": frame, "state": control}, of_agent),
        Target("agent.add", learned, episode, of_agent),
        Target("replay.append", appended, {"reward": 0.5}, lambda: replay.num_steps),
        Target("min_steps", oracle.min_steps, places | {"delay": 1}),
        Target("expert_action", oracle.expert_action, places),
        Target("maze", layouts.maze, {"number": 7}),
        Target("door", layouts.door, {"place": 7}),
        Target("level", sensors.level, {"kind": "occluder", "severity": 3}),
        Target("locate", goals.locate, {"frames": seen["achieved_goal"]}),
        Target("compute_reward", goal_env.compute_reward, achieved | {"info": {}}),
        Target("Replay", Replay, {"capacity": 9}),
        Target("replay.sample", sampled, {"windows": 2, "length": 2, "reach_ends": False}),
        Target("Agent", Agent, {"env": "RobotRoom-v0", "config": SMALL, "seed": 0, "device": "cpu"}),
        Target("learn", trained, {"total_timesteps": 8}),
        Target("evaluate", evaluated, {"env": "RobotRoom-v0", "episodes": 2, "seed": 0}),
        Target("conformal", check_calibration_size, {"episodes": 200, "false_alarms": 0.1}),
        Target("denoise_frames", cleaned, {"frames": torch.zeros(1, 16, 16, 3, dtype=torch.uint8)}),
    ]


class Impatient:
    """A policy that has had enough."""

    def predict(self, *arguments: Any, **settings: Any) -> Any:
        """Refuse."""
        _enough()


def _enough(*arguments: object) -> None:
    raise ValueError("enough")


def calls(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Call each target in turn, with one or two arguments that make no sense."""
    known = targets()
    dear = [
        target.name.startswith(("Robot", "Agent", "agent", "env", "learn", "evaluate"))
        for target in known
    ]
    weights = np.where(dear, 0.05, 1.0)
    weights /= weights.sum()
    names, done = [target.name for target in known], sum(tally.counts.values())
    while done < count:
        for index in generator.choice(len(known), size=min(10_000, count - done), p=weights):
            target = known[index]
            outcome, bad = _tried(target, generator)
            tally.add(f"{names[index]}: {outcome}", bad)
            done += 1


def _tried(target: Target, generator: np.random.Generator) -> tuple[str, str]:
    arguments = dict(target.good)
    names = list(arguments)
    changed = {}
    for _ in range(int(generator.integers(1, 3))):
        name = names[int(generator.integers(len(names)))]
        changed[name] = _nonsense(generator)
    before = target.state()
    try:
        target.call(**(arguments | changed))
    except ValueError as error:
        refused = "refused" if str(error) else "refused without a word"
        if target.state() != before:
            return "changed", f"{target.name}({changed!r:.300}): refused, but changed"
        return refused, "" if str(error) else f"{target.name}({changed!r:.300})"
    except Exception as error:
        return "other error", f"{target.name}({changed!r:.300}): {type(error).__name__}: {error}"[:600]
    return "accepted", ""


def _nonsense(generator: np.random.Generator) -> Any:
    """A value, or a container of some."""
    value = PLAIN[int(generator.integers(len(PLAIN)))]
    match int(generator.integers(8)):
        case 0:
            return [value] * int(generator.integers(4))
        case 1:
            return {"robot_position": value}
        case 2 if isinstance(value, int | float) and not isinstance(value, bool):
            return np.float64(value) if abs(value) < 1e308 else value
        case 3:
            return generator.normal(size=tuple(generator.integers(0, 4, int(generator.integers(3)))))
        case _:
            return value


def _episode(frames: Any, actions: Any, rewards: Any) -> Episode:
    return Episode(frames, actions, rewards)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty
        and parameter.default.__class__.__name__ != "_HAS_DEFAULT_FACTORY_CLASS"
    } | ({"world_model": WorldModelConfig()} if function is AgentConfig else {})


def _comparable(state: Any) -> Any:
    """A state whose arrays compare as a whole."""
    if isinstance(state, dict):
        return {key: _comparable(value) for key, value in state.items()}
    if isinstance(state, np.ndarray | torch.Tensor):
        return state.shape, bytes(np.asarray(state).data)
    return state
