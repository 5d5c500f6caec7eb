"""The window as a page: who may see it, in a real browser, and what the browser's user does."""

import http.client
import json
import threading
import time
from contextlib import closing
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from agent import Agent
from robot_room.app.watching.display import view
from robot_room.app.watching.live import frame, live
from robot_room.app.watching.page import LONGEST, Page
from robot_room.app.watching.session import Session
from robot_room.drawing import draw, to_picture
from robot_room.panels import View, layout, to_pixels

SHOWN = View(np.full((64, 64, 3), 128, np.uint8), "a page & more")
WISH = {"width": 400, "height": 300, "scale": 1.0}


@pytest.fixture
def page():
    with closing(Page("a <page>", 1000)) as made:
        yield made


def ask(page, method, path, body=None, headers=None):
    """Status, headers and contents."""
    server = http.client.HTTPConnection("127.0.0.1", urlsplit(page.address).port, timeout=20)
    server.request(method, path, body, headers or {})
    reply = server.getresponse()
    with closing(server):
        return reply.status, dict(reply.headers), reply.read()


def asked(page, wish, shown=SHOWN):
    """The answer to a wish while a view is shown."""
    answers = []
    query = urlsplit(page.address).query

    def browser():
        answers.append(ask(page, "POST", f"/frame?{query}", json.dumps(wish)))

    thread = threading.Thread(target=browser)
    thread.start()
    page.show(shown)
    thread.join()
    return answers[0]


def test_who_does_not_know_the_token_gets_403_and_nothing_else(page):
    token = urlsplit(page.address).query.removeprefix("token=")
    assert len(token) >= 32
    for query in (
        "",
        "?token=",
        "?token=x",
        f"?token={token[:-1]}",
        f"?token={token}x",
        "?token=%ff%00%C3%A9",
    ):
        for method in ("GET", "POST", "HEAD", "PUT", "OPTIONS"):
            for path in ("/", "/frame", "/other", "/../page.html"):
                target = (path + query).encode().decode("latin-1")
                status, headers, contents = ask(page, method, target, json.dumps(WISH))
                assert (status, contents) == (403, b""), (method, target)
                assert "token" not in str(headers)


def test_who_knows_it_gets_a_page_that_asks_nobody_else(page):
    where = urlsplit(page.address)
    assert where.hostname == "127.0.0.1"
    status, headers, contents = ask(page, "GET", f"/?{where.query}")
    assert status == 200 and b"<title>a &lt;page></title>" in contents and b"http" not in contents
    policy = headers["Content-Security-Policy"]
    assert (
        policy.startswith("default-src 'none'; script-src 'nonce-") and "connect-src 'self'" in policy
    )
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    for path in ("/frame", "/page.html", "/static/page.html"):
        assert ask(page, "GET", f"{path}?{where.query}")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        json.dumps(WISH | {"width": 10**9}),
        json.dumps(WISH | {"height": -1}),
        json.dumps(WISH | {"scale": 1e9}),
        json.dumps(WISH | {"scale": None}),
        json.dumps(WISH | {"events": [{"kind": "__init__"}]}),
        json.dumps(WISH | {"events": [{"kind": "press", "key": "x" * 30}]}),
        json.dumps(WISH | {"events": [{"kind": "grab", "x": 1e300}]}),
        json.dumps(WISH | {"events": [{"kind": "leave"}] * 1001}),
    ],
    ids=range(12),
)
def test_a_senseless_wish_is_refused(page, body):
    status, _, contents = ask(page, "POST", f"/frame?{urlsplit(page.address).query}", body)
    assert (status, contents) == (400, b"")


def test_a_wish_that_is_too_long_is_not_read(page):
    path = f"/frame?{urlsplit(page.address).query}"
    assert ask(page, "POST", path, b" " * (LONGEST + 1))[0] == 413


def test_the_picture_is_the_windows(page):
    status, headers, contents = asked(page, WISH)
    assert status == 200 and headers["Content-Type"] == "image/jpeg"
    got = np.asarray(Image.open(BytesIO(contents))).astype(int)
    expected = to_picture(draw(SHOWN, (400, 300)))
    assert got.shape == expected.shape and np.abs(got - expected).mean() < 1
    np.testing.assert_array_equal(page.picture(), expected)
    large = np.asarray(Image.open(BytesIO(asked(page, {"width": 800, "height": 600, "scale": 2.0})[2])))
    assert large.shape == (600, 800, 3)


