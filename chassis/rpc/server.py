"""The gRPC server of a service: signed callers only, deadlines, typed errors, health, reflection, graceful stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chassis import errors, identity, logs
from chassis.rpc import metadata

logger = logging.getLogger(__name__)

DEFAULT_DEADLINE = 10.0
MAX_DEADLINE = 60.0
STOP_GRACE = 5.0

OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Makes clients resolve names anew, so that they find replicas that came later (grpc/grpc#12295).
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.max_receive_message_length", 1 << 20),
]

Translate = Callable[[Exception], errors.Error | None]


@asynccontextmanager
async def serving(
    *,
    listen: str,
    service: str,
    register: Callable[[grpc.aio.Server], None],
    verifier: identity.Verifier,
    callers: Mapping[str, frozenset[str]],
    translate: Translate,
) -> Any:
    """Serve `service` (its full proto name) until the context ends; yields the port.

    `callers` says for each rpc which services may use it; an rpc that is not named can be used by none. `translate` turns
    what libraries raise (a database that is gone) into our errors; what it gives back None for becomes INTERNAL.
    """
    server = grpc.aio.server(options=OPTIONS, interceptors=[_Interceptor(service, verifier, callers, translate)])
    register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((service, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(listen)
    await server.start()
    for name in ("", service):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    logger.info("serving", extra={"rpc": service, "port": port})
    try:
        yield port
    finally:
        await health_servicer.enter_graceful_shutdown()
        await server.stop(STOP_GRACE)


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(
        self,
        service: str,
        verifier: identity.Verifier,
        callers: Mapping[str, frozenset[str]],
        translate: Translate,
    ) -> None:
        self._prefix = f"/{service}/"
        self._verifier = verifier
        self._callers = callers
        self._translate = translate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        details = handler_call_details
        handler = await continuation(details)
        # Health and reflection are for anybody who reaches the port, and every rpc of ours is unary.
        if handler is None or handler.unary_unary is None or not details.method.startswith(self._prefix):
            return handler
        rpc = details.method.removeprefix(self._prefix)
        return grpc.unary_unary_rpc_method_handler(
            self._guard(rpc, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guard(
        self, rpc: str, method: Callable[[Any, Any], Awaitable[Message]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        allowed = self._callers.get(rpc, frozenset())

        async def guarded(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            try:
                self._admit(context, rpc, allowed)
                async with asyncio.timeout(_deadline(context)):
                    response: Message = await method(request, context)
                    return response
            except Exception as error:  # noqa: BLE001 - every error is told to the caller
                failure = self._failure(rpc, error)
            return await context.abort(_status(failure), failure.message, trailing_metadata=_trailers(failure))

        return guarded

    def _admit(self, context: grpc.aio.ServicerContext[Any, Any], rpc: str, allowed: frozenset[str]) -> None:
        sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        logs.request_id.set(sent.get(metadata.REQUEST_ID, ""))
        service = self._verifier.service(sent.get(metadata.AUTHORIZATION, "").removeprefix("Bearer "))
        if service not in allowed:
            raise errors.PermissionDenied(f"{service} may not call {rpc}.", code="caller_not_allowed")
        user_token = sent.get(metadata.USER_IDENTITY, "")
        user = self._verifier.user(user_token) if user_token else None
        identity.current.set(identity.Caller(service=service, user=user, user_token=user_token))

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


def _deadline(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    remaining = context.time_remaining()
    return DEFAULT_DEADLINE if remaining is None else min(remaining, MAX_DEADLINE)


def _status(error: errors.Error) -> grpc.StatusCode:
    return grpc.StatusCode[error.status]


def _trailers(error: errors.Error) -> Sequence[tuple[str, str]]:
    trailers = [(metadata.ERROR_CODE, error.code)]
    if error.field:
        trailers.append((metadata.ERROR_FIELD, error.field))
    trailers += [(metadata.ERROR_DETAIL_PREFIX + key.replace("_", "-"), value) for key, value in error.details.items()]
    return tuple(trailers)
