"""Steering by hand, in a window that nobody sees."""

import numpy as np
import pygame
import pytest

from robot_room.app.commands import play
from robot_room.viewer import Viewer


class Hand(Viewer):
    """A user: for each picture, the keys pressed, the arrows held, and where the mouse is held."""

    # Of the class, as the script under test makes the instance; `session` sets both anew.
    script: list = []  # noqa: RUF012
    shown: list = []  # noqa: RUF012

    def show(self, view):
        self.now = self.script[len(self.shown)]
        self.shown.append(view)
        for key in self.now.get("keys", ()):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(key)))
        if self.now.get("close"):
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        return super().show(view)

    def arrows(self):
        return np.array(self.now.get("arrows", (0, 0)), np.float32)

    def pointer(self):
        place = self.now.get("pointer")
        return None if place is None else np.array(place)


def session(monkeypatch, script, **config):
    Hand.script, Hand.shown = script, []
    monkeypatch.setattr(play, "Viewer", Hand)
    play.main(play.Play(frames_per_second=1000, **config))
    return Hand.shown


def robot_centre(view):
    rows, columns = np.nonzero((view.room == 255).all(axis=-1))
    return np.array([columns.mean(), rows.mean()])


def test_arrows_steer_and_both_pictures_follow(monkeypatch):
    script = [{"arrows": (-1, 1)}, {"arrows": (-1, 1)}, {}, {"keys": ["escape"]}]
    shown = session(monkeypatch, script, seed=0)
    assert len(shown) == 4
    centres = [robot_centre(view) for view in shown]
    np.testing.assert_allclose(centres[2] - centres[0], [-51.2, -51.2], atol=1.0)  # 0.2 m of 2 m
    np.testing.assert_allclose(centres[3], centres[2])
    for view in shown:
        seen = view.frames[0].picture
        room = view.room.astype(int).reshape(64, 8, 64, 8, 3).mean((1, 3))
        assert np.abs(room - seen).max() <= 1
    assert shown[2].facts[0][1].startswith("2, ") and len(shown[2].plots[0].curves["received"]) == 2


def test_the_robot_comes_to_the_mouse_where_it_is_held(monkeypatch):
    script = [{"pointer": (0.5625, 0.609375)}] * 25 + [{"close": True}]
    shown = session(monkeypatch, script, seed=3)
    np.testing.assert_allclose(robot_centre(shown[-1]), [400, 100], atol=2)


def test_a_new_episode_comes_at_the_end_and_when_asked_for(monkeypatch):
    script = [{"pointer": (0.0, 0.0)}] * 30 + [{"keys": ["r"]}, {}, {"close": True}]
    shown = session(monkeypatch, script, seed=3)
    assert any(view.facts[2][1].startswith("arrived after ") for view in shown)
    starts = [view for view in shown if view.facts[0][1].startswith("0, ")]
    assert len(starts) >= 3


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match="env_id: got CartPole-v1"):
        play.main(play.Play(env_id="CartPole-v1"))


def test_without_a_screen_the_error_says_what_to_do(monkeypatch):
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    with pytest.raises(RuntimeError, match=r"needs a screen .*--web.*--record"):
        Viewer((64, 64), 10, "test")


def test_a_driver_that_draws_nowhere_is_no_screen(monkeypatch):
    """SDL falls back to such a driver by itself; whoever waited for the window would wait for ever."""
    pygame.display.quit()
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    with pytest.raises(RuntimeError, match=r"needs a screen \(only the driver offscreen\)"):
        Viewer((64, 64), 10, "test")
    assert not pygame.display.get_init()
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")  # whoever asks for it has it
    Viewer((64, 64), 10, "test")
    pygame.display.quit()
