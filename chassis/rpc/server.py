"""The gRPC server of a service: signed callers only, deadlines, typed errors, health, reflection, graceful stop."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chassis import errors, identity, metrics, tls, tracing
from chassis.rpc import admission, credentials, metadata, shares

logger = logging.getLogger(__name__)

DEFAULT_DEADLINE = 10.0
MAX_DEADLINE = 60.0
STOP_GRACE = 5.0

OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 250),
    ("grpc.http2.max_ping_strikes", 0),
    # Makes clients resolve names again, so that they find later replicas (grpc/grpc#12295).
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    # Watches stay open. One caller may hold all watches of a replica and needs streams for its other calls.
    ("grpc.max_concurrent_streams", 12_000),
    # 4 MiB of jobs plus the rest of the message.
    ("grpc.max_receive_message_length", 5 << 20),
]

_ATTRIBUTES = {"rpc.system": "grpc"}

Translate = Callable[[Exception], errors.Error | None]
Context = admission.Context
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: str
    """The full proto name."""
    register: Callable[[grpc.aio.Server], None]
    callers: Mapping[str, Container[str]]
    """The services that may call each rpc. No service may call an rpc without an entry."""
    scopes: Mapping[str, str] = field(default_factory=dict)
    """The scope with which an API token may make each rpc. No API token may make an rpc without an entry."""
    authorize: admission.Authorize | None = None
    """Called before each rpc."""

    @classmethod
    def from_servicer(
        cls,
        servicer: object,
        callers: Mapping[str, Container[str]],
        scopes: Mapping[str, str] | None = None,
        *,
        authorize: admission.Authorize | None = None,
    ) -> Service:
        """Return the service that `servicer` implements: a subclass of a class of a `*_pb2_grpc` module."""
        base = next(base for base in type(servicer).__mro__ if base.__module__.endswith("_pb2_grpc"))
        add = getattr(sys.modules[base.__module__], f"add_{base.__name__}_to_server")
        messages = sys.modules[base.__module__.removesuffix("_grpc")]
        descriptor = messages.DESCRIPTOR.services_by_name[base.__name__.removesuffix("Servicer")]
        return cls(
            name=descriptor.full_name,
            register=partial(add, servicer),
            callers=callers,
            scopes=scopes or {},
            authorize=authorize,
        )


@asynccontextmanager
async def serving(
    *,
    listen: str,
    services: Sequence[Service],
    verifier: identity.Verifier,
    translate: Translate,
    certificate: tls.Certificate | None = None,
) -> AsyncIterator[int]:
    """Serve `services` until the context ends; yield the port.

    With `certificate`, the certificate of this process, callers need a certificate that names the service that signed the call.
    Without, connections are plain: for tests, and for connections within a machine.

    `translate` converts errors of libraries (an unreachable database) into our errors; errors for which it returns None become
    INTERNAL. Streams that are open when the context ends get UNAVAILABLE `restarting`, so the shutdown does not wait for them.
    """
    streams = _Streams()
    guard = admission.Admission(verifier, is_encrypted=certificate is not None)
    server = grpc.aio.server(options=OPTIONS, interceptors=[_Interceptor(services, guard, translate, streams)])
    for service in services:
        service.register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credential = credentials.for_server(certificate) if certificate else None
    port = server.add_secure_port(listen, credential) if credential else server.add_insecure_port(listen)
    await server.start()
    for name in ("", *names):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    logger.info("serving", extra={"rpc": ", ".join(names), "port": port})
    try:
        yield port
    finally:
        await health_servicer.enter_graceful_shutdown()
        streams.stop()
        await server.stop(STOP_GRACE)


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(
        self, services: Sequence[Service], guard: admission.Admission, translate: Translate, streams: _Streams
    ) -> None:
        self._services = {service.name: service for service in services}
        self._admission = guard
        self._translate = translate
        self._streams = streams
        self._shares = shares.Shares()
        for service in services:
            for rpc in service.callers:
                # Prometheus sees no increase in a counter that appears with its first event.
                metrics.SERVER_CALLS.labels(metadata.service_of(service.name), rpc, metrics.INTERNAL)
        self._guarded: dict[str, Handler | None] = {}
        """The handler of each rpc of this server that was called."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        if method not in self._guarded:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # unknown rpcs are not cached: there is no bound on their names
            self._guarded[method] = self._guarded_handler(method, handler)
        return self._guarded[method]

    def _guarded_handler(self, method: str, handler: Handler) -> Handler | None:
        """Return the handler with its access control; None for an rpc that cannot be guarded."""
        service_name, _, name = method.removeprefix("/").rpartition("/")
        # Health and reflection are open to every client that can connect.
        if (service := self._services.get(service_name)) is None:
            return handler
        rpc = admission.Rpc(
            service=metadata.service_of(method),
            name=name,
            full_name=method.removeprefix("/"),
            callers=service.callers.get(name, frozenset()),
            scope=service.scopes.get(name, ""),
            authorize=service.authorize,
        )
        coding = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._guard(rpc, handler.unary_unary), **coding)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._guard_stream(rpc, handler.unary_stream), **coding)
        # No rpc here takes a stream of requests.
        return None

    def _guard(
        self, rpc: admission.Rpc, method: Callable[[Any, Any], Awaitable[Message]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        calls = metrics.Calls(metrics.SERVER_CALLS, metrics.SERVER_SECONDS, rpc.service, rpc.name)

        async def guarded(request: Message, context: Context) -> Message:
            started = time.perf_counter()
            code = metrics.CANCELLED
            try:
                traceparent = self._admission.admit(context, rpc)
                user = identity.caller().user
                with tracing.remote(rpc.full_name, traceparent, "server", _ATTRIBUTES):
                    async with asyncio.timeout(_deadline(context)):
                        if user is None:
                            response: Message = await method(request, context)
                        else:
                            async with self._shares.place(user.user_id):
                                response = await method(request, context)
                        code = metrics.OK
                        return response
            except Exception as error:  # noqa: BLE001 - every error is reported to the caller
                failure = self._failure(rpc.name, error)
                code = failure.status
                return await _abort(context, failure)
            finally:
                calls.record_end(code, started)

        return guarded

    def _guard_stream(
        self, rpc: admission.Rpc, method: Callable[[Any, Any], Any]
    ) -> Callable[[Any, Any], AsyncGenerator[Message, None]]:
        calls = metrics.Calls(metrics.SERVER_CALLS, metrics.SERVER_SECONDS, rpc.service, rpc.name)

        async def guarded(request: Message, context: Context) -> AsyncGenerator[Message, None]:
            code = metrics.CANCELLED
            try:
                self._admission.admit(context, rpc)
                # No deadline here: the stream ends when the caller leaves, at the caller's deadline, or with this server.
                stream: AsyncGenerator[Message, None] = method(request, context)
                async with aclosing(stream) as responses:
                    async for response in self._streams.until_stopped(responses):
                        yield response
                code = metrics.OK
            except Exception as error:  # noqa: BLE001 - every error is reported to the caller
                failure = self._failure(rpc.name, error)
                code = failure.status
                await _abort(context, failure)
            finally:
                calls.record_end(code)

        return guarded

    def _failure(self, rpc: str, error: Exception) -> errors.Error:
        if isinstance(error, errors.Error):
            return error
        if isinstance(error, TimeoutError):
            return errors.DeadlineExceeded()
        if (translated := self._translate(error)) is not None:
            logger.warning("call failed", extra={"rpc": rpc, "cause": repr(error)[:300]})
            return translated
        logger.error("call failed", exc_info=error, extra={"rpc": rpc})
        return errors.Internal("Something went wrong on our side.")


class _Streams:
    """The open streams of a server."""

    def __init__(self) -> None:
        self._is_stopping = False
        self._waiting: set[asyncio.Timeout] = set()

    async def until_stopped(self, responses: AsyncGenerator[Message, None]) -> AsyncGenerator[Message, None]:
        """Yield the responses. Raise `restarting` when the server stops."""
        while not self._is_stopping:
            try:
                async with asyncio.timeout(None) as waiting:
                    self._waiting.add(waiting)
                    response = await anext(responses, None)
            except TimeoutError:
                if not waiting.expired():
                    raise
                break
            finally:
                self._waiting.discard(waiting)
            if response is None:
                return
            yield response
        raise errors.Unavailable("This replica is stopping; call again.", code="restarting")

    def stop(self) -> None:
        """End all streams: those that wait for a response at once, the others before their next response."""
        self._is_stopping = True
        for waiting in self._waiting:
            waiting.reschedule(asyncio.get_running_loop().time())


def _deadline(context: Context) -> float:
    remaining = context.time_remaining()
    return DEFAULT_DEADLINE if remaining is None else min(remaining, MAX_DEADLINE)


async def _abort(context: Context, failure: errors.Error) -> NoReturn:
    await context.abort(grpc.StatusCode[failure.status], failure.message, trailing_metadata=_trailers(failure))


def _trailers(error: errors.Error) -> Sequence[tuple[str, str]]:
    trailers = [(metadata.ERROR_CODE, error.code)]
    if error.field:
        trailers.append((metadata.ERROR_FIELD, error.field))
    trailers += [(metadata.ERROR_DETAIL_PREFIX + key.replace("_", "-"), value) for key, value in error.details.items()]
    return tuple(trailers)
