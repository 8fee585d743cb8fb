"""The wire format: server-sent events as bytes, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FORBIDDEN = ("\r", "\n", "\0")


def encode(event: str, data: Mapping[str, Any], *, sequence: int | None = None, retry_ms: int | None = None) -> bytes:
    """Write one frame. Raises `ValueError` for an event name that would forge another frame."""
    if any(character in event for character in _FORBIDDEN):
        raise ValueError(f"{event!r} cannot be the name of an event")
    # JSON escapes every line break within, so the data is always one line.
    lines = [f"event: {event}", f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}"]
    if sequence is not None:
        lines.insert(0, f"id: {sequence}")
    if retry_ms is not None:
        lines.insert(0, f"retry: {retry_ms}")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A frame of ours, read again."""

    event: str
    data: str
    id: str | None


def decode(stream: bytes) -> list[Decoded]:
    """Read frames that `encode` wrote."""
    fields = [
        dict(line.partition(": ")[::2] for line in block.split("\n"))
        for block in stream.decode().split("\n\n")
        if block
    ]
    return [Decoded(event=found["event"], data=found["data"], id=found.get("id")) for found in fields]


PING = encode("ping", {})
