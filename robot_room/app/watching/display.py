"""What the window shows of a session."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.learner import Progress
from robot_room.app.watching.inspection import SHOWN
from robot_room.app.watching.keys import HELP, HELP_WITHOUT_ROOM, NO_HELP
from robot_room.app.watching.paths import LEGEND
from robot_room.app.watching.session import NOISES, SPEEDS, Session
from robot_room.app.watching.value_map import CELLS
from robot_room.panels import Frame, View
from robot_room.plots import Plot
from robot_room.theme import THEMES

PLANNERS = {"ICEM": "iCEM", "RandomShooting": "random shooting"}
NOTES = {
    "belief": "what it thinks is there",
    "frame rejected": "belief without this frame",
    "restored": "the frame, cleaned",
    "implausible": "restored, but not trusted",
    "uncertainty": "bright: unsure",
}
ALARMS = ("frame rejected", "implausible")


@dataclass
class Learning:
    """The course of a training, sampled as the window saw it."""

    updates: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    success: list[float] = field(default_factory=list)
    """Of the last episodes; NaN before the first one."""

    def add(self, progress: Progress) -> None:
        """Note where training stands; of a long course every second sample is dropped."""
        if self.updates and self.updates[-1] == progress.num_updates:
            return
        outcomes = progress.outcomes
        self.updates.append(progress.num_updates)
        self.loss.append(progress.metrics.get("loss", float("nan")))
        self.success.append(float(np.mean(outcomes)) if outcomes else float("nan"))
        if len(self.updates) > 400:
            for values in (self.updates, self.loss, self.success):
                del values[::2]


def view(session: Session, learning: Learning | None = None) -> View:
    """The session's current state as a view; during a training, with its course."""
    chosen, inspection = session.chosen, session.inspection
    name = session.spec.kwargs.get("env_id", session.spec.id)  # of what `agent.pixels` shows
    located = "robot_position" in session.info
    doing = f"{name}: learning" if learning is not None else name
    return View(
        room=session.picture(),
        title=f"{doing}   (the white robot is to reach the red goal)" if located else doing,
        notice=session.notice,
        alarm=_alarm(session),
        overlay=inspection.paths.draw if located else None,
        legend=LEGEND if located else (),
        frames=_frames(session),
        filmstrip=[Frame(name, picture) for name, picture in inspection.filmstrip.items()],
        filmstrip_title=_future(session),
        plots=_rewards(session) if learning is None else _course(learning),
        facts=_facts(session, learning is not None),
        keys=NO_HELP if not chosen.help_shown else HELP if located else HELP_WITHOUT_ROOM,
        theme=THEMES[chosen.theme],
    )


def _future(session: Session) -> str:
    horizon, shown = session.chosen.planner.horizon, len(session.inspection.filmstrip)
    soon = " until the episode ends" if shown < min(horizon, SHOWN) else " along its plan"
    return f"imagined future: the frames it expects{soon}"


def _alarm(session: Session) -> str:
    if session.chosen.paused:
        return "paused"
    if session.episode.over:
        return "arrived" if session.info.get("is_success") else "episode over"
    return ""


def _frames(session: Session) -> list[Frame]:
    covered = session.chosen.hand
    frames = [Frame("camera", session.frame, "covered" if covered else "what the agent sees", covered)]
    for name, picture in session.inspection.frames.items():
        smooth = name == "uncertainty"
        frames.append(Frame(name, picture, NOTES.get(name, ""), name in ALARMS, smooth))
    if session.values is not None and session.values.rows > 0:
        done = session.values.complete
        note = "light: good to be there" if done else f"{session.values.rows} of {CELLS} rows"
        frames.append(Frame("value map", session.values.picture(), note, smooth=done))
    return frames


def _rewards(session: Session) -> list[Plot]:
    episode = session.episode
    curves = {"predicted": list(episode.predicted), "received": list(episode.received)}
    start = 1 + episode.steps - len(episode.received)
    return [Plot("reward per step: higher is better", curves, "step of the episode", start)]


def _course(learning: Learning) -> list[Plot]:
    updates = learning.updates
    every = (updates[-1] - updates[0]) / (len(updates) - 1) if len(updates) > 1 else 1
    start = updates[0] if updates else 0
    return [
        Plot("loss, nats per step", {"loss": learning.loss}, "update", start, every=every),
        Plot(
            f"success of the last {Progress.OUTCOMES} episodes",
            {"success": learning.success},
            "update",
            start,
            limits=(0.0, 1.0),
            every=every,
        ),
    ]


def _facts(session: Session, learning: bool) -> Sequence[tuple[str, str]]:
    chosen, episode, score = session.chosen, session.episode, session.score
    distance = f", {session.info['distance']:.2f} m to go" if "distance" in session.info else ""
    planner = type(chosen.planner).__name__
    ratio = f", path ratio {np.mean(score.ratios):.2f}" if score.ratios else ""
    facts = [("episode", f"{episode.number + 1}, step {episode.steps}{distance}")]
    if learning:
        progress = session.agent.progress
        facts.append(("learned", f"{progress.num_timesteps} steps, {progress.num_updates} updates"))
    else:
        disturbed = " (you disturbed this one: not counted)" if episode.touched else ""
        done = f"{score.finished} episodes" if score.finished else "none finished yet"
        if "is_success" not in session.info:
            facts.append(("finished", f"{done}{disturbed}"))
        else:
            arrived = f"{score.arrived} of {done}{ratio}" if score.finished else done
            facts.append(("arrived", f"{arrived}{disturbed}"))
    facts += [
        ("planner", f"{PLANNERS.get(planner, planner)}, {chosen.planner.horizon} steps ahead"),
        ("speed", f"{SPEEDS[chosen.speed]} steps a second"),
    ]
    if chosen.noise or chosen.hand:
        facts.append(("camera", "covered" if chosen.hand else f"noise, std {NOISES[chosen.noise]:g}"))
    if session.restoration is not None:
        facts.append(("restorer", _restorer(session)))
    return facts


def _restorer(session: Session) -> str:
    if not session.chosen.restoring:
        return "off"
    belief = session.decision.belief
    frame = "accepted" if belief.used[0] else "rejected"
    return f"on, frame {frame} (innovation {float(belief.innovation[0]):.0f})"
