"""What the window shows of a session."""

import numpy as np

from robot_room.app.watching.keys import HELP, NO_HELP
from robot_room.app.watching.session import NOISES, SPEEDS, Session
from robot_room.panels import View


def view(session: Session) -> View:
    """The session's current state as a view."""
    chosen, episode, inspection = session.chosen, session.episode, session.inspection
    return View(
        room=session.picture(),
        title="imagined paths, best ones (yellow), plan (pink)",
        alarm="paused" if chosen.paused else "",
        overlay=inspection.paths.draw if "robot_position" in session.info else None,
        frames={"camera": session.frame} | inspection.frames,
        filmstrip=inspection.filmstrip,
        filmstrip_title="predicted frames along the plan",
        curves={"predicted": list(episode.predicted), "received": list(episode.received)},
        curves_title="reward",
        status=_status(session),
        help=HELP if chosen.help_shown else NO_HELP,
    )


def _status(session: Session) -> list[str]:
    chosen, episode, score = session.chosen, session.episode, session.score
    ratio = f"{np.mean(score.ratios):.2f}" if score.ratios else "–"
    distance = f", {session.info['distance']:.2f} m to go" if "distance" in session.info else ""
    planner = f"{type(chosen.planner).__name__}, horizon {chosen.planner.horizon}"
    lines = [
        f"episode {episode.number + 1}, step {episode.steps}{distance}",
        f"arrived {score.arrived} of {score.finished}, path ratio {ratio}",
        f"planner {planner}, {SPEEDS[chosen.speed]} steps a second",
        f"restorer {_restorer(session)}",
        session.notice,
    ]
    if chosen.noise or chosen.hand:
        camera = "covered" if chosen.hand else f"noise {NOISES[chosen.noise]:g}"
        lines.insert(4, f"camera: {camera}")
    return lines


def _restorer(session: Session) -> str:
    if session.restoration is None:
        return "none"
    if not session.chosen.restoring:
        return "off"
    belief = session.decision.belief
    frame = "accepted" if belief.used[0] else "rejected"
    return f"on, frame {frame} (innovation {float(belief.innovation[0]):.0f})"
