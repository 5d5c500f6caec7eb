"""A session: an agent acting in an environment that a user may disturb. It needs no window.

`step` advances it, `drag` and the methods below it apply user input, `keys` maps keys to these methods,
and `display` turns a session into a view. User input never raises: what an environment does not allow
is ignored, and `notice` says why.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agent import Agent
from agent.actions import scale_actions
from agent.calibration import Restoration
from agent.control import ControlState, Decision, decide
from agent.gate import AcceptAll
from agent.planning import PLANNERS, Planner
from agent.restoration.restorer import Identity
from robot_room.app.evaluation.protocol import oracle_steps
from robot_room.app.watching.inspection import Inspection, inspect_decision
from robot_room.app.watching.value_map import ValueMap
from robot_room.room import GOAL_LIMIT, ROBOT_LIMIT

NOISES = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0, 1.5)  # std; images lie in [−1, 1]
SPEEDS = (1, 2, 5, 10, 20, 30, 100)  # steps per second, if the agent is fast enough; 10 is real time
HORIZONS = range(2, 21)
GRASP = 0.16  # m; a drag that starts this close to the goal's centre moves the goal


@dataclass
class Choices:
    """The user's choices."""

    planner: Planner
    restoring: bool
    noise: int = 0
    """Index into `NOISES`."""
    hand: bool = False
    """Whether the camera is covered."""
    speed: int = SPEEDS.index(10)
    """Index into `SPEEDS`."""
    paused: bool = False
    help_shown: bool = True
    theme: str = "dark"
    """A name in `robot_room.theme.THEMES`."""


@dataclass
class Score:
    """Results of the undisturbed episodes under some conditions."""

    finished: int = 0
    arrived: int = 0
    ratios: list[float] = field(default_factory=list)
    """Path ratios."""


@dataclass
class Episode:
    """The state of the current episode."""

    number: int
    oracle_steps: int
    touched: bool
    """Whether it was disturbed; it then does not count in the score."""
    steps: int = 0
    over: bool = False
    predicted: deque[float] = field(default_factory=lambda: deque(maxlen=80))
    """Predicted rewards of the latest steps."""
    received: deque[float] = field(default_factory=lambda: deque(maxlen=80))
    """Rewards received in these steps."""


