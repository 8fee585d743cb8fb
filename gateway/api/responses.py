"""Responses of the API's routes, and their documentation in OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from gateway import problems

BASE = "/api/v1"
PUBLIC: dict[str, Any] = {"security": []}
"""OpenAPI of routes that need no session."""
OPTIONAL_SESSION: dict[str, Any] = {"security": [{}, {"cookie": []}, {"bearer": []}]}
"""OpenAPI of routes that also work without a session."""
OpenApiResponses = dict[int | str, dict[str, Any]]
_MEANINGS = {
    400: "The request is malformed.",
    401: "No valid session or API token.",
    403: "Another site sent the request, or the user or API token is not allowed to do this; `code` has the reason.",
    404: "It does not exist, or belongs to another user.",
    406: "The client does not accept an event stream.",
    408: "The body did not arrive. Try again.",
    409: "The current state does not allow it; `code` has the reason.",
    413: "The body is larger than 64 KiB.",
    415: "The body is compressed, or not JSON in UTF-8.",
    422: "An input is invalid; `errors` names it.",
    429: "Too many requests; `Retry-After` has the delay.",
    503: "A service is unavailable. Try again.",
    504: "A service did not answer in time; the request may have had an effect.",
}
_ALWAYS = (401, 422, 429, 503, 504)


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


def starting_job(summary: str, model: type) -> dict[str, Any]:
    """Return the arguments of a route that starts a job, and takes an idempotency key."""
    accepted = "Accepted; `Location` is the job."
    return route(summary, model, accepted, 400, 403, 409, status=202, extra=_IDEMPOTENCY)


def by_emailed_link(summary: str, description: str) -> dict[str, Any]:
    """Return the arguments of a route that takes the token of an emailed link, with or without a session."""
    return route(summary, None, description, 400, 403, 429, status=204, extra=PUBLIC)


def documented(status: int, model: type | None, description: str, *problem_statuses: int) -> OpenApiResponses:
    """Return the OpenAPI responses of a route: its success, and its problems besides those of every route."""
    responses: OpenApiResponses = {status: {"description": description, **({"model": model} if model else {})}}
    for code in sorted({*problem_statuses, *_ALWAYS}):
        responses[code] = problem_response(code)
    return responses


def problem_response(status: int) -> dict[str, Any]:
    """Return the OpenAPI response of a problem."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _MEANINGS[status], "content": content}


def header(name: str, description: str, schema: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the OpenAPI parameter of an optional request header."""
    return {"name": name, "in": "header", "schema": schema or {"type": "string"}, "description": description}


def response_headers(**descriptions: str) -> dict[str, Any]:
    """Return the OpenAPI headers of a response; `_` in a name stands for `-`."""
    return {
        name.replace("_", "-"): {"schema": {"type": "string"}, "description": description}
        for name, description in descriptions.items()
    }


_IDEMPOTENCY = {
    "parameters": [
        header(
            "Idempotency-Key",
            "The same key with the same request gives the same job for 24 hours.",
            {"type": "string", "pattern": "^[!-~]{1,255}$"},
        )
    ],
    "responses": {
        "202": {
            "headers": response_headers(
                Location="The job.", Idempotency_Replayed="`true` if an earlier request with the same key was accepted."
            )
        }
    },
}
