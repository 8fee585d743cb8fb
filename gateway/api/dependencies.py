"""Dependencies and helpers of the API's routes: container, session, parameters, responses and their documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator
from starlette.responses import JSONResponse, Response

from chassis import errors
from gateway import inputs, problems
from gateway.api import schemas
from gateway.container import Container
from gateway.identity import authentication, sessions
from repruv.auth.v1 import auth_pb2

BASE = "/api/v1"
PUBLIC: dict[str, Any] = {"security": []}
"""OpenAPI of routes that need no session."""
MAYBE: dict[str, Any] = {"security": [{}, {"cookie": []}, {"bearer": []}]}
"""OpenAPI of routes that also work without a session."""
Documented = dict[int | str, dict[str, Any]]
_MEANINGS = {
    400: "The request is malformed.",
    401: "No valid session or API token.",
    403: "Another site sent the request, or the user or API token is not allowed to do this; `code` has the reason.",
    404: "It does not exist, or belongs to another user.",
    406: "The client does not accept an event stream.",
    409: "The current state does not allow it; `code` has the reason.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not JSON in UTF-8.",
    422: "An input is invalid; `errors` names it.",
    429: "Too many requests; `Retry-After` has the delay.",
    503: "A service is unavailable; try again.",
    504: "A service did not answer in time; the request may have had an effect.",
}
_ALWAYS = (401, 422, 429, 503, 504)


# Dependencies are coroutines even if they do not wait: FastAPI runs plain functions in a thread, which costs more.


async def container_of(request: Request) -> Container:
    """Return the container."""
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


Reads = Annotated[sessions.Session, Depends(may_read)]
Writes = Annotated[sessions.Session, Depends(may_write)]
_SCOPES: dict[object, str] = {may_read: "read", may_write: "write"}


def scope_of(route: APIRoute) -> str:
    """Return the scope with which an API token may use a route; empty: none may."""
    scopes = (_SCOPES.get(dependency.call, "") for dependency in route.dependant.dependencies)
    return next(filter(None, scopes), "")


async def admin(session: SignedIn) -> sessions.Session:
    """Return the session of an admin. The services check the role too, but answer other users with their own rows only."""
    if session.user.role != auth_pb2.USER_ROLE_ADMIN:
        raise errors.PermissionDenied("Only admins may do that.", code="admin_required")
    return session


Admin = Annotated[sessions.Session, Depends(admin)]

PageSize = Annotated[
    int, Query(ge=1, description="More than 100 counts as 100."), AfterValidator(lambda requested: min(requested, 100))
]
PageToken = Annotated[schemas.Text, Query(description="A page token of another page, with the same filters.")]


async def job_id(job_id: str) -> str:
    """Read a job's id from the path."""
    return inputs.parsed_id(job_id, "job")


JobId = Annotated[str, Depends(job_id)]


async def user_id(user_id: str) -> str:
    """Read a user's id from the path."""
    return inputs.parsed_id(user_id, "user")


async def session_id(session_id: str) -> str:
    """Read a session's id from the path."""
    return inputs.parsed_id(session_id, "session")


async def passkey_id(passkey_id: str) -> str:
    """Read a passkey's id from the path."""
    return inputs.parsed_id(passkey_id, "passkey")


async def token_id(token_id: str) -> str:
    """Read an API token's id from the path."""
    try:
        return inputs.parsed_id(token_id, "token")
    except errors.NotFound as error:
        raise errors.NotFound("There is no such API token.", code="api_token_not_found") from error


UserId = Annotated[str, Depends(user_id)]
SessionId = Annotated[str, Depends(session_id)]
PasskeyId = Annotated[str, Depends(passkey_id)]
TokenId = Annotated[str, Depends(token_id)]


def answer(body: Mapping[str, object], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response that no cache may keep."""
    return JSONResponse(body, status, headers={"Cache-Control": "private, no-store", **(headers or {})})


def accepted(body: Mapping[str, object], job_id: str, *, replayed: bool) -> Response:
    """Return the response to an accepted job: 202, its `Location`, and whether the idempotency key was used before."""
    headers = {"Location": f"{BASE}/jobs/{job_id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return answer(body, 202, headers)


def route(
    summary: str,
    model: type | None,
    description: str,
    *problem_statuses: int,
    status: int = 200,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a route: its summary, its success and its problems. `extra` goes into OpenAPI."""
    responses = documented(status, model, description, *problem_statuses)
    return {"summary": summary, "status_code": status, "responses": responses, "openapi_extra": extra}


def documented(status: int, model: type | None, description: str, *problem_statuses: int) -> Documented:
    """Return the OpenAPI responses of a route: its success, and its problems besides those of every route."""
    responses: Documented = {status: {"description": description, **({"model": model} if model else {})}}
    of_bodies = {413, 415} if 400 in problem_statuses else set()
    for code in sorted({*problem_statuses, *_ALWAYS, *of_bodies}):
        responses[code] = problem_response(code)
    return responses


def problem_response(status: int) -> dict[str, Any]:
    """Return the OpenAPI response of a problem."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _MEANINGS[status], "content": content}


IDEMPOTENCY = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            "description": "The same key with the same request gives the same job for 24 hours.",
        }
    ]
}
