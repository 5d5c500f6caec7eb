"""Panels: state in, surface out; where things are on it, to the pixel."""

import gymnasium as gym
import numpy as np
import pygame
import pytest
from PIL import Image, ImageDraw

import robot_room  # noqa: F401 - registers its environments
from robot_room import panels, plots, viewer
from robot_room.app.watching.paths import LEGEND, Paths
from robot_room.drawing import draw, to_picture
from robot_room.panels import Frame, View, layout, to_metres
from robot_room.pen import coverage, text_size
from robot_room.plots import Plot
from robot_room.theme import DARK, THEMES, Theme
from robot_room.viewer import Viewer


def room(robot=(0.3, -0.4), goal=(-0.5, 0.5)):
    env = gym.make("RobotRoomRandomGoal-v0", render_mode="rgb_array")
    frame, _ = env.reset(seed=0, options={"robot_position": robot, "goal_position": goal})
    picture = env.render()
    env.close()
    return picture, frame


def full(**changes):
    picture, frame = room()
    ways = np.cumsum(np.full((5, 4, 2), 0.05), 1)
    contents = {
        "notice": "something happened",
        "alarm": "paused",
        "overlay": Paths(ways, ways[:2], ways[0], np.array([0.3, -0.4])).draw,
        "legend": LEGEND,
        "frames": [
            Frame("a", frame, "note"),
            Frame("b", frame[..., :1], alarm=True),
            Frame("c", frame),
        ],
        "filmstrip": [Frame(f"{k}", frame) for k in range(6)],
        "filmstrip_title": "film",
        "plots": [Plot("plot", {"a": [0.0, 1.0, 0.5], "b": [], "c": [2.0]})],
        "facts": [("one", "value"), ("two", "value")],
        "keys": [("SPACE", "pause"), ("R", "new episode")] * 4,
    }
    return View(picture, **(contents | changes))


def overlap(a, b):
    return min(a.left + a.width, b.left + b.width) > max(a.left, b.left) and min(
        a.top + a.height, b.top + b.height
    ) > max(a.top, b.top)


SIZES = [(1120, 780), (1600, 900), (700, 900), (640, 480), (2560, 1440), (600, 900), (390, 844)]


@pytest.mark.parametrize("scale", [1, 1.5, 2])
@pytest.mark.parametrize("size", [*SIZES, (900, 500), (320, 240), (1000, 300), (200, 900)])
def test_panels_lie_beside_one_another_within_the_window(size, scale):
    places = layout(full(), size, scale)
    boxes = [places.room, *places.frames, *places.plots, *places.filmstrip, *places.legend]
    boxes += [*places.facts, *places.keys]
    for number, box in enumerate(boxes):
        assert box.left >= 0 and box.left + box.width <= size[0], box
        assert box.top >= 0 and box.top + box.height <= size[1], box
        assert not any(overlap(box, other) for other in boxes[:number])
    assert places.room.width == places.room.height > 0


@pytest.mark.parametrize("size", SIZES)
def test_common_sizes_show_every_panel_but_the_keys(size):
    view = full()
    places = layout(view, size)
    for name in ("frames", "plots", "filmstrip", "legend", "facts"):
        assert len(getattr(places, name)) == len(getattr(view, name)), name
    assert places.room.width > places.frames[0].width >= 56


def test_a_narrow_window_has_one_column():
    wide, narrow = layout(full(), (640, 900)), layout(full(), (639, 900))
    assert wide.frames[0].left > wide.room.left + wide.room.width
    assert narrow.frames[0].top > narrow.room.top + narrow.room.height
    assert layout(full(), (1279, 1800), 2).frames[0].top > layout(full(), (1279, 1800), 2).room.height


def test_twice_the_scale_is_the_same_layout_twice_as_large():
    small, large = layout(full(), (1120, 780)), layout(full(), (2240, 1560), 2)
    for name in ("room", "frames", "plots", "filmstrip", "facts", "keys"):
        first, second = (np.ravel(getattr(each, name)) for each in (small, large))
        np.testing.assert_allclose(
            second, 2 * first, atol=20, err_msg=name
        )  # widths of text are rounded


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [(100, 100), (200, 200), (201, 777), (3000, 250), (1120, 780)])
def test_any_size_is_drawn(size, theme):
    picture = to_picture(draw(full(theme=THEMES[theme]), size, 1.5))
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
    assert picture[2, 2].tolist() == list(DARK.paper)
    assert (picture[: panels.HEADER] > 200).all(-1).any()  # the title


def test_metres_and_pixels_are_each_others_inverse():
    box = layout(View(room()[0]), (600, 640)).room
    for pixel in ((box.left, box.top), (box.left + box.width - 1, box.top + 17), (300, 300)):
        place = to_metres(box, pixel)
        np.testing.assert_allclose(panels.to_pixels(box, place), np.array(pixel) + 0.5)
    assert to_metres(box, (box.left - 2, 300)) is None
    assert to_metres(box, (300, box.top + box.height + 1)) is None
    top_left = to_metres(box, (box.left, box.top))
    assert top_left[0] < -0.99 and top_left[1] > 0.99  # y grows upwards


