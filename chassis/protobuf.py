"""Conversions between Python values and protobuf's enums, Timestamp, Duration, Struct and Value.

All numbers of a Struct are floats. Larger integers than a float represents exactly are rejected, not rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import pydantic_core
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import errors

MAX_INTEGER = 2**53
"""Up to this absolute value every integer has an exact float."""

MAX_DEPTH = 25
"""Nested objects and lists of a JSON value. Readers refuse a message of more than 100 levels, of which an object takes three.

The rest is for the messages around it: one that cannot be read would take all others of its call with it.
"""
_READABLE_DEPTH = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400

Name = TypeVar("Name", bound=str)


class Enum(Generic[Name]):
    """The values of a protobuf enum and their names in Python: `JOB_STATE_PENDING` is `pending`."""

    def __init__(
        self, enum: EnumDescriptor, names: Iterable[Name], field: str = "", *, unset: Name | None = None
    ) -> None:
        """Take the names that are valid, and the one that a message without the `field` has; None: it is required."""
        numbers = enum_numbers(enum)
        self._field = field
        self._numbers = {name: numbers[name] for name in names}
        self._names = {number: name for name, number in self._numbers.items()}
        if unset is not None:
            self._names[0] = unset

    def to_proto(self, name: Name) -> Any:
        """Return the value of a name."""
        return self._numbers[name]

    def from_proto(self, number: int) -> Name:
        """Return the name of a value. Raise `InvalidArgument` naming the field for an unknown one."""
        if (name := self._names.get(number)) is None:
            choices = ", ".join(self._numbers)
            raise errors.InvalidArgument(f"{self._field} must be one of {choices}.", field=self._field)
        return name


def enum_names(enum: EnumDescriptor) -> dict[Any, Any]:
    """Return the name of each value as `Enum` has it, `unspecified` included."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def enum_numbers(enum: EnumDescriptor) -> dict[Any, Any]:
    """Return the value of each name, without `unspecified`."""
    return {name: number for number, name in enum_names(enum).items() if number}


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time as protobuf, None for None."""
    if moment is None:
        return None
    # FromDatetime, and FromTimedelta below, take three times as long.
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * _DAY_SECONDS + since.seconds, nanos=since.microseconds * 1000)


def from_timestamp(message: Timestamp, field: str) -> datetime:
    """Return a time in UTC. Raise `InvalidArgument` naming `field` for a time outside the calendar."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidArgument(f"{field} must be a time between the years 1 and 9999.", field=field) from None


def to_duration(duration: timedelta | None) -> Duration | None:
    if duration is None:
        return None
    seconds, micros = duration.days * _DAY_SECONDS + duration.seconds, duration.microseconds
    if seconds < 0 < micros:  # a Duration has one sign
        seconds, micros = seconds + 1, micros - 1_000_000
    return Duration(seconds=seconds, nanos=micros * 1000)


def from_duration(message: Duration, field: str) -> timedelta:
    """Return a duration. Raise `InvalidArgument` naming `field` for one that is out of range."""
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        raise errors.InvalidArgument(f"{field} must be a duration.", field=field) from None


def to_struct(source: object) -> Struct:
    """Return a mapping or dataclass as a Struct.

    Values may be JSON types, dataclasses, times, UUIDs and enums, up to `MAX_DEPTH`. Raise `ValueError` or `TypeError` for
    anything else.
    """
    fields = pydantic_core.to_jsonable_python(source, inf_nan_mode="constants")
    if not isinstance(fields, Mapping):
        raise TypeError(f"{type(source).__name__} is not a JSON object; pass a mapping or a dataclass")
    struct = Struct()
    _fill(struct, fields, MAX_DEPTH)
    return struct


def to_value(source: object) -> Value:
    """Return any JSON value as a Value; types and errors as in `to_struct`."""
    value = Value()
    _set(value, pydantic_core.to_jsonable_python(source, inf_nan_mode="constants"), MAX_DEPTH)
    return value


def from_struct(struct: Struct, depth: int = _READABLE_DEPTH) -> dict[str, Any]:
    """Return a JSON object; whole numbers become int. Raise `ValueError` for more than `depth` nested objects and lists."""
    inner = _inside(depth)
    return {name: from_value(value, inner) for name, value in struct.fields.items()}


def from_value(value: Value, depth: int = _READABLE_DEPTH) -> Any:
    """Return a JSON value; otherwise as `from_struct`."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= MAX_INTEGER else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value, depth)
        case "list_value":
            inner = _inside(depth)
            return [from_value(item, inner) for item in value.list_value.values]
        case _:
            return None


def _inside(depth: int) -> int:
    """Return how many objects and lists may be nested inside one."""
    if not depth:
        raise ValueError(f"the value has more than {MAX_DEPTH} nested objects and lists")
    return depth - 1


def _fill(struct: Struct, source: Mapping[str, Any], depth: int) -> None:
    inner, fields = _inside(depth), struct.fields
    for name, item in source.items():
        _set(fields[name], item, inner)


def _set(value: Value, source: Any, depth: int) -> None:
    if source is None:
        value.null_value = 0  # type: ignore[assignment]
    elif isinstance(source, bool):
        value.bool_value = source
    elif isinstance(source, str):
        value.string_value = source
    elif isinstance(source, int | float):
        if isinstance(source, int) and abs(source) > MAX_INTEGER:
            raise ValueError(f"{source} is too large for a JSON number; write it as a string")
        value.number_value = source
    elif isinstance(source, Mapping):
        value.struct_value.SetInParent()
        _fill(value.struct_value, source, depth)
    else:
        inner, items = _inside(depth), value.list_value
        items.SetInParent()
        for item in source:
            _set(items.values.add(), item, inner)
