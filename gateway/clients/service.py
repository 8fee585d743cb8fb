"""The base of clients: a channel to each process, deadlines, and errors that tell whether the call may have had an effect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Generic, ParamSpec, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import errors
from chassis.circuit_breaker import CircuitBreaker
from chassis.rpc import client

TIMEOUT = 3.0
QUICK_TIMEOUT = 1.0
HEALTH_TIMEOUT = 1.0
DOWNLOAD_TIMEOUT = 600.0
MAX_TRIES = 8
"""Calls of open rpcs of a service at once. Half of the smallest limit of concurrent requests (`middleware.overload`)."""
MAX_TRIES_PER_USER = 4
"""As many as a page makes at once: it is complete on the first load after an outage."""

P = ParamSpec("P")
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Rpc(Generic[P, Request, Response]):
    """An rpc. It takes the signed identity of the user, and the fields of the request; the protos document both."""

    def __init__(
        self,
        client: Client,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Callable[P, Request],
    ) -> None:
        self._client = client
        self._method = method
        self._request = request

    def __call__(self, identity: str, *args: P.args, **fields: P.kwargs) -> Awaitable[Response]:
        """Call it. Raises the error in the response."""
        return self._client.call(self._method, self._request(*args, **fields), identity)

    def quick(self, identity: str, *args: P.args, **fields: P.kwargs) -> Awaitable[Response]:
        """Call it, and fail soon while the service is unavailable."""
        return self._client.call(self._method, self._request(*args, **fields), identity, quick=True)

    def public(self, *args: P.args, **fields: P.kwargs) -> Awaitable[Response]:
        """Call it without a user."""
        return self._client.call(self._method, self._request(*args, **fields), "")

    def send(self, identity: str, request: Request, *, quick: bool = False) -> Awaitable[Response]:
        return self._client.call(self._method, request, identity, quick=quick)


class Peer:
    """A process that serves gRPC services, reached over one channel."""

    def __init__(self, name: str, target: str, caller: client.Caller) -> None:
        package = f"repruv.{name}.v1"
        services = [each.descriptor for each in Client.__subclasses__() if each.descriptor.file.package == package]
        self.name = name
        self.caller = caller
        self.breaker = CircuitBreaker(
            name, max_tries=MAX_TRIES, max_tries_per_user=MAX_TRIES_PER_USER, silence=(errors.DeadlineExceeded,)
        )
        self.channel = client.channel(
            target,
            service=services[0].full_name,
            idempotent=[rpc for service in services for rpc in client.idempotent_rpcs(service.full_name)],
            certificate=caller.certificate,
        )

    async def close(self) -> None:
        """Close the channel; running calls have one second to finish."""
        await self.channel.close(grace=1.0)

    async def is_ready(self) -> bool:
        """Return whether the process reports that it is serving."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Client:
    """Calls of one gRPC service of a peer. A peer's channel retries the idempotent rpcs of all subclasses."""

    descriptor: ServiceDescriptor
    timeout = TIMEOUT
    quick_timeout = QUICK_TIMEOUT

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def rpc(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Callable[P, Request]
    ) -> Rpc[P, Request, Response]:
        """Return an rpc of this service; `request` is the class of its requests."""
        return Rpc(self, method, request)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        identity: str,
        *,
        quick: bool = False,
    ) -> Response:
        """Return the response to `request`, or raise the error in it."""
        timeout = self.quick_timeout if quick else self.timeout
        rpc: str = getattr(method, "name", "")
        try:
            with self._peer.breaker.call(rpc, identity):
                return await self._peer.caller(
                    method, request, timeout=timeout, user_token=identity, wait_for_ready=not quick
                )
        except errors.DeadlineExceeded as error:
            if self._peer.channel.get_state() is grpc.ChannelConnectivity.READY:
                raise
            # The call was never sent: it has had no effect.
            raise errors.Unavailable(f"The {self._peer.name} service isn't responding. Try again.") from error

    async def download(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Any], request: Request, identity: str
    ) -> AsyncGenerator[bytes, None]:
        """Yield the parts of a file. Raises the error in the response before the first one."""
        call = self._peer.caller.stream(method, request, timeout=DOWNLOAD_TIMEOUT, user_token=identity)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response.data
