"""The endpoint by which the gateway of `make up` reaches `control`: HTTP on 127.0.0.1, with a token that only the gateway gets.

One thread answers one request at a time; a client that is silent for `SOCKET_SECONDS` is disconnected.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from dev.launcher.control import Control, RequestRefused

SOCKET_SECONDS = 5.0
LARGEST_BODY = 1_000

Answer = dict[str, Any]


class ControlServer:
    """Listens on a free port from its creation on."""

    def __init__(self, control: Control) -> None:
        self.token = secrets.token_urlsafe(32)
        self._control = control
        self._server = HTTPServer(("127.0.0.1", 0), _handler(control, self.token))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the compose file that configure it for the gateway."""
        return {"BREAK_URL": self.url, "BREAK_TOKEN": self.token}

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Answer requests while the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._control.close()
            self._server.shutdown()
            self._server.server_close()
            thread.join(SOCKET_SECONDS)


def _handler(control: Control, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SOCKET_SECONDS

        def do_GET(self) -> None:
            self._answer(lambda: _read(control, self.path))

        def do_POST(self) -> None:
            self._answer(lambda: _act(control, self.path, self._body()))

        def log_message(self, *_: object) -> None:
            """Log nothing: the launcher logs what is done."""

        def _body(self) -> dict[str, str]:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                raise RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large")
            try:
                body = json.loads(self.rfile.read(int(length)) or b"{}")
            except ValueError:
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "body_invalid") from None
            if not isinstance(body, dict):
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "body_invalid")
            return {str(name): str(value) for name, value in body.items()}

        def _answer(self, act: Callable[[], Answer]) -> None:
            try:
                _require_token(self.headers.get("Authorization", ""), token)
                status, answer = HTTPStatus.OK, act()
            except RequestRefused as refused:
                status, answer = refused.status, {"code": refused.code}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _require_token(authorization: str, token: str) -> None:
    if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
        raise RequestRefused(HTTPStatus.UNAUTHORIZED, "token_invalid")


def _read(control: Control, path: str) -> Answer:
    if path != "/breaks":
        raise RequestRefused(HTTPStatus.NOT_FOUND, "not_found")
    return {"breaks": control.recent()}


def _act(control: Control, path: str, body: dict[str, str]) -> Answer:
    match path.strip("/").split("/"):
        case ["breaks"]:
            return control.break_part(body.get("part", ""), body.get("job_id", ""))
        case ["breaks", break_id, "progress"]:
            control.note_progress(break_id)
            return {}
        case ["slow"]:
            control.slow_down()
            return {}
    raise RequestRefused(HTTPStatus.NOT_FOUND, "not_found")
