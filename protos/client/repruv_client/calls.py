"""Calls as one service, with their retries and their errors."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from repruv_client.channel import Channel, Method
from repruv_client.credentials import Certificate, ChannelCredentials, Signer

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

ATTEMPTS = 5
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 2.0
_TEMPORARY = (
    grpc.StatusCode.UNAVAILABLE,
    # Of a server that stops: a cancellation by this process raises `asyncio.CancelledError`.
    grpc.StatusCode.CANCELLED,
)


class CallFailed(Exception):
    """The service refused the call, or did not answer."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
        self.status = error.code()
        self.code = trailers.get("error-code", "")
        """Stable and machine-readable, such as `queue_full`; empty when no service answered."""
        self.field = trailers.get("error-field", "")
        """The invalid field of the request; may be empty."""
        self.message = error.details() or ""
        self.details = {
            key.removeprefix("error-detail-").replace("-", "_"): value
            for key, value in trailers.items()
            if key.startswith("error-detail-")
        }
        """Further details, such as `retry_after_seconds`."""
        super().__init__(f"{self.status.name} {self.code}: {self.message}")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the service asks to try again; None if it does not."""
        try:
            return float(self.details["retry_after_seconds"])
        except (KeyError, ValueError):
            return None

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status in _TEMPORARY or self.retry_after is not None


class Client:
    """Calls Repruv's services as one service. Use it within one event loop, as an asynchronous context manager."""

    def __init__(self, service: str, *, identity_key: str, certificate: Certificate) -> None:
        """`service` is the name that the certificate and the identity key belong to. Raises `CredentialsUnusable`."""
        self._signer = Signer(service, identity_key)
        self._credentials = ChannelCredentials(certificate)
        self._channels: list[Channel] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    def channel(self, service: str, target: str) -> grpc.aio.Channel:
        """Return a channel for the stubs of `service` (`auth`, `demo`, `jobs`). It is closed with the client.

        `target` is host:port, where the name resolves to all replicas, or several IPv4 addresses with ports, separated by commas.
        """
        channel = Channel(service, target, self._credentials)
        self._channels.append(channel)
        return channel

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float,
        idempotent: bool = False,
        user_identity: str = "",
    ) -> Response:
        """Call an rpc of a stub. Return its response, or raise `CallFailed`.

        `timeout` bounds the call with its retries, in seconds. The call waits for a service that is down. With `idempotent`
        a call that fails temporarily is repeated, at most four times: after the time that the service asks for, or after a
        random pause of up to 0.1, 0.2, 0.4, 0.8 s. Without, it is never sent twice. `user_identity` is the identity of the
        user for whom the call is made, as received in `x-user-identity`.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response: Response = await method(
                    request,
                    timeout=max(ends_at - loop.time(), 0.0),
                    metadata=self._metadata(method, user_identity),
                    wait_for_ready=True,
                )
            except grpc.aio.AioRpcError as error:
                failure = CallFailed(error)
                pause = _pause(failure, attempt)
                if not (idempotent and failure.is_temporary and attempt < ATTEMPTS and loop.time() + pause < ends_at):
                    raise failure from error
            else:
                return response
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        user_identity: str = "",
    ) -> AsyncGenerator[Response, None]:
        """Call a streaming rpc of a stub. Yield its responses, or raise `CallFailed`.

        Without `timeout` the stream lasts as long as its replica, and then ends with UNAVAILABLE: call again, from where you are.
        Close the generator to leave early (`contextlib.aclosing`).
        """
        call = method(request, timeout=timeout, metadata=self._metadata(method, user_identity), wait_for_ready=True)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise CallFailed(error) from error
        finally:
            call.cancel()

    def _metadata(self, method: Any, user_identity: str) -> Sequence[tuple[str, str]]:
        if not isinstance(method, Method):
            raise TypeError("The stub's channel is not one of Client.channel.")
        signature = ("authorization", f"Bearer {self._signer.token(method.callee)}")
        return (signature, ("x-user-identity", user_identity)) if user_identity else (signature,)


def _pause(failure: CallFailed, attempt: int) -> float:
    if failure.retry_after is not None:
        return failure.retry_after
    return random.uniform(0.0, min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), MAX_PAUSE_SECONDS))  # noqa: S311


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562): the id of a job, chosen by its caller so that a repeated submit is the same job."""
    value = (
        (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    )
    return str(uuid.UUID(int=value))
