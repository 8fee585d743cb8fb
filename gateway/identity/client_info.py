"""The user agent and address that auth stores for each session."""

from __future__ import annotations

import ipaddress

from starlette.requests import HTTPConnection

from repruv.auth.v1 import auth_pb2

MAX_USER_AGENT = 400


def client_info(request: HTTPConnection) -> auth_pb2.Client:
    """Return the user agent, cut to 400 characters, and the address of the client. Both may be empty."""
    agent = request.headers.get("user-agent", "")[:MAX_USER_AGENT]
    return auth_pb2.Client(user_agent=agent, ip_address=_address(request.client.host) if request.client else "")


def _address(host: str) -> str:
    """Return the host if it is an IP address, else nothing: proxies forward `unknown` and other names (RFC 7239, 6)."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    return host