def test_curves_span_their_values_and_each_is_named_at_its_end():
    plot = Plot("plot", {"line": list(np.linspace(-3, 5, 30)), "other": [0.0] * 30})
    view = View(room()[0], plots=[plot])
    shown = to_picture(draw(view, (900, 600)))
    area = plots.plot_area(layout(view, (900, 600)).plots[0], plot)
    inside = shown[area.top : area.top + area.height, area.left : area.left + area.width]
    rows, columns = np.nonzero((np.abs(inside.astype(int) - DARK.curves[0]) < 40).all(-1))
    assert columns.min() <= 2 and columns.max() >= area.width - 3
    spare = 0.06 / 1.12 * area.height
    assert abs(rows[columns.argmax()] - spare) < 5
    assert abs(area.height - rows[columns.argmin()] - spare) < 5
    beside = shown[area.top : area.top + area.height, area.left + area.width + 7 :].astype(int)
    named = [np.nonzero((np.abs(beside - colour) < 40).all(-1))[0] for colour in DARK.curves[:2]]
    assert named[0].max() < named[1].min()  # the higher curve's name is the higher one


def test_axes_are_there_before_data():
    plot = Plot("plot", {"line": []}, limits=(0.0, 1.0))
    view = View(room()[0], plots=[plot])
    shown = to_picture(draw(view, (900, 600)))
    area = plots.plot_area(layout(view, (900, 600)).plots[0], plot)
    assert (shown[area.top + 3, area.left + 3] == DARK.panel).all()
    labels = shown[area.top : area.top + area.height, area.left - 40 : area.left]
    assert (labels != DARK.paper).any()


@pytest.mark.parametrize("low, high", [(0, 1), (-3.2, -0.01), (-4300, 120), (1e-7, 3e-7), (5, 5)])
def test_ticks_are_few_and_round_and_within_the_axis(low, high):
    found = plots.ticks(low, high, 4)
    assert 1 <= len(found) <= 4
    assert all(low <= value <= high for value in found)
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[:1].repeat(len(steps)))
    for step in steps:
        assert float(f"{step:.0e}") == pytest.approx(step)
        assert f"{step:.0e}"[0] in "125"


def test_lines_cover_what_an_exact_drawing_covers():
    generator, size, width, fine = np.random.default_rng(0), (60, 50), 3.0, 16
    for path in generator.uniform(8, 42, (5, 4, 2)):
        exact = Image.new("L", (size[0] * fine, size[1] * fine))
        pen = ImageDraw.Draw(exact)
        corners = [tuple(place * fine) for place in path]
        pen.line(corners, 255, round(width * fine))
        reach = width * fine / 2
        for x, y in corners:  # round ends and joints
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), 255)
        expected = np.asarray(exact).reshape(size[1], fine, size[0], fine).mean((1, 3)).T / 255
        got = coverage([path], size, width)
        assert np.abs(got - expected).max() < 0.4 and np.abs(got - expected).mean() < 0.006


@pytest.mark.parametrize("width", [0.5, 1, 2, 4.5])
@pytest.mark.parametrize("angle", [0, 20, 45, 90])
def test_a_line_is_as_wide_at_every_angle(width, angle):
    turn = np.deg2rad(angle)
    half = 40 * np.array([np.cos(turn), np.sin(turn)])
    middle = np.array([60.3, 60.7])
    got = coverage([np.stack([middle - half, middle + half])], (121, 121), width).sum()
    # Thin diagonals vary along the line, which a pixel's distance from its edge cannot tell.
    tolerance = 0.14 if width <= 1 else 0.04
    assert got == pytest.approx(80 * width + np.pi * width**2 / 4, rel=tolerance)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_curves_stand_out_from_their_background(theme: Theme):
    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.divide(colour, 255)
        ]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    def contrast(a, b):
        low, high = sorted([luminance(a), luminance(b)])
        return (high + 0.05) / (low + 0.05)

    for ground in (theme.paper, theme.panel):
        for colour in (theme.ink, theme.faint, theme.alarm, *theme.curves):
            assert contrast(colour, ground) >= 4.5, (colour, ground)  # WCAG 2.2, AA


def test_long_text_is_cut_and_says_so():
    surface = draw(full(title="a very long title " * 20, notice=""), (400, 600))
    picture = to_picture(surface)
    assert (picture[12:32, 386:] == DARK.paper).all()
    assert text_size("…", 16)[0] > 0


@pytest.mark.parametrize(
    "height, scale", [(768, 1), (1080, 1), (1440, 1), (1800, 1.5), (2160, 2), (0, 1)]
)
def test_a_screen_with_many_lines_gets_larger_text(height, scale):
    assert viewer._display_scale([(height * 16 // 9, height)] if height else []) == scale


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