class Session:
    """One agent in one environment.

    Args:
        agent: the acting agent; it is not changed.
        spec: the environment, which may differ from the one that the agent was trained in.
        seed: episode i starts from reset(seed=seed + i).
        restoration: a restorer and gate that can be switched on, or None.
        restoring: whether they are switched on at the start.

    Attributes:
        scores: results by conditions: planner, number of distractors, whether a restorer is on.
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
        self.chosen = Choices(agent.planner, restoring=restoring and restoration is not None)
        self.scores: dict[tuple[str, int, bool], Score] = {}
        self.values: ValueMap | None = None
        self._valued: Any = None
        self.closed = self.wants_still = False
        self.notice = ""
        self._noise = np.random.default_rng(seed)
        self._seed = seed
        self._env = _made(spec)
        self._held: str | None = None
        self._begin(0)

    @property
    def score(self) -> Score:
        """The results under the current conditions."""
        planner, kwargs = self.chosen.planner, self.spec.kwargs
        conditions = repr(planner), kwargs.get("distractors", 0), self.chosen.restoring
        return self.scores.setdefault(conditions, Score())

    # ---- stepping ------------------------------------------------------------------------------

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
        """Decide from the current camera frame."""
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
            discrete=isinstance(agent.action_space, gym.spaces.Discrete),
        )
        self.inspection: Inspection = inspect_decision(
            agent.world_model, self.decision, self.chosen.planner, restored=self.chosen.restoring
        )

    def step(self) -> None:
        """Take the action decided on; after the end of an episode, begin the next one."""
        episode, score = self.episode, self.score
        if episode.over:
            self.new_episode()
            return
        action = scale_actions(self.agent.action_space, self.decision.action[0].cpu().numpy())
        self.seen, reward, terminated, truncated, self.info = self._env.step(action)
        episode.predicted.append(self.inspection.reward)
        episode.received.append(float(reward))
        episode.steps, self._before = episode.steps + 1, self._after
        episode.over = bool(terminated or truncated)
        if episode.over and not episode.touched:
            score.finished += 1
            score.arrived += bool(self.info.get("is_success", False))
            if episode.oracle_steps:
                score.ratios.append(episode.steps / episode.oracle_steps)
        self.look()

    def explore(self, rows: int = 1) -> None:
        """Compute more rows of the map of expected returns, which begins anew in another room."""
        room: Any = self._env.unwrapped
        if "robot_position" not in self.info or not hasattr(room, "params"):
            return
        goal, layout = self.info["goal_position"], self.info.get("layout")
        valued = (goal.tolist(), layout, self.spec.kwargs, self.chosen.planner)
        if valued != self._valued:
            self.values, self._valued = ValueMap(), valued
        for _ in range(rows):
            if self.values is not None and not self.values.complete:
                self.values.advance(self.agent, self.chosen.planner, room)

    # ---- user input -----------------------------------------------------------------------------

    def drag(self, place: NDArray[np.float64] | None) -> None:
        """Drag the robot or the goal to a place, (x, y) in metres; None: the mouse is not held."""
        if place is None or "robot_position" not in self.info:
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
        if self.episode.over:  # it goes on in the same room, as an episode of its own
            self._begin(self.episode.number + 1)
        moved = {self._held: place[None]}
        if self._held == "robot_position":
            moved["seen_robot_position"] = place[None]
        try:
            self.seen, self.info = room.set_state({**state, **moved})
        except ValueError:
            self.seen, self.info = room.set_state(state)
            self.notice = "there is a wall"
            return
        self.episode.touched = True
        self.look()

    def toggle_pause(self) -> None:
        """Pause or continue."""
        self.chosen.paused = not self.chosen.paused

    def single_step(self) -> None:
        """Pause and take one step."""
        self.chosen.paused = True
        self.step()

    def toggle_hand(self) -> None:
        """Cover or uncover the camera."""
        self.chosen.hand = not self.chosen.hand
        self._disturbed()

    def change_noise(self, by: int) -> None:
        """Move along `NOISES`."""
        self.chosen.noise = int(np.clip(self.chosen.noise + by, 0, len(NOISES) - 1))
        self._disturbed()

    def change_speed(self, by: int) -> None:
        """Move along `SPEEDS`."""
        self.chosen.speed = int(np.clip(self.chosen.speed + by, 0, len(SPEEDS) - 1))

    def toggle_distractors(self) -> None:
        """Add three distractors, or remove all."""
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
        self._other_conditions()

    def toggle_restoration(self) -> None:
        """Switch the restorer and its gate on or off."""
        if self.restoration is None:
            self.notice = "no restorer: make one with robot-room train-restorer RUN"
            return
        self.chosen.restoring = not self.chosen.restoring
        self._other_conditions()

    def next_planner(self) -> None:
        """Use the next of the agent's `PLANNERS`, with the same horizon."""
        current = type(self.chosen.planner)
        number = PLANNERS.index(current) if current in PLANNERS else -1
        kind = PLANNERS[(number + 1) % len(PLANNERS)]
        own = self.agent.planner
        fresh = own if type(own) is kind else kind(discount=own.discount, states=own.states)
        self._plan_with(replace(fresh, horizon=self.chosen.planner.horizon))

    def change_horizon(self, by: int) -> None:
        """Lengthen or shorten the planner's horizon."""
        horizon = int(np.clip(self.chosen.planner.horizon + by, HORIZONS[0], HORIZONS[-1]))
        self._plan_with(replace(self.chosen.planner, horizon=horizon))

    def _plan_with(self, planner: Planner) -> None:
        self.chosen.planner = planner
        if self._before is not None:
            fresh = ControlState.initial(self.agent.world_model, planner, 1)
            self._before = fresh._replace(belief=self._before.belief)
        self._other_conditions()

    def request_still(self) -> None:
        """Ask the window to save a still."""
        self.wants_still = True

    def toggle_theme(self) -> None:
        """Switch between the dark and the light theme."""
        self.chosen.theme = "light" if self.chosen.theme == "dark" else "dark"

    def toggle_help(self) -> None:
        """Show or hide the keys."""
        self.chosen.help_shown = not self.chosen.help_shown

    def quit(self) -> None:
        """Ask the window to close."""
        self.closed = True

    def _other_conditions(self) -> None:
        """Count under the new conditions, where earlier results under the same ones are kept."""
        score = self.score
        self.notice = f"counted apart: {score.finished} episodes so far" if score.finished else ""
        self._disturbed()

    def _disturbed(self) -> None:
        self.episode.touched = True
        self.look()

    def picture(self) -> NDArray[np.uint8]:
        """The environment, rendered for people if it can be."""
        if self._env.render_mode is None:
            return self.seen
        return np.asarray(self._env.render(), np.uint8)

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
    """The environment, with pictures for people if it can render them."""
    env = gym.make(spec)
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        return env
    env.close()
    return gym.make(spec, render_mode="rgb_array")
