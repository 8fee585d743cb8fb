"""Network addresses: those that processes listen on, and networks of callers as rate limits count them."""

from __future__ import annotations

import functools
import ipaddress
import re

_LISTEN = re.compile(r"(\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})")


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of `0.0.0.0:9090` or `[::]:9090`, the host without brackets. Raises `ValueError`."""
    parts = _LISTEN.fullmatch(text)
    if parts is None or (port := int(parts["port"])) > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return parts["ipv6"] or parts["host"], port


@functools.lru_cache(maxsize=10_000)
def network(host: str) -> str:
    """Return the network of a caller: the IPv4 address, or the /64 of an IPv6 address, which one customer owns (RFC 6177).

    Anything else is returned unchanged.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
