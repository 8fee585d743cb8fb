"""Dependencies of the API's routes: container, session, parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator

from chassis import errors
from gateway import inputs
from gateway.api import schemas
from gateway.container import Container
from gateway.identity import authentication, sessions
from repruv.auth.v1 import auth_pb2

# Dependencies are coroutines even if they do not wait: FastAPI runs plain functions in a thread, which costs more.


async def container_of(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


Gateway = Annotated[Container, Depends(container_of)]


async def signed_in(request: Request, gateway: Gateway) -> sessions.Session:
    """Return the session of a request. Raises `Unauthenticated`, and `SessionRequired` for an API token."""
    return await authentication.session_of(request, gateway.sessions, gateway.cookie)


SignedIn = Annotated[sessions.Session, Depends(signed_in)]
"""For routes that no API token may use."""


async def may_read(request: Request, gateway: Gateway) -> sessions.Session:
    """Return the session of a request, or the API token with the scope read. Raises as `session_of`."""
    return await authentication.session_of(request, gateway.sessions, gateway.cookie, scope="read")


async def may_write(request: Request, gateway: Gateway) -> sessions.Session:
    """Return the session of a request, or the API token with the scope write. Raises as `session_of`."""
    return await authentication.session_of(request, gateway.sessions, gateway.cookie, scope="write")


ReadSession = Annotated[sessions.Session, Depends(may_read)]
WriteSession = Annotated[sessions.Session, Depends(may_write)]
_SCOPES: dict[object, str] = {may_read: "read", may_write: "write"}


def scope_of(route: APIRoute) -> str:
    """Return the scope with which an API token may use a route; empty: none may."""
    scopes = (_SCOPES.get(dependency.call, "") for dependency in route.dependant.dependencies)
    return next(filter(None, scopes), "")


async def admin(session: SignedIn) -> sessions.Session:
    """Return the session of an admin. The services check the role too, but answer other users with their own rows only."""
    if session.user.role != auth_pb2.USER_ROLE_ADMIN:
        raise errors.PermissionDenied("Only admins can do that.", code="admin_required")
    return session


Admin = Annotated[sessions.Session, Depends(admin)]

PageSize = Annotated[
    int, Query(ge=1, description="More than 100 counts as 100."), AfterValidator(lambda requested: min(requested, 100))
]
PageToken = Annotated[schemas.Text, Query(description="A page token of another page, with the same filters.")]


async def job_id(job_id: str) -> str:
    """Read a job's id from the path."""
    return inputs.parse_id(job_id, "job")


JobId = Annotated[str, Depends(job_id)]


async def user_id(user_id: str) -> str:
    """Read a user's id from the path."""
    return inputs.parse_id(user_id, "user")


async def session_id(session_id: str) -> str:
    """Read a session's id from the path."""
    return inputs.parse_id(session_id, "session")


async def passkey_id(passkey_id: str) -> str:
    """Read a passkey's id from the path."""
    return inputs.parse_id(passkey_id, "passkey")


async def token_id(token_id: str) -> str:
    """Read an API token's id from the path."""
    try:
        return inputs.parse_id(token_id, "token")
    except errors.NotFound as error:
        raise errors.NotFound("There is no such API token.", code="api_token_not_found") from error


UserId = Annotated[str, Depends(user_id)]
SessionId = Annotated[str, Depends(session_id)]
PasskeyId = Annotated[str, Depends(passkey_id)]
TokenId = Annotated[str, Depends(token_id)]
