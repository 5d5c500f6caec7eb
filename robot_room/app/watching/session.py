"""An agent at work in a room, and a hand that may disturb both; no window is needed.

A session is told which keys were pressed and where the mouse is held, goes on by `step`, and gives a
`View` of what is to be seen. Nothing that is done to it raises: what a room does not allow does not
happen, and `notice` says so.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agent import Agent
from agent.calibration import Restoration
from agent.collection import scale_actions
from agent.control import ControlState, Decision, decide
from agent.gate import AcceptAll
from agent.planning import CEM, ICEM, MPPI, AnyPlanner, RandomShooting
from agent.restoration.restorer import Identity
from robot_room.app.evaluation.protocol import oracle_steps
from robot_room.app.watching.inspection import Thought, read
from robot_room.panels import View
from robot_room.room import GOAL_LIMIT, ROBOT_LIMIT

NOISES = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0, 1.5)  # std; images lie in [−1, 1]
SPEEDS = (1, 2, 5, 10, 20, 30, 100)  # steps a second, if the agent can; 10 is real time
PLANNERS: tuple[type[AnyPlanner], ...] = (ICEM, CEM, MPPI, RandomShooting)
HORIZONS = range(2, 21)
GRASP = 0.16  # m; nearer to the goal's centre than this, a hand takes the goal


@dataclass
class Choices:
    """What the user has chosen."""

    planner: AnyPlanner
    restoring: bool
    noise: int = 0
    """Which of `NOISES`."""
    hand: bool = False
    """Over the camera."""
    speed: int = SPEEDS.index(10)
    """Which of `SPEEDS`."""
    paused: bool = False
    help_shown: bool = True


@dataclass
class Score:
    """Of the episodes that nobody disturbed, under one set of conditions."""

    finished: int = 0
    arrived: int = 0
    ratios: list[float] = field(default_factory=list)
    """Steps over the oracle's."""


@dataclass
class Episode:
    """What has happened in one."""

    number: int
    oracle_steps: int
    touched: bool
    """It was disturbed, and does not count."""
    steps: int = 0
    over: bool = False
    predicted: deque[float] = field(default_factory=lambda: deque(maxlen=80))
    """Rewards that the agent expected of its latest steps."""
    received: deque[float] = field(default_factory=lambda: deque(maxlen=80))
    """Rewards that it got."""