def test_keys_and_mouse_arrive_in_order(page):
    def after(*events):
        assert asked(page, WISH | {"events": [dict(event) for event in events]})[0] == 200

    def mouse(kind, place):
        x, y = to_pixels(layout(SHOWN, (400, 300)).room, np.array(place)).astype(int).tolist()
        return {"kind": kind, "x": x, "y": y}

    after({"kind": "press", "key": "left"}, {"kind": "press", "key": "w"})
    assert page.keys == ["left", "w"]
    np.testing.assert_array_equal(page.arrows(), [-1, 1])
    after({"kind": "release", "key": "left"}, mouse("grab", [0.5, 0.25]))
    assert page.keys == []
    np.testing.assert_array_equal(page.arrows(), [0, 1])
    np.testing.assert_allclose(page.pointer(), [0.5, 0.25], atol=0.01)
    after(mouse("move", [3.0, -0.5]))  # outside: clamped to the room
    np.testing.assert_allclose(page.pointer(), [1, -0.5], atol=0.01)
    after({"kind": "let_go"})
    assert page.pointer() is None
    after(mouse("grab", [0.0, 2.0]))  # begins outside
    assert page.pointer() is None
    after(mouse("grab", [0.0, 0.0]), {"kind": "leave"})
    assert page.pointer() is None and not page.arrows().any()


def test_nobody_looking_stops_no_training():
    with closing(Page("learning", 0)) as page:
        assert page.show(SHOWN) and page.picture().shape[2] == 3


def test_two_sessions_have_two_tokens(page):
    with closing(Page("other", 10)) as other:
        assert urlsplit(other.address).query != urlsplit(page.address).query
        with pytest.raises((OSError, SystemExit)):
            Page("a third", 10, urlsplit(page.address).port)


@pytest.mark.slow
@pytest.mark.screen
def test_a_session_in_a_real_browser(browser, tmp_path):
    agent = Agent("RobotRoomRandomGoal-v0", seed=0)
    session = Session(agent, agent.env_spec, 7)
    page = Page("a session", 30)
    tab = browser.new_page(viewport={"width": 900, "height": 700})
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))

    def until(condition, what):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, what
            frame(session, page, tmp_path)

    # The browser's own loop runs in another process, so that this one may draw while it waits.
    tab.goto(page.address, wait_until="commit")
    until(lambda: page._picture is not None, "a picture")
    tab.focus("canvas")
    for key, condition in (
        (" ", lambda: session.chosen.paused),
        ("t", lambda: session.chosen.theme == "light"),
        ("h", lambda: session.chosen.hand),
        ("h", lambda: not session.chosen.hand),
        ("]", lambda: session.chosen.noise == 1),
        ("F1", lambda: not session.chosen.help_shown),
        ("s", lambda: len(list(tmp_path.glob("*.png"))) == 1),
    ):
        tab.keyboard.press("Space" if key == " " else key)
        until(condition, key)
    box = layout(view(session), (900, 700)).room
    for place in (session.info["robot_position"], np.array([0.5, -0.4])):
        tab.mouse.move(*to_pixels(box, place))
        tab.mouse.down()
        for _ in range(3):
            frame(session, page, tmp_path)
    until(lambda: np.allclose(session.info["robot_position"], [0.5, -0.4], atol=0.02), "a drag")
    tab.mouse.up()
    tab.set_viewport_size({"width": 420, "height": 800})
    until(lambda: page.picture().shape == (800, 420, 3), "a narrow page")
    for _ in range(3):
        frame(session, page, tmp_path)
    assert tab.evaluate("document.querySelector('canvas').width") == 420
    assert all(url.startswith(page.address.split("?")[0]) for url in requests) and not complaints
    tab.keyboard.press("q")
    live(session, page, tmp_path)  # ends by itself
    tab.wait_for_function("document.querySelector('p').textContent.includes('ended')")
    tab.close()
    session.close()
