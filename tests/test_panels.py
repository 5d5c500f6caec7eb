"""Panels: state in, surface out; where things are on it, to the pixel."""

import gymnasium as gym
import numpy as np
import pygame
import pytest

import robot_room  # noqa: F401 - registers its environments
from robot_room import panels
from robot_room.app.watching.paths import Paths
from robot_room.panels import INK, PAPER, View, draw, layout, to_metres, to_picture
from robot_room.viewer import Viewer


def room(robot=(0.3, -0.4), goal=(-0.5, 0.5)):
    env = gym.make("RobotRoomRandomGoal-v0", render_mode="rgb_array")
    frame, _ = env.reset(seed=0, options={"robot_position": robot, "goal_position": goal})
    picture = env.render()
    env.close()
    return picture, frame


def full():
    picture, frame = room()
    ways = np.cumsum(np.full((5, 4, 2), 0.05), 1)
    return View(
        picture,
        alarm="paused",
        overlay=Paths(ways, ways[:2], ways[0], np.array([0.3, -0.4])).draw,
        frames={"sees": frame, "believes": frame[..., :1], "unsure": frame},
        filmstrip={f"{k}": frame for k in range(6)},
        filmstrip_title="film",
        curves={"a": [0.0, 1.0, 0.5], "b": [], "c": [2.0]},
        status=["one", "two"],
        help=["keys"],
    )


def overlap(a, b):
    return min(a.left + a.width, b.left + b.width) > max(a.left, b.left) and min(
        a.top + a.height, b.top + b.height
    ) > max(a.top, b.top)


@pytest.mark.parametrize("size", [(1080, 760), (1600, 900), (700, 900), (640, 480), (2560, 1440)])
def test_panels_lie_beside_one_another_within_the_window(size):
    view = full()
    places = layout(view, size)
    boxes = [places.room, *places.frames, places.curves, *places.filmstrip]
    for number, box in enumerate(boxes):
        assert box.left >= 0 and box.left + box.width <= size[0], box
        assert box.top >= 0 and box.top + box.height <= size[1], box
        assert not any(overlap(box, other) for other in boxes[:number])
    assert places.room.width == places.room.height >= places.frames[0].width > 0


@pytest.mark.parametrize("size", [(200, 200), (201, 777), (3000, 250), (1080, 760)])
def test_any_size_is_drawn(size):
    picture = to_picture(draw(full(), size))
    assert picture.shape == (size[1], size[0], 3)


def test_the_room_is_where_it_is_said_to_be():
    view = View(room(robot=(0.3, -0.4))[0])
    picture = to_picture(draw(view, (700, 700)))
    box = layout(view, (700, 700)).room
    x, y = panels.to_pixels(box, np.array([0.3, -0.4])).astype(int)
    side = box.width * 0.2 / 2  # the robot's 0.2 m of the room's 2 m
    white = (picture == 255).all(-1)
    assert white[y, x] and white[y, x + int(side / 2) - 2] and not white[y, x + int(side / 2) + 2]
    gx, gy = panels.to_pixels(box, np.array([-0.5, 0.5])).astype(int)
    assert picture[gy, gx].tolist() == [255, 0, 0]
    assert picture[2, 2].tolist() == list(PAPER)
    assert (picture[: panels.MARGIN + panels.LINE] == INK).all(-1).any()  # the title


def test_metres_and_pixels_are_each_others_inverse():
    box = layout(View(room()[0]), (600, 640)).room
    for pixel in ((box.left, box.top), (box.left + box.width - 1, box.top + 17), (300, 300)):
        place = to_metres(box, pixel)
        np.testing.assert_allclose(panels.to_pixels(box, place), np.array(pixel) + 0.5)
    assert to_metres(box, (box.left - 2, 300)) is None
    assert to_metres(box, (300, box.top + box.height + 1)) is None
    top_left = to_metres(box, (box.left, box.top))
    assert top_left[0] < -0.99 and top_left[1] > 0.99  # y grows upwards


def test_curves_end_at_the_right_and_span_their_values():
    picture, _ = room()
    view = View(picture, curves={"line": [-3.0, -1.0, 5.0]})
    shown = to_picture(draw(view, (900, 600)))
    box = layout(view, (900, 600)).curves
    inside = shown[box.top + 16 : box.top + box.height, box.left : box.left + box.width]
    rows, columns = np.nonzero((np.abs(inside.astype(int) - panels.CURVES[0]) < 60).all(-1))
    assert columns.min() <= 2 and columns.max() >= box.width - 3
    assert rows[columns.argmax()] < 12 < inside.shape[0] - 24 < rows[columns.argmin()]


def test_the_window_hears_keys_and_mouse_and_its_size():
    viewer = Viewer((500, 500), 1000, "test")
    view = View(room()[0])

    def post(kind, **what):
        pygame.event.post(pygame.event.Event(kind, **what))

    assert viewer.show(view) and viewer.pointer() is None
    post(pygame.KEYDOWN, key=pygame.K_LEFT)
    post(pygame.KEYDOWN, key=pygame.K_w)
    post(pygame.MOUSEBUTTONDOWN, pos=(250, 250), button=1)
    assert viewer.show(view) and viewer.keys == ["left", "w"]
    np.testing.assert_array_equal(viewer.arrows(), [-1, 1])
    box = layout(view, (500, 500)).room
    np.testing.assert_allclose(viewer.pointer(), to_metres(box, (250, 250)))
    post(pygame.MOUSEMOTION, pos=(200, 250), rel=(0, 0), buttons=(1, 0, 0))
    post(pygame.KEYUP, key=pygame.K_LEFT)
    assert viewer.show(view) and not viewer.keys
    np.testing.assert_array_equal(viewer.arrows(), [0, 1])
    np.testing.assert_allclose(viewer.pointer(), to_metres(box, (200, 250)))
    post(pygame.MOUSEBUTTONUP, pos=(200, 250), button=1)
    assert viewer.show(view) and viewer.pointer() is None
    post(pygame.MOUSEBUTTONDOWN, pos=(box.left + 9, box.top - 9), button=1)  # beside the room
    post(pygame.MOUSEMOTION, pos=(250, 250), rel=(0, 0), buttons=(1, 0, 0))
    assert viewer.show(view) and viewer.pointer() is None
    np.testing.assert_array_equal(viewer.picture(), to_picture(draw(view, (500, 500))))
    post(pygame.QUIT)
    assert not viewer.show(view)
    viewer.close()


def test_another_environment_may_end_pygame():
    viewer, view = Viewer((300, 300), 1000, "test"), View(room()[0], "one title")
    viewer.show(view)
    pygame.quit()  # as Gymnasium's own environments do when they are closed
    draw(View(room()[0], "another title"))
    assert viewer.show(View(room()[0], "a third title"))
    viewer.close()


def test_two_rooms_for_people_take_turns_in_one_window():
    rooms = [gym.make("RobotRoom-v0", render_mode="human") for _ in range(2)]
    for each in rooms:
        each.reset(seed=0)
    rooms[0].close()
    rooms[1].step(np.zeros(2, np.float32))  # opens it again
    rooms[1].close()


def test_without_pygame_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pygame", None)
    with pytest.raises(ImportError, match="pip install pygame"):
        Viewer((64, 64), 10, "test")
    with pytest.raises(ImportError, match="pip install pygame"):
        draw(View(np.zeros((8, 8, 3), np.uint8)))
