"""A gRPC channel to all replicas of a service that follows the renewal of the certificate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc

from repruv_client.credentials import ChannelCredentials

CLOSE_SECONDS = 30.0
"""How long calls under way may still take on a channel that is replaced."""
_OPTIONS: list[tuple[str, int | str]] = [
    # A frozen replica is disconnected within two seconds.
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A channel with a new certificate must not take over the connections of the one before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A hundred claimed jobs of the maximum size.
    ("grpc.max_receive_message_length", 64 << 20),
    # `Client.call` retries: it knows which calls may be repeated and how long the service asks to wait.
    ("grpc.enable_retries", 0),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]


class Channel(grpc.aio.Channel):
    """The stubs of a `*_pb2_grpc` module take it as their channel."""

    def __init__(self, callee: str, target: str, credentials: ChannelCredentials) -> None:
        """`callee` is the service that the certificate at `target` must name, whatever its address."""
        self.callee = callee
        scheme = "ipv4:" if "," in target else "dns:///"
        self._target = f"{scheme}{target}"
        self._options = [*_OPTIONS, ("grpc.ssl_target_name_override", callee)]
        self._credentials = credentials
        self._used = credentials.current()
        self._inner = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        if self._credentials.current() is not self._used:
            closing = asyncio.create_task(self._inner.close(CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._used = self._credentials.current()
            self._inner = self._open()
        return self._inner

    async def close(self, grace: float | None = None) -> None:
        for closing in self._closing:
            closing.cancel()
        await self._inner.close(grace)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, lambda channel: channel.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, lambda channel: channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, lambda channel: channel.stream_stream(method, *args, **kwargs))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self._target, self._used, options=self._options)


class Method:
    """An rpc of a channel, bound to the present connections at each call."""

    def __init__(self, channel: Channel, bind: Callable[[grpc.aio.Channel], Any]) -> None:
        self.callee = channel.callee
        self._channel = channel
        self._bind = bind

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = self._channel.current()
        # gRPC crashes the process when a method is bound to a closed channel.
        if current.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
            raise grpc.aio.UsageError("The client is closed.")
        return self._bind(current)(*args, **kwargs)
