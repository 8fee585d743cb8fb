"""Derives the function that shows a protobuf message as JSON from the type of the JSON.

A field has the value of the message's field of the same name. `created_at` is the timestamp `create_time`; `Of` names any other
field. Enum values lose their prefix and are lower case. Empty strings and unset fields are null where the type allows null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

from chassis import protobuf
from gateway.views import times

Shape = TypeVar("Shape")
M = TypeVar("M", bound=Message)
Getter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Of:
    """Names the field of the message, in an annotation."""

    path: str


def view(shape: type[Shape], message: type[M], **computed: Getter) -> Callable[[M], Shape]:
    """Return the function from `message` to `shape`, a TypedDict. `computed` has the fields that are more than copies."""
    return _view(shape, message.DESCRIPTOR, computed)


def _view(shape: Any, descriptor: Any, computed: Mapping[str, Getter]) -> Callable[[Any], Any]:
    hints = get_type_hints(shape, include_extras=True)
    getters = [(name, computed.get(name) or _getter(name, hint, descriptor)) for name, hint in hints.items()]
    return lambda message: {name: get(message) for name, get in getters}


def _getter(name: str, hint: Any, descriptor: Any) -> Getter:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    hint = get_args(hint)[0] if extras else hint
    path = next((extra.path for extra in extras if isinstance(extra, Of)), "") or _field_name(name, descriptor)
    *parents, last = path.split(".")
    for parent in parents:
        descriptor = descriptor.fields_by_name[parent].message_type
    field = descriptor.fields_by_name[last]
    get = attrgetter(path)
    convert = _conversion(field, hint)
    if NoneType not in get_args(hint):
        return get if convert is _unchanged else lambda message: convert(get(message))
    if not field.has_presence:
        return lambda message: get(message) or None
    if parents:
        owner = attrgetter(".".join(parents))
        return lambda message: convert(get(message)) if owner(message).HasField(last) else None
    return lambda message: convert(get(message)) if message.HasField(last) else None


def _unchanged(value: Any) -> Any:
    return value


def _field_name(name: str, descriptor: Any) -> str:
    stem = name.removesuffix("_at")
    if stem == name:
        return name
    stems: list[str] = [field.removesuffix("_time") for field in descriptor.fields_by_name if field.endswith("_time")]
    return max((each for each in stems if stem.startswith(each)), key=len) + "_time"


def _conversion(field: Any, hint: Any) -> Getter:
    kind = field.message_type
    if kind is None:
        if field.enum_type is not None:
            return protobuf.enum_names(field.enum_type).__getitem__
        return list if field.is_repeated else _unchanged
    if kind.GetOptions().map_entry:
        return dict
    if kind.full_name == "google.protobuf.Timestamp":
        return times.time
    if kind.full_name == "google.protobuf.Duration":
        return lambda span: round(span.ToTimedelta().total_seconds(), 3)
    inner = next(each for each in (get_args(hint) or (hint,)) if each is not NoneType)
    show = _view(inner, kind, {})
    return (lambda items: [show(item) for item in items]) if field.is_repeated else show
