"""Errors to HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from chassis import errors as failures
from gateway import problems


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (failures.InvalidArgument("No.", field="niche"), 422, "invalid_argument"),
        (failures.OutOfRange(code="cursor_unknown"), 400, "cursor_unknown"),
        (failures.Unauthenticated(), 401, "unauthenticated"),
        (failures.PermissionDenied(code="cross_site_request"), 403, "cross_site_request"),
        (failures.NotFound(code="job_not_found"), 404, "job_not_found"),
        (failures.AlreadyExists(code="email_taken"), 409, "email_taken"),
        (failures.AlreadyExists(code="idempotency_key_reused"), 422, "idempotency_key_reused"),
        (failures.FailedPrecondition(code="demo_enabling"), 409, "demo_enabling"),
        (failures.Aborted(), 409, "aborted"),
        (failures.ResourceExhausted(code="too_many_attempts"), 429, "too_many_attempts"),
        (failures.Unavailable(), 503, "unavailable"),
        (failures.DeadlineExceeded(), 504, "deadline_exceeded"),
        (failures.Internal("secret"), 500, "internal"),
        (failures.Error("secret", code="odd"), 500, "internal"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (HTTPException(413), 413, "body_too_large"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int, code: str) -> None:
    problem = problems.problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert "secret" not in problem.detail


def test_every_class_of_error_is_mapped() -> None:
    kinds = set(failures.Error.__subclasses__()) | set(failures.Unavailable.__subclasses__())
    assert {
        kind for kind in kinds if kind is not failures.Internal and problems.problem_of(kind()).status == 500
    } == set()


def test_problem_has_all_fields() -> None:
    answer = problems.response(problems.problem_of(failures.InvalidArgument("Unknown niche.", field="niche")))
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert answer.media_type == "application/problem+json"
    assert body == {
        "type": "urn:repruv:problem:invalid_argument",
        "title": "Invalid argument",
        "status": 422,
        "detail": "Unknown niche.",
        "instance": "",
        "code": "invalid_argument",
        "errors": [{"field": "niche", "detail": "Unknown niche."}],
        "request_id": "",
    }


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (failures.Unavailable(), "1"),
        (failures.DeadlineExceeded(), "1"),
        (failures.ResourceExhausted(details={"retry_after_seconds": "17"}), "17"),
        (failures.ResourceExhausted(), "1"),
        (failures.NotFound(), None),
    ],
)
def test_problem_has_retry_after(error: failures.Error, after: str | None) -> None:
    assert problems.problem_of(error).headers.get("Retry-After") == after


def test_invalid_inputs_are_named_in_our_own_words() -> None:
    mistakes = [
        {"type": "missing", "loc": ("body", "email"), "msg": "Field required"},
        {"type": "less_than_equal", "loc": ("query", "page_size"), "msg": "Input should be …", "ctx": {"le": 100}},
        {"type": "of_another_library", "loc": ("body", "name"), "msg": "Something else."},
    ]
    problem = problems.problem_of(RequestValidationError(mistakes))
    assert problem.detail == "email: Required. page_size: Must be at most 100. name: Something else."
