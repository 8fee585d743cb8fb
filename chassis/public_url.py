"""The address at which browsers reach the gateway, in one spelling."""

from __future__ import annotations

from urllib.parse import urlsplit

import idna

_PORTS = {"http": 80, "https": 443}


def normalize(url: str) -> str:
    """Return an address as browsers write it into `Origin`: lower case, xn-- form, without default port and final slash.

    Raise `ValueError` for anything but http(s)://host[:port].
    """
    parts = urlsplit(url.strip())
    port = parts.port
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not host or parts.username is not None or parts.path.strip("/"):
        raise ValueError("it must look like https://app.example.org")
    if parts.query or parts.fragment:
        raise ValueError("it must not have a query or a fragment")
    if not host.isascii():
        host = idna.encode(host, uts46=True, transitional=False).decode()
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")
