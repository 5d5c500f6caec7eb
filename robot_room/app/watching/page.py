"""The window as a page in a browser: the same pictures, keyboard and mouse, over HTTP.

The page asks for one picture after the other, by `POST frame`, and each request brings what the user
has done since the last one. So no more pictures are drawn than the browser can take, and any proxy or
tunnel that forwards HTTP will do. The server listens on the loopback address only. Whoever does not
know the token gets an empty answer with status 403, whatever they ask for.
"""

import queue
import secrets
import threading
import time
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from PIL import Image
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from robot_room.drawing import draw, to_picture
from robot_room.panels import SIZE, View, layout
from robot_room.pen import Picture
from robot_room.viewer import Hands

HOST = "127.0.0.1"
HTML = Path(__file__).with_name("page.html")
PATIENCE = 5.0  # s that a request waits for its picture
LONGEST = 100_000  # bytes of a request
Pixel = Annotated[int, Meta(ge=-10_000, le=10_000)]
Side = Annotated[int, Meta(ge=100, le=4096)]


class Event(msgspec.Struct):
    """Something that the user did."""

    kind: Literal["press", "release", "grab", "move", "let_go", "leave"]
    """The method of `Hands`."""
    key: Annotated[str, Meta(max_length=20)] = ""
    x: Pixel = 0
    y: Pixel = 0


class Wish(msgspec.Struct):
    """The body of a request: what the picture should be like, and what happened since the last one."""

    width: Side
    height: Side
    """Pixels."""
    scale: Annotated[float, Meta(ge=0.5, le=4)]
    """Pixels per point."""
    events: Annotated[list[Event], Meta(max_length=1000)] = []


def served(title: str, frames_per_second: float, port: int = 0) -> "Page":
    """A page, whose address is printed."""
    page = Page(title, frames_per_second, port)
    print(f"open {page.address}   (Ctrl-C ends)", flush=True)
    return page


class _Asked(NamedTuple):
    wish: Wish
    answer: "queue.SimpleQueue[Picture]"


class Page(Hands):
    """Serves views to a browser; a stand-in for `robot_room.viewer.Viewer`.

    Args:
        title: the page's title.
        frames_per_second: maximum rate at which `show` returns; 0: it does not wait for a browser.
        port: 0: any that is free.

    Attributes:
        address: where to look, with the token.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, title: str, frames_per_second: float, port: int = 0) -> None:
        super().__init__()
        self._title, self._seconds = title, 1 / frames_per_second if frames_per_second else 0.0
        self._token = secrets.token_urlsafe(24)
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._closed, self._last = threading.Event(), 0.0
        self._picture: Picture | None = None
        self._server = make_server(
            HOST, port, self._respond, threaded=True, request_handler=_QuietHandler
        )
        self.address = f"http://{HOST}:{self._server.server_port}/?token={self._token}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, view: View) -> bool:
        """Answer all who wait for a picture; if nobody does, wait for the first one."""
        asked = self._next_asked()
        self.keys = []
        for each in asked:
            wish = each.wish
            size = wish.width, wish.height
            self._picture = to_picture(draw(view, size, wish.scale))
            self.see(layout(view, size, wish.scale).room)
            for event in wish.events:
                _happen(self, event)
            each.answer.put(self._picture)
        time.sleep(max(self._last + self._seconds - time.monotonic(), 0))
        self._last = time.monotonic()
        return True

    def _next_asked(self) -> list[_Asked]:
        """All requests that wait, at least one unless the rate is 0."""
        asked: list[_Asked] = []
        while True:
            try:
                block = not asked and self._seconds > 0
                asked.append(self._asked.get(block, 0.5 if block else None))
            except queue.Empty:  # woken every half second, for Ctrl-C
                if asked or self._seconds == 0:
                    return asked

    def picture(self) -> Picture:
        """The picture that was sent last, (height, width, 3); all black if there is none."""
        return np.zeros((*SIZE[::-1], 3), np.uint8) if self._picture is None else self._picture

    def close(self) -> None:
        """Tell the browsers that it is over, and stop serving."""
        self._closed.set()
        time.sleep(0.2)  # for requests that wait
        self._server.shutdown()
        self._server.server_close()

    # ---- in the server's threads ----------------------------------------------------------------

    def _respond(self, environ, start_response):  # pyright: ignore[reportMissingParameterType]
        request = Request(environ)
        request.max_content_length = LONGEST
        try:
            response = self._answer(request)
        except HTTPException as error:
            response = _empty(error.code or 400)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        token = request.args.get("token", "").encode()
        if not secrets.compare_digest(token, self._token.encode()):
            return _empty(HTTPStatus.FORBIDDEN)
        if (request.method, request.path) == ("GET", "/"):
            return self._html()
        if (request.method, request.path) != ("POST", "/frame"):
            return _empty(HTTPStatus.NOT_FOUND)
        try:
            wish = msgspec.json.decode(request.get_data(), type=Wish)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _empty(HTTPStatus.BAD_REQUEST)
        asked = _Asked(wish, queue.SimpleQueue())
        self._asked.put(asked)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._closed.is_set():
                return _empty(HTTPStatus.GONE)
            try:
                return Response(_jpeg(asked.answer.get(timeout=0.1)), mimetype="image/jpeg")
            except queue.Empty:
                continue
        return _empty(HTTPStatus.SERVICE_UNAVAILABLE)

    def _html(self) -> Response:
        nonce = secrets.token_urlsafe(12)
        text = HTML.read_text(encoding="utf-8").replace("NONCE", nonce)
        title = self._title.replace("&", "&amp;").replace("<", "&lt;")
        response = Response(text.replace("TITLE", title), mimetype="text/html")
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:"
        )
        return response


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open, and does not log."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: a terminal would fill with requests, and the token is in them."""


def _happen(hands: Hands, event: Event) -> None:
    if event.kind in ("press", "release"):
        getattr(hands, event.kind)(event.key)
    elif event.kind in ("grab", "move"):
        getattr(hands, event.kind)((event.x, event.y))
    else:
        getattr(hands, event.kind)()


def _jpeg(picture: Picture) -> bytes:
    """Without coarser colours, in which thin lines would fade; a sixth of the time of a PNG."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def _empty(status: int) -> Response:
    """An answer without contents, after which the connection is closed: its request may be unread."""
    return Response(status=status, headers={"Connection": "close"})
