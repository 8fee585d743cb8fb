"""Errors to HTTP: the one place where an error becomes a status code and an RFC 9457 problem."""

from __future__ import annotations

import http
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from chassis import errors, logs
from gateway import weights

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "1"
MAX_MISTAKES = 20
"""Of one request that are reported."""

_STATUSES: dict[str, int] = {
    errors.InvalidArgument.status: 422,
    errors.OutOfRange.status: 400,
    errors.Unauthenticated.status: 401,
    errors.PermissionDenied.status: 403,
    errors.NotFound.status: 404,
    errors.AlreadyExists.status: 409,
    errors.FailedPrecondition.status: 409,
    errors.Aborted.status: 409,
    errors.ResourceExhausted.status: 429,
    errors.Unavailable.status: 503,
    errors.DeadlineExceeded.status: 504,
    errors.Internal.status: 500,
}
# Codes whose HTTP status differs from that of their class.
_STATUSES_BY_CODE = {
    # A misconfiguration of our own services, not an error of the client.
    "caller_not_allowed": 500,
    "idempotency_key_reused": 422,
    "idempotency_key_invalid": 400,
    "not_acceptable": 406,
    "unsupported_media_type": 415,
}
_CODES_BY_STATUS = {
    400: "malformed_json",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
}
_API = "/api/v1"
_WITHOUT_HEAD = ("/events", "/events/poll", "/callback", "/file")
"""Ends of paths whose GET holds a request open, changes state or reads a file: HEAD is a 405 there."""
_INTERNAL_DETAIL = "Something went wrong on our side. If it happens again, contact support with the request ID."


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An RFC 9457 problem as a client gets it."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    """Offending inputs: `{field, detail}`."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The code in words; the same for every occurrence."""
        return self.code.replace("_", " ").capitalize()


