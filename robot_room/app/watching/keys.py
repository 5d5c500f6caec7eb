"""The keys of the window and their help."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from robot_room.app.watching.session import Session


class Key(NamedTuple):
    """A key and its action."""

    name: str
    """Its name in pygame."""
    label: str
    """Its label in the help, shared by neighbours with the same one; "": not in the help."""
    action: Callable[[Session], None]


HELP_KEY = Key("f1", "keys", Session.toggle_help)
KEYS: tuple[tuple[Key, ...], ...] = (
    (
        Key("space", "pause", Session.toggle_pause),
        Key("n", "one step", Session.single_step),
        Key(",", "slower or faster", lambda session: session.change_speed(-1)),
        Key(".", "slower or faster", lambda session: session.change_speed(1)),
        Key("r", "new episode", Session.new_episode),
        Key("s", "save a still", Session.request_still),
        Key("t", "theme", Session.toggle_theme),
        HELP_KEY,
        Key("escape", "quit", Session.quit),
        Key("q", "", Session.quit),
    ),
    (
        Key("h", "cover the camera", Session.toggle_hand),
        Key("[", "less or more noise", lambda session: session.change_noise(-1)),
        Key("]", "less or more noise", lambda session: session.change_noise(1)),
        Key("d", "distractors", Session.toggle_distractors),
        Key("p", "repair the frames", Session.toggle_restoration),
        Key("m", "next planner", Session.next_planner),
        Key("-", "shorter or longer plans", lambda session: session.change_horizon(-1)),
        Key("=", "shorter or longer plans", lambda session: session.change_horizon(1)),
    ),
)
"""Lines of the help."""
ACTIONS = {key.name: key.action for line in KEYS for key in line}


def press(session: Session, keys: Iterable[str]) -> None:
    """Apply pressed keys in order; unknown keys do nothing."""
    for key in keys:
        if key in ACTIONS:
            session.notice = ""
            ACTIONS[key](session)


def _help(keys: Iterable[Key]) -> tuple[tuple[str, str], ...]:
    """Keys and what they do; neighbours with one label are one entry."""
    return tuple(
        (" ".join({"escape": "esc"}.get(key.name, key.name).upper() for key in same), label)
        for label, same in groupby(keys, lambda key: key.label)
        if label
    )


HELP = (("MOUSE", "drag robot or goal"), *_help(KEYS[0]), *_help(KEYS[1]))
HELP_WITHOUT_ROOM = tuple(entry for entry in HELP if entry[0] not in ("MOUSE", "D"))
NO_HELP = _help([HELP_KEY])
