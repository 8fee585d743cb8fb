"""The gRPC client of a process: signed calls with a deadline, errors as the classes of `chassis.errors`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from chassis import errors, identity, logs, metrics, tls, tracing
from chassis.rpc import channel as renewing
from chassis.rpc import metadata

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_PINGS = [
    # A peer that froze without closing its connections is disconnected within two seconds. Its connections answer pings
    # also while its event loop is busy.
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    # The keepalive timeout alone covers peers whose host is gone; a frozen process would keep its connections for a minute.
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
_OPTIONS = [
    # Connections that nothing has used for a minute are closed: their pings were a sixth of the cost of an idle system.
    ("grpc.client_idle_timeout_ms", 60_000),
    # A replaced channel must not take over the connections of the one before.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # A claim of a hundred jobs of the maximum size: a payload as a message can be twice its JSON.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_ATTRIBUTES = {"rpc.system": "grpc"}
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # A call to a stopping server gets CANCELLED. Cancellations by this process never arrive as a status.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}


def idempotent_rpcs(service: str) -> list[str]:
    """Return the rpcs, as service/method, that the proto of a service (its full name) declares idempotent.

    Its stubs must be imported.
    """
    methods = descriptor_pool.Default().FindServiceByName(service).methods
    return [f"{service}/{method.name}" for method in methods if method.GetOptions().idempotency_level]


def channel(
    target: str,
    *,
    service: str,
    idempotent: Iterable[str] = (),
    certificate: tls.Certificate | None = None,
    pings: bool = True,
) -> grpc.aio.Channel:
    """Open a channel to `target` for `service` (its full proto name), balanced over all its addresses.

    `target` is host:port with a name that resolves to all replicas, or several addresses with ports, separated by commas, all
    IPv4 or all IPv6. Calls of the rpcs in `idempotent` (service/method) are retried when the connection breaks. With
    `certificate`, the certificate of this process, the server needs a certificate for the service; its host name and address do
    not matter. Without, the connection is plain. `pings` find a peer that is frozen; a process that calls itself needs none.
    Close the channel with `await channel.close()`.
    """
    names = [{"service": name, "method": method} for name, method in (rpc.split("/") for rpc in idempotent)]
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": _RETRY}] if names else [],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    options: list[tuple[str, int | str]] = [
        *_OPTIONS,
        *(_PINGS if pings else ()),
        ("grpc.service_config", json.dumps(config)),
    ]
    if certificate is not None:
        options.append(("grpc.ssl_target_name_override", metadata.service_of(service)))
    scheme = "dns:///" if "," not in target else "ipv6:" if target.startswith("[") else "ipv4:"
    return renewing.Channel(f"{scheme}{target}", options, certificate=certificate)


class Caller:
    """Makes calls as one service."""

    def __init__(self, signer: identity.Signer, certificate: tls.Certificate | None = None) -> None:
        """`certificate` belongs to the same service as the signer, for code that opens channels for these calls."""
        self._signer = signer
        self.certificate = certificate
        self._hedged_calls: set[asyncio.Task[Any]] = set()

    async def __call__(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float,
        user_token: str | None = None,
        wait_for_ready: bool = True,
    ) -> Response:
        """Call `method`. Return its response, or raise its error.

        `user_token` is the identity of the user of the call; the default is the user of the call being handled.
        With `wait_for_ready` the call outlasts a restart of the server, up to its deadline; without, it fails at once with
        `Unavailable` when the server is down.
        """
        with tracing.span(getattr(method, "name", ""), "client", _ATTRIBUTES):
            calls, call_metadata = self._begin(method, user_token)
            started = time.perf_counter()
            code = metrics.CANCELLED
            try:
                response: Response = await method(
                    request, timeout=timeout, metadata=call_metadata, wait_for_ready=wait_for_ready
                )
                code = metrics.OK
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                raise _error(error) from error
            finally:
                calls.record_end(code, started)
            return response

    async def hedged(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float,
        hedge_seconds: float,
        user_token: str | None = None,
        wait_for_ready: bool = True,
    ) -> Response:
        """Call an idempotent `method`, and again every `hedge_seconds` on new connections until one call is answered.

        Return the first response, or raise the first error if no response has arrived with it. Calls without a response are left
        to end by their deadline.
        """
        calls: set[asyncio.Task[Response]] = set()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout
        while (left := ends_at - loop.time()) > 0:
            if calls and isinstance(method, renewing.Method):
                method.renew()
            call = asyncio.create_task(
                self(method, request, timeout=timeout, user_token=user_token, wait_for_ready=wait_for_ready)
            )
            # A call that nothing awaits any more needs a reference, and its error must be retrieved.
            self._hedged_calls.add(call)
            call.add_done_callback(self._on_hedged_call_done)
            calls.add(call)
            done, _ = await asyncio.wait(calls, timeout=min(hedge_seconds, left), return_when=asyncio.FIRST_COMPLETED)
            if done:
                return min(done, key=lambda each: each.exception() is not None).result()
        raise errors.DeadlineExceeded()

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        user_token: str | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Call a streaming `method`. Yield its responses, and raise its error.

        Without `timeout` the stream lasts as long as the peer: a frozen peer ends it with `Unavailable` within two seconds.
        Fails at once with `Unavailable` when the server is down. To leave early, close the generator (`contextlib.aclosing`).
        """
        calls, call_metadata = self._begin(method, user_token)
        call = method(request, timeout=timeout, metadata=call_metadata)
        code = metrics.CANCELLED
        try:
            async for response in call:
                yield response
            code = metrics.OK
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            raise _error(error) from error
        finally:
            call.cancel()
            calls.record_end(code)

    def _on_hedged_call_done(self, call: asyncio.Task[Any]) -> None:
        self._hedged_calls.discard(call)
        if not call.cancelled():
            call.exception()

    def _begin(self, method: object, user_token: str | None) -> tuple[metrics.Calls, tuple[tuple[str, str], ...]]:
        """Return the metrics and the metadata of a call."""
        if not isinstance(method, renewing.Method):
            raise TypeError("the rpc does not belong to a channel of this module")
        entries = [(metadata.AUTHORIZATION, f"Bearer {self._signer.caller_token(method.service)}")]
        if user_token is None:
            caller = identity.current.get()
            user_token = caller.user_token if caller else ""
        if user_token:
            entries.append((metadata.USER_IDENTITY, user_token))
        if request_id := logs.request_id.get():
            entries.append((metadata.REQUEST_ID, request_id))
        if traceparent := tracing.position():
            entries.append((metadata.TRACEPARENT, traceparent))
        return method.calls, tuple(entries)


def _error(error: grpc.aio.AioRpcError) -> errors.Error:
    trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    code = trailers.get(metadata.ERROR_CODE, "")
    details = {
        key.removeprefix(metadata.ERROR_DETAIL_PREFIX).replace("-", "_"): value
        for key, value in trailers.items()
        if key.startswith(metadata.ERROR_DETAIL_PREFIX)
    }
    is_stopping = error.code() is grpc.StatusCode.CANCELLED
    kind = errors.Unavailable if is_stopping else errors.by_status(error.code().name)
    # Without our code it is gRPC's own text. That text names addresses and must not be shown.
    message = (error.details() or "") if code else ""
    return kind(message, code=code, field=trailers.get(metadata.ERROR_FIELD, ""), details=details)
