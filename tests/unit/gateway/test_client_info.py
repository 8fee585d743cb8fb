"""What auth learns about the client of a request."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from gateway.identity import client_info


def address_of(host: str) -> str:
    scope = {"type": "http", "headers": [], "client": (host, 0)}
    return client_info.client_info(HTTPConnection(scope)).ip_address


@pytest.mark.parametrize(
    "host", ["unknown", "_hidden", "203.0.113.7:http", "[2001:db8::1", "256.1.1.1", "\x00", "\xe9", ""]
)
def test_a_forwarded_value_that_is_no_address_is_left_out(host: str) -> None:
    assert address_of(host) == ""


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "fe80::1%eth0"])
def test_an_address_is_passed_on(host: str) -> None:
    assert address_of(host) == host
