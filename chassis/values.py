"""JSON values as protobuf has them, and back: every number of a Struct is a float, and so larger integers would be bent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic_core
from google.protobuf.struct_pb2 import ListValue, Struct, Value

EXACT = 2**53
"""Integers beyond it are not all floats."""


def to_struct(given: object) -> Struct:
    """Write what JSON can say, dataclasses, times, UUIDs and enums included. Raises ValueError or TypeError for the rest."""
    known = pydantic_core.to_jsonable_python(given, inf_nan_mode="constants")
    if not isinstance(known, Mapping):
        raise TypeError(f"{type(given).__name__} is no object of JSON: a mapping or a dataclass is")
    struct = Struct()
    _fill(struct, known)
    return struct


def to_value(given: object) -> Value:
    """Write any JSON value; otherwise like `to_struct`."""
    value = Value()
    _set(value, pydantic_core.to_jsonable_python(given, inf_nan_mode="constants"))
    return value


def from_struct(struct: Struct) -> dict[str, Any]:
    """Read an object; numbers that are whole come as int."""
    return {name: from_value(value) for name, value in struct.fields.items()}


def from_value(value: Value) -> Any:
    """Read any value; numbers that are whole come as int."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= EXACT else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [from_value(one) for one in value.list_value.values]
        case _:
            return None


def _fill(struct: Struct, given: Mapping[str, Any]) -> None:
    fields = struct.fields
    for name, value in given.items():
        _set(fields[name], value)


def _set(value: Value, given: Any) -> None:
    if given is None:
        value.null_value = 0  # type: ignore[assignment]
    elif isinstance(given, bool):
        value.bool_value = given
    elif isinstance(given, str):
        value.string_value = given
    elif isinstance(given, int | float):
        if isinstance(given, int) and abs(given) > EXACT:
            raise ValueError(f"{given} is too large for a number of JSON; write it as a string")
        value.number_value = given
    elif isinstance(given, Mapping):
        value.struct_value.SetInParent()
        _fill(value.struct_value, given)
    else:
        items: ListValue = value.list_value
        items.SetInParent()
        for one in given:
            _set(items.values.add(), one)
