"""Steering by hand, in a window that nobody sees."""

import importlib.util
from pathlib import Path

import numpy as np
import pygame
import pytest

from robot_room.viewer import Viewer

spec = importlib.util.spec_from_file_location(
    "play", Path(__file__).parent.parent / "scripts" / "play.py"
)
assert spec is not None and spec.loader is not None
play = importlib.util.module_from_spec(spec)
spec.loader.exec_module(play)


class Hand(Viewer):
    """A user: for each picture, the keys pressed, the arrows held, and where the mouse is held."""

    # Of the class, as the script under test makes the instance; `session` sets both anew.
    script: list = []  # noqa: RUF012
    shown: list = []  # noqa: RUF012

    def show(self, picture, text=()):
        self.now = self.script[len(self.shown)]
        self.shown.append((picture, text))
        for key in self.now.get("keys", ()):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(key)))
        if self.now.get("close"):
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        return super().show(picture, text)

    def arrows(self):
        return np.array(self.now.get("arrows", (0, 0)), np.float32)

    def pointer(self):
        return self.now.get("pointer")


def session(monkeypatch, script, **config):
    Hand.script, Hand.shown = script, []
    monkeypatch.setattr(play, "Viewer", Hand)
    play.main(play.Play(frames_per_second=1000, **config))
    return Hand.shown


def robot_centre(picture):
    rows, columns = np.nonzero((picture[:, :512] == 255).all(axis=-1))
    return np.array([columns.mean(), rows.mean()])


def test_arrows_steer_and_both_pictures_follow(monkeypatch):
    script = [{"arrows": (-1, 1)}, {"arrows": (-1, 1)}, {}, {"keys": ["escape"]}]
    shown = session(monkeypatch, script, seed=0)
    assert len(shown) == 4
    centres = [robot_centre(picture) for picture, _ in shown]
    np.testing.assert_allclose(centres[2] - centres[0], [-51.2, -51.2], atol=1.0)  # 0.2 m of 2 m
    np.testing.assert_allclose(centres[3], centres[2])
    for picture, _ in shown:
        room, seen = picture[:, :512].astype(int), picture[4::8, 532::8].astype(int)
        assert np.abs(room.reshape(64, 8, 64, 8, 3).mean((1, 3)) - seen).max() <= 1
    texts = [text for _, text in shown]
    assert texts[2][0].startswith("step   2") and "distance" in texts[2][0] and "reward" in texts[2][0]


def test_the_robot_comes_to_the_mouse_where_it_is_held(monkeypatch):
    script = [{"pointer": (400, 100)}] * 25 + [{"close": True}]
    shown = session(monkeypatch, script, seed=3)
    np.testing.assert_allclose(robot_centre(shown[-1][0]), [400, 100], atol=2)


def test_a_mouse_beside_the_room_steers_nothing(monkeypatch):
    shown = session(monkeypatch, [{"pointer": (700, 100)}] * 3 + [{"keys": ["q"]}], seed=3)
    np.testing.assert_array_equal(shown[0][0], shown[-1][0])


def test_a_new_episode_comes_at_the_end_and_when_asked_for(monkeypatch):
    script = [{"pointer": (256, 256)}] * 30 + [{"keys": ["r"]}, {}, {"close": True}]
    shown = session(monkeypatch, script, seed=3)
    texts = [text for _, text in shown]
    assert any("last episode: arrived" in text[1] for text in texts)
    starts = [text for text in texts if text[0].startswith("step   0")]
    assert len(starts) >= 3


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match="env_id: got CartPole-v1"):
        play.main(play.Play(env_id="CartPole-v1"))


def test_keys_that_are_held_are_read(monkeypatch):
    viewer = Viewer((64, 64), 1000, "test")
    held = {pygame.K_LEFT, pygame.K_w}

    class Pressed:
        def __getitem__(self, key):
            return key in held

    monkeypatch.setattr(pygame.key, "get_pressed", Pressed)
    np.testing.assert_array_equal(viewer.arrows(), [-1, 1])
    held.add(pygame.K_RIGHT)
    np.testing.assert_array_equal(viewer.arrows(), [0, 1])
    viewer.close()


def test_without_a_screen_the_error_says_what_to_do(monkeypatch):
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    with pytest.raises(RuntimeError, match="needs a screen"):
        Viewer((64, 64), 10, "test")
