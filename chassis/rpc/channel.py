"""A channel that reconnects within seconds after any outage and presents the current certificate.

gRPC resolves an unknown name at growing intervals, up to two minutes, and no option changes that. A container
that is down has no name, so its callers would notice its return that much
later. Hence a channel that has been failing for some
seconds is replaced by a new one, which resolves the name at once. So is
one whose certificate has been replaced on disk, and one whose
peer does not answer; calls under way end on the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from chassis import metrics, tls
from chassis.rpc import credentials, metadata

RENEW_SECONDS = 5.0
CONNECT_SECONDS = 0.4
"""Age from which connections that are not established are replaced."""
MIN_AGE_SECONDS, MAX_AGE_SECONDS = 1.0, 30.0
"""Age from which established connections that do not answer are replaced. It doubles each time: the peers may only be slow."""
CLOSE_SECONDS = 30.0
"""How long calls that wait on a replaced channel may still take; their own deadlines are shorter."""


class Channel(grpc.aio.Channel):
    """Behaves as `grpc.aio.secure_channel` does, or `insecure_channel` without a certificate."""

    def __init__(
        self,
        target: str,
        options: Sequence[tuple[str, Any]],
        *,
        certificate: tls.Certificate | None = None,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        """`renew_seconds` is how long it may fail before it is replaced. Raises `tls.CertificateUnusable`."""
        self._target = target
        self._options = options
        self._certificate = certificate
        self._used_material: tls.Material | None = None
        self._renew_seconds = renew_seconds
        self._min_age = MIN_AGE_SECONDS
        self._inner = self._open()
        self._failing_since: float | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        if self._certificate is not None and self._certificate.material() is not self._used_material:
            self._replace()
        if self._inner.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()
        elif time.monotonic() - self._failing_since > self._renew_seconds:
            self._failing_since = None
            self._replace()
        return self._inner

    def renew(self) -> None:
        """Open new connections for later calls: a peer does not answer. A frozen peer accepts none, so the others serve them."""
        age = time.monotonic() - self._opened_at
        if self._inner.get_state() is not grpc.ChannelConnectivity.READY:
            if age > CONNECT_SECONDS:
                self._replace()
        elif age > self._min_age:
            self._min_age = MIN_AGE_SECONDS if age > MAX_AGE_SECONDS else min(2 * self._min_age, MAX_AGE_SECONDS)
            self._replace()

    def _open(self) -> grpc.aio.Channel:
        self._opened_at = time.monotonic()
        if self._certificate is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        self._used_material = self._certificate.material()
        return grpc.aio.secure_channel(
            self._target, credentials.for_channel(self._used_material), options=self._options
        )

    def _replace(self) -> None:
        closing = asyncio.create_task(self._inner.close(CLOSE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._inner = self._open()

    async def close(self, grace: float | None = None) -> None:
        for closing in self._closing:
            closing.cancel()
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, method, lambda channel: channel.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, method, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, method, lambda channel: channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(self, method, lambda channel: channel.stream_stream(method, *args, **kwargs))

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Method:
    """An rpc of a channel, whichever channel that is at the moment."""

    def __init__(self, channel: Channel, name: str, bind: Callable[[grpc.aio.Channel], Any]) -> None:
        self.name = name.removeprefix("/")
        self.service = metadata.service_of(name)
        """The service that is called."""
        rpc = name.rpartition("/")[2]
        self.calls = metrics.Calls(metrics.CLIENT_CALLS, metrics.CLIENT_SECONDS, self.service, rpc)
        self._channel = channel
        self._bind = bind
        self._bound_to: grpc.aio.Channel | None = None
        self._bound: Any = None

    def renew(self) -> None:
        """Open new connections for later calls."""
        self._channel.renew()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = self._channel.current()
        if current is not self._bound_to:
            # gRPC crashes the process when a method is bound to a closed channel.
            if current.get_state() is grpc.ChannelConnectivity.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            self._bound, self._bound_to = self._bind(current), current
        return self._bound(*args, **kwargs)
