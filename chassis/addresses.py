"""Networks of callers, as rate limits count them."""

from __future__ import annotations

import functools
import ipaddress


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
