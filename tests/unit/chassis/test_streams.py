"""URLs of NATS with several hosts."""

from __future__ import annotations

import pytest

from chassis import streams

A, B, C = (f"nats://u:p@{host}:4222" for host in "abc")


@pytest.mark.parametrize(
    ("url", "servers", "replicas"),
    [
        (A, [A], 1),
        ("nats://u:p@a:4222,b:4222", [A, B], 1),
        ("nats://u:p@a:4222,b:4222,c:4222", [A, B, C], 3),
        (f"{A},{B},{C}", [A, B, C], 3),
        ("nats://a:1", ["nats://a:1"], 1),
    ],
)
def test_each_host_is_a_server_and_three_keep_each_message(url: str, servers: list[str], replicas: int) -> None:
    assert streams.servers(url) == servers
    assert streams.replicas(url) == replicas


@pytest.mark.parametrize("url", ["nats://u:p@a:1", "nats://u:p@a:1,b:1", "nats://u:p@a:1,nats://u:p@b:1"])
def test_replies_go_to_the_inbox_of_the_user(url: str) -> None:
    assert streams.inbox_prefix(url) == "_INBOX.u"
