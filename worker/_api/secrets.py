"""Masks the values of sensitive payload fields in texts that operators read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

MASK = "•••"
SHORTEST = 3
"""Shorter values are not masked: they would hide half of every text."""


class Secrets:
    """The secret texts of one payload."""

    def __init__(self, payload: Mapping[str, Any], fields: Collection[str]) -> None:
        """`fields` names the sensitive fields; every text and number in them is secret, also in the payload of an undo job."""
        self._forms: Sequence[str] = ()
        if not fields:
            return
        undone = payload.get("payload")
        payloads = (payload, undone) if isinstance(undone, Mapping) else (payload,)
        values = [value for each in payloads for field in fields for value in _leaves(each.get(field))]
        forms = {form for value in values for form in _forms(value)}
        # The longest first: one value may be a part of another.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return a text without the secrets."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a JSON value."""
    match value:
        case Mapping():
            for inner in value.values():
                yield from _leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from _leaves(inner)
        case str():
            yield value
        case int() | float() if not isinstance(value, bool):
            yield str(value)


def _forms(value: str) -> tuple[str, ...]:
    """Return a value as it occurs in texts: plain, in `repr`, in JSON, and in a URL."""
    written = repr(value)[1:-1]
    return (
        value,
        written,
        # In a text with both quotes, `repr` escapes this one.
        written.replace("'", "\\'"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, ""),
    )
