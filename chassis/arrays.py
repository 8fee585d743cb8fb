"""Lists as literals of PostgreSQL's arrays.

psycopg looks at each list several times to choose the type of the array. The statements of hot paths name the type (`CAST(:ids AS
uuid[])`), so the literal is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import NoneType
from typing import Any
from uuid import UUID


def literal(values: list[Any]) -> str | list[Any]:
    """Return the literal of an array of `values`, or `values` themselves if psycopg must convert them: types beyond `_TEXTS`."""
    try:
        return "{" + ",".join([_TEXTS[type(value)](value) for value in values]) + "}"
    except KeyError:
        return values


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _interval(value: timedelta) -> str:
    return f'"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"'


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    NoneType: lambda _: "NULL",
    bool: str,
    int: str,
    float: repr,
    str: _quote,
    UUID: lambda value: value.hex,
    bytes: lambda value: f'"\\\\x{value.hex()}"',
    datetime: lambda value: f'"{value.isoformat()}"',
    timedelta: _interval,
}
"""The text of an element by its exact type; subclasses, such as enumerations, have adapters of their own."""
