"""What clients send to the API: bounded, so that an invalid request costs little to refuse."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from gateway import app, labels, problems
from gateway.api import dependencies, schemas

MAX_ANSWER_BYTES = 2_048
METHODS = frozenset({"delete", "get", "options", "patch", "post", "put", "query", "trace"})
PARAMETER = re.compile(r"\{\w+\}")


@pytest.fixture(scope="module")
def application() -> FastAPI:
    application = FastAPI()
    app.include_api(application)
    # An invalid body is refused before anything is called.
    application.dependency_overrides[dependencies.container_of] = lambda: None
    problems.ErrorResponder().install(application)
    return application


@pytest.fixture
async def client(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/api/v1") as client:
        yield client


def test_every_list_that_clients_send_is_bounded(application: FastAPI) -> None:
    document = application.openapi()
    sent = [*_parameters(document), *_bodies(document)]
    lists = [schema for schema in sent for schema in _lists(schema, document)]
    assert len(lists) > 5
    assert [schema for schema in lists if "maxItems" not in schema] == []


async def test_methods_that_the_document_does_not_have_are_refused(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    described = {path: METHODS & item.keys() for path, item in application.openapi()["paths"].items()}
    for path in described:
        url = PARAMETER.sub("x", path)
        # The URL may match a path with parameters too.
        allowed = set().union(*(has for each, has in described.items() if _matches(each, url)))
        for method in METHODS - allowed:
            answer = await client.request(method, f"http://gateway{url}")
            assert answer.status_code == 405, (method, path)
            assert {name.lower() for name in answer.headers["allow"].split(", ")} <= {*allowed, "head"}, (method, path)


def _matches(path: str, url: str) -> bool:
    return re.fullmatch(PARAMETER.sub("[^/]+", path), url) is not None


def test_filter_of_security_events_may_name_all_kinds(application: FastAPI) -> None:
    parameters = application.openapi()["paths"]["/api/v1/admin/security-events"]["get"]["parameters"]
    (kinds,) = [parameter["schema"] for parameter in parameters if parameter["name"] == "kind"]
    assert kinds["maxItems"] >= len(labels.SECURITY_EVENTS)


@pytest.mark.parametrize(
    "body",
    [
        {f"x{number}": 0 for number in range(5_000)},
        {f"x{number}": 0 for number in range(schemas.MAX_FIELDS)},
        [0] * 20_000,
        {"email": [0] * 20_000, "password": {}},
    ],
    ids=["many fields", "fields", "list", "nested list"],
)
async def test_answer_to_a_body_of_many_mistakes_is_short(body: Any, client: httpx.AsyncClient) -> None:
    response = await client.post("/auth/login", json=body)
    assert response.status_code == 422
    assert len(response.content) < MAX_ANSWER_BYTES
    assert response.json()["errors"]


def test_mistake_of_ours_is_told_as_a_sentence() -> None:
    with pytest.raises(ValidationError) as raised:
        schemas.EnableDemo.model_validate({f"x{number}": 0 for number in range(schemas.MAX_FIELDS + 1)})
    mistakes = raised.value.errors()
    assert len(mistakes) == 1
    problem = problems.problem_of(RequestValidationError(mistakes))
    assert problem.errors[0]["detail"] == f"Must have at most {schemas.MAX_FIELDS} fields."


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"])
def test_time_outside_the_calendar_of_utc_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must be between the years 1 and 9999"):
        TypeAdapter(schemas.Moment).validate_python(text)


@pytest.mark.parametrize("text", ["2026-11-30T12:00:00", "2026-11-30T14:00:00+02:00", "2026-11-30T12:00:00Z"])
def test_time_is_in_utc(text: str) -> None:
    moment = TypeAdapter[datetime](schemas.Moment).validate_python(text)
    assert (moment, moment.tzinfo) == (datetime(2026, 11, 30, 12, tzinfo=UTC), UTC)


def _parameters(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        for operation in operations.values():
            yield from (parameter["schema"] for parameter in operation.get("parameters", ()))


def _bodies(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield content["schema"]


def _lists(schema: Any, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas of lists within a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from _lists(item, document)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from _lists(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if schema.get("type") == "array":
        yield schema
    for item in schema.values():
        yield from _lists(item, document)
