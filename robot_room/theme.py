"""Colours of the window: a dark and a light theme, legible for people with any colour vision."""

from dataclasses import dataclass

Colour = tuple[int, int, int]

CANDIDATE, ELITE, CHOSEN = (130, 210, 255), (255, 214, 90), (255, 64, 160)
"""Imagined paths over the room, whose floor is grey in both themes."""


@dataclass(frozen=True)
class Theme:
    """Colours by their use."""

    paper: Colour
    """The background."""
    panel: Colour
    """Background of plots and keycaps."""
    rule: Colour
    """Hairlines around pictures and along axes."""
    ink: Colour
    """Text."""
    faint: Colour
    """Explanations, units and tick labels."""
    alarm: Colour
    """What is out of the ordinary."""
    curves: tuple[Colour, ...]
    """Curves of a plot, in order."""


DARK = Theme(
    paper=(17, 19, 24),
    panel=(28, 31, 38),
    rule=(58, 63, 74),
    ink=(236, 238, 242),
    faint=(156, 163, 175),
    alarm=(255, 158, 94),
    curves=((255, 100, 172), (112, 192, 255), (255, 208, 92)),
)
LIGHT = Theme(
    paper=(251, 251, 249),
    panel=(240, 241, 243),
    rule=(206, 210, 216),
    ink=(26, 29, 34),
    faint=(92, 98, 108),
    alarm=(184, 68, 0),
    curves=((200, 16, 106), (0, 102, 184), (150, 100, 0)),
)
THEMES = {"dark": DARK, "light": LIGHT}
