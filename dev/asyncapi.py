"""Generates docs/asyncapi.json: FastStream describes the NATS messages of all services from their channels.

Payloads are protobuf. Their schemas describe the JSON form (ProtoJSON) with the field names of the protos.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from pydantic import BaseModel, Field, create_model

from chassis.channels import Channel
from gateway.app import VERSION
from protos import descriptors
from provision.services import SERVICES

TARGET = Path(__file__).parents[1] / "docs" / "asyncapi.json"
_DESCRIPTION = """\
The messages that the services of Repruv publish over NATS. Payloads are protobuf messages; `x-protobuf-message` names the type.
The schemas describe their JSON form. Any field may be absent: protobuf omits defaults. Messages of a stream (`x-stream`) are
delivered at least once; the header `Nats-Msg-Id` identifies them. All others are broadcasts, which may be lost.
A header `traceparent` (W3C) has the trace that a message belongs to, if traces are recorded."""
# FastStream's message names contain a colon, which keys of components must not contain.
_FOREIGN, _SEPARATOR = ":Message", ".message"
_FORMATS = {
    "google.protobuf.Timestamp": {"format": "date-time"},
    "google.protobuf.Duration": {"pattern": r"^-?\d+(\.\d+)?s$"},
}
_LONG = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_SCALARS: dict[int, type] = {
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_STRING: str,
}


def channels() -> Iterator[Channel]:
    """Yield the channels of all services."""
    for service in SERVICES:
        yield from importlib.import_module(f"services.{service}.channels").CHANNELS


def generate() -> str:
    broker = NatsBroker("nats://nats:4222")
    models = _Models()
    named = {channel.address.partition(".{")[0]: channel for channel in channels()}
    for name, channel in named.items():
        comment = descriptors.comments()[channel.message.DESCRIPTOR.full_name]
        schema = models.model_of(channel.message.DESCRIPTOR)
        broker.publisher(channel.address, title=name, description=comment, schema=schema)
    api = AsyncAPI(broker, title="Repruv", version=VERSION, description=_DESCRIPTION, schema_version="3.0.0")
    document: dict[str, Any] = json.loads(api.to_specification().to_json().replace(_FOREIGN, _SEPARATOR))
    for name, channel in sorted(named.items()):
        _complete(document, name, channel)
    document["servers"] = {"nats": {"host": "nats:4222", "protocol": "nats"}}
    document["defaultContentType"] = "application/x-protobuf"
    _tidy(document["components"]["schemas"])
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _complete(document: dict[str, Any], name: str, channel: Channel) -> None:
    """Add what FastStream does not know about a channel, and remove what is wrong for it."""
    described = document["channels"][name]
    del described["servers"], described["bindings"]
    if channel.parameter:
        described["parameters"] = {channel.parameter: {"description": _parameter(channel)}}
    if channel.stream:
        described["x-stream"] = channel.stream
    message = document["components"]["messages"][f"{name}{_SEPARATOR}"]
    del message["correlationId"]
    full_name = channel.message.DESCRIPTOR.full_name
    message |= {"name": channel.message.DESCRIPTOR.name, "x-protobuf-message": full_name}


def _parameter(channel: Channel) -> str:
    return (
        "A job kind, such as `demo.enable`, or another subject that the description of the channel names."
        if channel.parameter == "kind"
        else "The UUID of a user."
    )


def _tidy(schemas: dict[str, Any]) -> None:
    """Remove keys without information: titles of fields, and `required`, since protobuf omits defaults."""
    for schema in schemas.values():
        schema.pop("required", None)
        for field in schema.get("properties", {}).values():
            field.pop("title", None)


class _Models:
    """Pydantic models of protobuf messages. FastStream writes their schemas."""

    def __init__(self) -> None:
        self._models: dict[str, type[BaseModel]] = {}

    def model_of(self, message: Any) -> type[BaseModel]:
        """Return the model of a message. The recursion ends, because no message contains itself."""
        if message.full_name not in self._models:
            fields: dict[str, Any] = {field.name: self._field(field) for field in message.fields}
            comment = descriptors.comments()[message.full_name]
            self._models[message.full_name] = create_model(message.name, __doc__=comment, **fields)
        return self._models[message.full_name]

    def _field(self, field: Any) -> tuple[Any, Any]:
        extra: dict[str, Any] = {}
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            kind: Any = dict[str, self._type(field.message_type.fields_by_name["value"])]  # type: ignore[misc]
        else:
            kind = self._type(field)
            if field.message_type is not None:
                extra = _FORMATS.get(field.message_type.full_name, {})
            if field.is_repeated:
                kind = list[kind]
        comment = descriptors.comments()[f"{field.containing_type.full_name}.{field.name}"]
        return kind, Field(description=comment, json_schema_extra=extra or None)

    def _type(self, field: Any) -> Any:
        if field.message_type is not None:
            name = field.message_type.full_name
            if name == "google.protobuf.Struct":
                return dict[str, Any]
            return str if name in _FORMATS else self.model_of(field.message_type)
        if field.enum_type is not None:
            return _values(field.enum_type)
        # ProtoJSON writes 64-bit integers as strings.
        return str if field.cpp_type in _LONG else _SCALARS[field.cpp_type]


def _values(enum: EnumDescriptor) -> Any:
    return Literal[tuple(value.name for value in enum.values)]
