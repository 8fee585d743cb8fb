"""Access control of rpcs: the certificate must be of the service that signed the call, and that service must be allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import grpc

from chassis import errors, identity, logs, tracing
from chassis.rpc import credentials, metadata

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Authorize = Callable[[identity.Caller], None]
"""Raises an error for a caller whose call is refused."""


class AllExcept:
    """Callers of an rpc: every trusted service except the named ones. A new service is then allowed without an edit."""

    def __init__(self, *names: str) -> None:
        self.excluded = frozenset(names)

    def __contains__(self, service: object) -> bool:
        return service not in self.excluded


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """A guarded rpc."""

    service: str
    """The service that implements it; calls must be signed for this audience."""
    name: str
    full_name: str = ""
    """With package and service, as spans name it."""
    callers: Container[str]
    scope: str = ""
    """The scope with which an API token may make this call; empty: no API token may."""
    authorize: Authorize | None = None


class Admission:
    """The guard of a server."""

    def __init__(self, verifier: identity.Verifier, *, is_encrypted: bool) -> None:
        """With `is_encrypted` every connection has a certificate, which must agree with the signature."""
        self._verifier = verifier
        self._is_encrypted = is_encrypted

    def admit(self, context: Context, rpc: Rpc) -> str:
        """Set the identity and request id of the call; return its position in a trace. Raise an error for a call to refuse.

        A refused signature of a service is `Unavailable` (`identity_refused`): its cause is a key or a clock, and
        `Unauthenticated` would sign the user out. A call without a signature is `Unauthenticated`.
        """
        metadata_ = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        logs.request_id.set(metadata_.get(metadata.REQUEST_ID, ""))
        token = metadata_.get(metadata.AUTHORIZATION, "").removeprefix("Bearer ")
        service = self._service(token, rpc)
        if self._is_encrypted and (peer := credentials.peer(context.auth_context())) != service:
            raise errors.Unauthenticated(
                f"The call is signed by {service}, the certificate is of {peer or 'nobody'}.",
                code="certificate_mismatch",
            )
        if service not in rpc.callers:
            raise errors.PermissionDenied(f"{service} may not call {rpc.name}.", code="caller_not_allowed")
        user_token = metadata_.get(metadata.USER_IDENTITY, "")
        user = self._verifier.user(user_token) if user_token else None
        if user is not None and user.scopes is not None:
            identity.require_scope(user.scopes, rpc.scope)
        caller = identity.Caller(service=service, user=user, user_token=user_token)
        if rpc.authorize is not None:
            rpc.authorize(caller)
        identity.current.set(caller)
        return tracing.read(metadata_.get(metadata.TRACEPARENT, ""))

    def _service(self, token: str, rpc: Rpc) -> str:
        try:
            return self._verifier.service(token, rpc.service)
        except errors.Unauthenticated as error:
            if not token:
                raise
            cause = repr(error.__cause__)[:300]
            logger.error("service identity refused", extra={"rpc": rpc.name, "cause": cause})  # noqa: TRY400
            raise errors.Unavailable(
                "The identity of the calling service was refused. Try again.", code="identity_refused"
            ) from error
