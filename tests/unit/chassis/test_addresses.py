"""Network addresses of callers."""

from __future__ import annotations

import pytest

from chassis import addresses


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", "somewhere"),
    ],
)
def test_network_is_the_prefix_of_one_customer(host: str, network: str) -> None:
    assert addresses.network(host) == network


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7:9090", ("192.0.2.7", 9090)),
        ("jobs:0", ("jobs", 0)),
        ("[::]:9090", ("::", 9090)),
        ("[::1]:1", ("::1", 1)),
    ],
)
def test_host_and_port_of_an_address(text: str, address: tuple[str, int]) -> None:
    assert addresses.host_and_port(text) == address


@pytest.mark.parametrize(
    "text", ["9090", ":9090", "::9090", "::1:9090", "[::1]", "[::1]9090", "[]:9090", "a:b:1", "a:65536", "a:-1", "a:"]
)
def test_text_of_another_form_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        addresses.host_and_port(text)
