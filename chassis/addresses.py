"""Where callers come from, as limits count it."""

from __future__ import annotations

import functools
import ipaddress


@functools.lru_cache(maxsize=10_000)
def network(host: str) -> str:
    """Give the network that a caller comes from: the address itself, or the /64 that an IPv6 customer has for itself (RFC 6177).

    What is no address stays what it is.
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
