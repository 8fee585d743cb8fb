"""The form of a payload, from the JSON Schema of its kind."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from chassis import errors
from gateway.pages.admin import payload_form
from worker import Kind


@dataclass(frozen=True)
class Order:
    """A payload of every type that has a field of its own."""

    name: str
    count: int
    share: float = 0.5
    is_gift: bool = False
    size: Literal["small", "large"] = "small"
    tags: list[str] = field(default_factory=list)
    token: str | None = None
    address: dict[str, Any] = field(default_factory=dict)


async def _handle(context: Any, order: Order) -> None: ...


def schema_of(payload: Any) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(Kind("demo.order", _handle, payload=payload).registrations()[0].payload_schema)
    return schema


def test_fields_follow_from_the_dataclass() -> None:
    form = payload_form.fields(schema_of(Order), {"name": "Ada", "token": "•••", "count": 3.0}, ["token"])
    assert [(each.name, each.type, each.is_required, each.value) for each in form] == [
        ("name", "text", True, "Ada"),
        ("count", "integer", True, "3"),
        ("share", "number", False, "0.5"),
        ("is_gift", "boolean", False, ""),
        ("size", "choice", False, "small"),
        ("tags", "lines", False, ""),
        ("token", "text", False, ""),
        ("address", "json", False, ""),
    ]
    assert [each.name for each in form if each.is_sensitive] == ["token"]


def test_a_sent_form_is_the_payload() -> None:
    form = payload_form.fields(schema_of(Order), {}, [])
    fields = {each.key: "" for each in form} | {
        "payload.name": "Ada",
        "payload.count": "3",
        "payload.is_gift": "yes",
        "payload.tags": "a\r\n\r\n b ",
        "payload.address": '{"city": "Paris"}',
    }
    assert payload_form.read(form, fields) == {
        "name": "Ada",
        "count": 3,
        "is_gift": True,
        "tags": ["a", "b"],
        "address": {"city": "Paris"},
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", ""),
        ("count", "many"),
        ("count", "1.5"),
        ("count", "true"),
        ("share", "x"),
        ("size", "huge"),
        ("address", "{"),
    ],
)
def test_an_invalid_value_names_its_field(name: str, text: str) -> None:
    form = payload_form.fields(schema_of(Order), {}, [])
    fields = {each.key: "" for each in form} | {"payload.name": "Ada", "payload.count": "1", f"payload.{name}": text}
    with pytest.raises(errors.InvalidArgument) as excinfo:
        payload_form.read(form, fields)
    assert excinfo.value.field == f"payload.{name}"


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"properties": []},
        {"properties": {}},
        {"properties": {f"field{number}": {} for number in range(50)}},
        {"properties": {"payload": {"type": "string"}}},
    ],
)
def test_without_fields_the_payload_is_json(schema: dict[str, Any] | None) -> None:
    (whole,) = payload_form.fields(schema, {"name": "Ada", "token": "•••"}, ["token"])
    assert (whole.key, whole.value) == ("payload", '{\n  "name": "Ada"\n}')
    assert payload_form.read([whole], {"payload": '{"a": [1]}'}) == {"a": [1]}
    for wrong in ("[]", "{", "1"):
        with pytest.raises(errors.InvalidArgument):
            payload_form.read([whole], {"payload": wrong})


def test_odd_schemas_still_have_fields() -> None:
    odd = {"a": True, "b": {"$ref": "#/$defs/none"}, "c": {"anyOf": [1, {"type": "null"}]}, "d": {"enum": [1]}}
    assert [each.type for each in payload_form.fields({"properties": odd}, {}, [])] == ["json"] * 4


def test_a_schema_that_is_too_large_is_left_out() -> None:
    large = dataclasses.make_dataclass("Large", [(f"field_{number}" * 20, int) for number in range(200)])
    assert Kind("demo.order", _handle, payload=large).registrations()[0].payload_schema == ""
    assert Kind("demo.order", _handle).registrations()[0].payload_schema == ""