def problem_of(error: Exception) -> Problem:
    """Return the problem of `error`; an error not meant for clients becomes `internal`."""
    if isinstance(error, errors.Error):
        return _of_error(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    return Problem(status=500, code="internal", detail=_INTERNAL_DETAIL)


def response(problem: Problem) -> Response:
    """Write a problem as JSON."""
    request_id = logs.request_id.get()
    body = {
        "type": f"urn:repruv:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request_id,
        "code": problem.code,
        "errors": list(problem.errors),
        "request_id": request_id,
    }
    return JSONResponse(body, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


Page = Callable[[Request, Problem], Awaitable[Response]]


class ErrorResponder:
    """Renders errors as problems, or as a page for requests that accept HTML."""

    def __init__(self, page: Page | None = None) -> None:
        self._page = page

    async def __call__(self, request: Request, error: Exception) -> Response:
        """Return the response to a request that failed with `error`."""
        problem = problem_of(error)
        if problem.status == 405:
            problem = _of_path(request, problem)
        if problem.status == 500:
            logger.error("request failed", exc_info=error, extra={"path": request.url.path})
        if self._page is not None and _wants_page(request):
            return await self._page(request, problem)
        return response(problem)

    async def send(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that a middleware refuses with `error`."""
        response = await self(Request(scope), error)
        await response(scope, receive, send)

    def install(self, app: FastAPI) -> None:
        """Handle every error that a route of `app` raises."""
        for kind in (errors.Error, RequestValidationError, HTTPException):
            app.add_exception_handler(kind, self)


def answers_head(path: str) -> bool:
    """Return whether HEAD is answered where GET is."""
    return not path.endswith(_WITHOUT_HEAD)


def _of_path(request: Request, problem: Problem) -> Problem:
    """Set `Allow` to the methods of all routes of the path; the router only names those of the first route."""
    path = _API + getattr(request.scope.get("route"), "path", "")
    if documented := request.app.openapi()["paths"].get(path):
        methods = ", ".join(map(str.upper, documented))
        if answers_head(request.url.path):
            methods = methods.replace("GET", "GET, HEAD")
    else:
        pages = (route for route in request.app.router.routes if isinstance(route, Route))
        of_path = (route.methods or () for route in pages if route.matches(request.scope)[0] is not Match.NONE)
        methods = ", ".join(sorted(set().union(*of_path))) or problem.headers["Allow"]
    return replace(problem, headers={"Allow": methods})


def _wants_page(request: Request) -> bool:
    accepted = weights.read(request.headers.getlist("accept"))
    return not request.url.path.startswith("/api/") and accepted.get("text/html", 0.0) > 0


def _of_error(error: errors.Error) -> Problem:
    status = _STATUSES_BY_CODE.get(error.code) or _STATUSES.get(error.status, 500)
    if status == 500:
        return Problem(status=500, code="internal", detail=_INTERNAL_DETAIL)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.code == "scope_missing":  # RFC 6750, 3.1
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.details.get("scope", "")}"'
    if status in {429, 503, 504}:
        headers["Retry-After"] = error.details.get("retry_after_seconds", RETRY_SECONDS)
    offending = [{"field": field, "detail": message} for field, message in error.mistakes.items()]
    return Problem(status=status, code=error.code, detail=error.message, errors=offending, headers=headers)


def _of_validation(error: RequestValidationError) -> Problem:
    mistakes: list[dict[str, Any]] = list(error.errors()[:MAX_MISTAKES])
    if any(mistake["type"] == "json_invalid" for mistake in mistakes):
        return Problem(status=400, code="malformed_json", detail="The body is not valid JSON.")
    # Never the input itself: it may be a password.
    named = [{"field": _field(mistake["loc"]), "detail": _detail(mistake)} for mistake in mistakes]
    detail = " ".join(f"{item['field']}: {item['detail']}" for item in named[:5])
    return Problem(status=422, code="invalid_argument", detail=detail, errors=named)


_DETAILS: Mapping[str, str] = {
    "missing": "Required.",
    "extra_forbidden": "There is no such field.",
    "string_type": "Must be a text.",
    "string_too_short": "Must have at least {min_length} characters.",
    "string_too_long": "Must have at most {max_length} characters.",
    "string_pattern_mismatch": "Has the wrong form.",
    "int_type": "Must be a whole number.",
    "int_parsing": "Must be a whole number.",
    "bool_type": "Must be true or false.",
    "bool_parsing": "Must be true or false.",
    "float_type": "Must be a number.",
    "float_parsing": "Must be a number.",
    "greater_than_equal": "Must be at least {ge}.",
    "greater_than": "Must be above {gt}.",
    "less_than_equal": "Must be at most {le}.",
    "less_than": "Must be below {lt}.",
    "literal_error": "Must be {expected}.",
    "enum": "Must be {expected}.",
    "datetime_parsing": "Must be a time as in ISO 8601.",
    "datetime_from_date_parsing": "Must be a time as in ISO 8601.",
    "uuid_parsing": "Must be a UUID.",
    "list_type": "Must be a list.",
    "too_long": "Must have at most {max_length} items.",
    "dict_type": "Must be an object.",
    "model_attributes_type": "Must be an object.",
}
"""What is wrong with an input, by the type of pydantic's error."""


def _detail(mistake: Mapping[str, Any]) -> str:
    if mistake["type"] == "value_error":  # one of our own validators
        message = str(mistake["ctx"]["error"])
        return f"{message[:1].upper()}{message[1:]}."
    sentence = _DETAILS.get(mistake["type"])
    return sentence.format(**mistake.get("ctx", {})) if sentence else str(mistake["msg"])


def _field(location: Sequence[int | str]) -> str:
    """Return the name of an input without the leading `body` or `query`."""
    inner = location[1:] if len(location) > 1 else location
    return ".".join(str(part) for part in inner)


def _of_http(error: HTTPException) -> Problem:
    phrase = http.HTTPStatus(error.status_code).phrase
    code = _CODES_BY_STATUS.get(error.status_code, phrase.lower().replace(" ", "_"))
    detail = "Nothing was found at this address." if error.detail == phrase == "Not Found" else error.detail
    return Problem(status=error.status_code, code=code, detail=detail, headers=dict(error.headers or {}))
