"""What auth records about the client of a request."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from repruv.auth.v1 import auth_pb2

MAX_USER_AGENT = 400


def client_info(request: HTTPConnection) -> auth_pb2.Client:
    """Return the user agent, cut to 400 characters, and the address of the client. Both may be empty."""
    agent = request.headers.get("user-agent", "")[:MAX_USER_AGENT]
    return auth_pb2.Client(user_agent=agent, ip_address=request.client.host if request.client else "")