class Session:
    """One agent in one room.

    Args:
        agent: acts; it is not changed.
        spec: of the environment, which may differ from the one that it was trained in.
        seed: episode i starts from reset(seed=seed + i).
        restoration: a restorer and gate that can be switched on; None: there are none.
        restoring: whether they are.
    """

    def __init__(
        self,
        agent: Agent,
        spec: EnvSpec,
        seed: int,
        restoration: Restoration | None = None,
        restoring: bool = False,
    ) -> None:
        self.agent, self.spec, self.restoration = agent, spec, restoration
        self.chosen = Choices(agent.config.planner, restoring=restoring and restoration is not None)
        self.score = Score()
        self.closed = self.wants_still = False
        self.notice = ""
        self._noise = np.random.default_rng(seed)
        self._seed = seed
        self._env = _made(spec)
        self._held: str | None = None
        self._begin(0)

    # ---- going on ------------------------------------------------------------------------------

    def new_episode(self) -> None:
        """Begin the next episode."""
        self._begin(self.episode.number + 1)

    def _begin(self, number: int) -> None:
        self.seen, self.info = self._env.reset(seed=self._seed + number)
        self._before: ControlState | None = None
        touched = self.chosen.hand or self.chosen.noise > 0
        self.episode = Episode(number, self._oracle_steps(), touched)
        self.look()

    def look(self) -> None:
        """Decide from what the camera shows now."""
        self.frame = self._through_the_camera(self.seen)
        agent, device = self.agent, self.agent.device
        start = torch.tensor([self._before is None], device=device)
        before = self._before or ControlState.initial(agent.world_model, self.chosen.planner, 1)
        self.decision: Decision
        restoration = self.restoration if self.chosen.restoring else None
        self.decision, self._after = decide(
            agent.world_model,
            self.chosen.planner,
            torch.from_numpy(np.ascontiguousarray(self.frame[None])).to(device),
            before,
            start,
            torch.Generator(device).manual_seed(agent.seed),
            restorer=Identity() if restoration is None else restoration.restorer,
            gate=AcceptAll() if restoration is None else restoration.gate,
        )
        self.thought: Thought = read(
            agent.world_model, self.decision, self.chosen.planner, restored=self.chosen.restoring
        )

    def step(self) -> None:
        """Do what was decided; after an episode's end, begin the next."""
        episode, score = self.episode, self.score
        if episode.over:
            self.new_episode()
            return
        action = scale_actions(self.agent.action_space, self.decision.action[0].cpu().numpy())
        self.seen, reward, terminated, truncated, self.info = self._env.step(action)
        episode.predicted.append(self.thought.reward)
        episode.received.append(float(reward))
        episode.steps, self._before = episode.steps + 1, self._after
        episode.over = bool(terminated or truncated)
        if episode.over and not episode.touched:
            score.finished += 1
            score.arrived += bool(self.info.get("is_success", False))
            if episode.oracle_steps:
                score.ratios.append(episode.steps / episode.oracle_steps)
        self.look()

    # ---- what a hand does ----------------------------------------------------------------------

    def press(self, keys: Iterable[str]) -> None:
        """Do what keys ask for, in order; unknown ones do nothing."""
        for key in keys:
            if key in ACTIONS:
                self.notice = ""
                ACTIONS[key](self)

    def drag(self, place: NDArray[np.float64] | None) -> None:
        """The mouse is held at a place in the room, (x, y) in metres; None: it is not."""
        if place is None or "robot_position" not in self.info or self.episode.over:
            self._held = None
            return
        params: Any = getattr(self._env.unwrapped, "params", None)
        if self._held is None:
            near = np.linalg.norm(place - self.info["goal_position"]) < GRASP
            self._held = "goal_position" if near else "robot_position"
            if near and params.goal != "random":
                self.notice = "this room's goal stays at the centre"
                self._held = "nothing"
        if self._held == "nothing":
            return
        limit = GOAL_LIMIT if self._held == "goal_position" else ROBOT_LIMIT
        place = np.clip(place, -limit, limit)
        if np.allclose(place, self.info[self._held]):
            return
        room: Any = self._env.unwrapped
        state = room.get_state()
        moved = {self._held: place[None]}
        if self._held == "robot_position":
            moved["seen_robot_position"] = place[None]
        try:
            self.seen, self.info = room.set_state({**state, **moved})
        except ValueError:
            self.notice = "there is a wall"
            return
        self.episode.touched = True
        self.look()

    def _pause(self) -> None:
        self.chosen.paused = not self.chosen.paused

    def _single_step(self) -> None:
        self.chosen.paused = True
        self.step()

    def _hand(self) -> None:
        self.chosen.hand = not self.chosen.hand
        self._disturbed()

    def _change_noise(self, by: int) -> None:
        self.chosen.noise = int(np.clip(self.chosen.noise + by, 0, len(NOISES) - 1))
        self._disturbed()

    def _change_speed(self, by: int) -> None:
        self.chosen.speed = int(np.clip(self.chosen.speed + by, 0, len(SPEEDS) - 1))

    def _distractors(self) -> None:
        room: Any = self._env.unwrapped
        if "robot_position" not in self.info:
            self.notice = "this environment has no distractors"
            return
        state = room.get_state()
        count = 0 if state["settings"]["distractors"] else 3
        spec = replace(self.spec, kwargs=self.spec.kwargs | {"distractors": count})
        other: Any = _made(spec)
        other.reset(seed=0)
        settings = state["settings"] | {"distractors": count}
        self.seen, self.info = other.unwrapped.set_state({**state, "settings": settings})
        self._env.close()
        self._env, self.spec = other, spec
        self._count_afresh()

    def _switch_restoration(self) -> None:
        if self.restoration is None:
            self.notice = "no prior: make one with robot-room train-prior RUN"
            return
        self.chosen.restoring = not self.chosen.restoring
        self._count_afresh()

    def _next_planner(self) -> None:
        kinds = [kind.__name__ for kind in PLANNERS]
        kind = PLANNERS[(kinds.index(type(self.chosen.planner).__name__) + 1) % len(PLANNERS)]
        own = self.agent.config.planner
        fresh = own if type(own) is kind else kind(discount=own.discount)
        self._plan_with(replace(fresh, horizon=self.chosen.planner.horizon))

    def _change_horizon(self, by: int) -> None:
        horizon = int(np.clip(self.chosen.planner.horizon + by, HORIZONS[0], HORIZONS[-1]))
        self._plan_with(replace(self.chosen.planner, horizon=horizon))

    def _plan_with(self, planner: AnyPlanner) -> None:
        self.chosen.planner = planner
        if self._before is not None:
            fresh = ControlState.initial(self.agent.world_model, planner, 1)
            self._before = self._before._replace(plans=fresh.plans)
        self._count_afresh()

    def _still(self) -> None:
        self.wants_still = True

    def _help(self) -> None:
        self.chosen.help_shown = not self.chosen.help_shown

    def _close(self) -> None:
        self.closed = True

    def _count_afresh(self) -> None:
        """Success so far was that of other conditions."""
        self.score = Score()
        self._disturbed()

    def _disturbed(self) -> None:
        self.episode.touched = True
        self.look()

    # ---- what is to be seen --------------------------------------------------------------------

    def view(self) -> View:
        """All that a window shows of this moment."""
        chosen, episode, score = self.chosen, self.episode, self.score
        kind = type(chosen.planner).__name__.removesuffix("Config")
        planner = f"{kind}, horizon {chosen.planner.horizon}"
        ratio = f"{np.mean(score.ratios):.2f}" if score.ratios else "–"
        prior = "none" if self.restoration is None else ("on" if chosen.restoring else "off")
        belief = self.decision.belief
        if chosen.restoring:
            surprise = f"{float(belief.innovation[0]):.0f}"
            prior += f", frame {'believed' if belief.used[0] else 'left out'} (innovation {surprise})"
        status = [
            f"episode {episode.number + 1}, step {episode.steps}"
            + ("" if "distance" not in self.info else f", {self.info['distance']:.2f} m to go"),
            f"arrived {score.arrived} of {score.finished}, steps over the oracle's {ratio}",
            f"planner {planner}, {SPEEDS[chosen.speed]} steps a second",
            f"prior {prior}",
            self.notice,
        ]
        if chosen.noise or chosen.hand:
            camera = "hand over the camera" if chosen.hand else f"noise {NOISES[chosen.noise]:g}"
            status.insert(4, f"camera: {camera}")
        thought = self.thought
        located = "robot_position" in self.info
        return View(
            room=self.seen
            if self._env.render_mode is None
            else np.asarray(self._env.render(), np.uint8),
            title="the room: paths imagined, the best of them, the one it takes",
            alarm="paused" if chosen.paused else "",
            overlay=thought.paths.draw if located else None,
            frames={"sees": self.frame} | thought.frames,
            filmstrip=thought.filmstrip,
            filmstrip_title="what the agent expects to see",
            curves={"expected": list(episode.predicted), "received": list(episode.received)},
            curves_title="reward",
            status=status,
            help=HELP if chosen.help_shown else NO_HELP,
        )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _through_the_camera(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.chosen.hand:
            return np.zeros_like(frame)
        if not self.chosen.noise:
            return frame
        noise = NOISES[self.chosen.noise] * 127.5 * self._noise.standard_normal(frame.shape)
        return np.clip(frame + noise + 0.5, 0, 255).astype(np.uint8)

    def _oracle_steps(self) -> int:
        info = {name: np.asarray(value)[None] for name, value in self.info.items()}
        params = getattr(self._env.unwrapped, "params", None)
        return int(oracle_steps(info, params, 1)[0])


def _made(spec: EnvSpec) -> gym.Env[Any, Any]:
    """The environment, with pictures for people where it has such."""
    env = gym.make(spec)
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        return env
    env.close()
    return gym.make(spec, render_mode="rgb_array")


# ---- keys --------------------------------------------------------------------------------------


class Key(NamedTuple):
    """A key, and what it does."""

    name: str
    """As pygame calls it."""
    label: str
    """In the help, where neighbours with the same one share it; "": the help leaves the key out."""
    action: Callable[[Session], None]


HELP_KEY = Key("f1", "keys", Session._help)
KEYS: tuple[tuple[Key, ...], ...] = (
    (
        Key("space", "pause", Session._pause),
        Key("n", "one step", Session._single_step),
        Key(",", "speed", lambda session: session._change_speed(-1)),
        Key(".", "speed", lambda session: session._change_speed(1)),
        Key("r", "new episode", Session.new_episode),
        Key("s", "still", Session._still),
        HELP_KEY,
        Key("escape", "quit", Session._close),
        Key("q", "", Session._close),
    ),
    (
        Key("h", "hand over the camera", Session._hand),
        Key("[", "noise", lambda session: session._change_noise(-1)),
        Key("]", "noise", lambda session: session._change_noise(1)),
        Key("d", "distractors", Session._distractors),
        Key("p", "prior", Session._switch_restoration),
        Key("m", "planner", Session._next_planner),
        Key("-", "horizon", lambda session: session._change_horizon(-1)),
        Key("=", "horizon", lambda session: session._change_horizon(1)),
    ),
)
"""Lines as the help shows them."""
ACTIONS = {key.name: key.action for line in KEYS for key in line}


def _help_line(keys: Iterable[Key], *first: str) -> str:
    told = [
        f"{' '.join({'escape': 'esc'}.get(key.name, key.name) for key in same)}: {label}"
        for label, same in groupby(keys, lambda key: key.label)
        if label
    ]
    return "    ".join([*first, *told])


HELP = (_help_line(KEYS[0], "mouse: drag robot or goal"), _help_line(KEYS[1]))
NO_HELP = (_help_line([HELP_KEY]),)
