"""The wire format: server-sent events as bytes, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FORBIDDEN = ("\r", "\n", "\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An encoded event. A transition of a job has a sequence; progress and the other snapshots have none."""

    event: str
    data: bytes
    version: int
    sequence: int = 0
    job_id: str = ""
    resource_key: str = ""
    is_final: bool = False
    is_for_operators: bool = False
    """Whether only operators may read it."""

    @property
    def key(self) -> str:
        """Queued frames with the same key replace each other."""
        return f"#{self.sequence}" if self.sequence else f"{self.event} {self.job_id or self.resource_key}"


def encode(event: str, data: Mapping[str, Any], *, sequence: int | None = None, retry_ms: int | None = None) -> bytes:
    """Encode one frame. Raises `ValueError` for an event name that could inject another frame."""
    if any(character in event for character in _FORBIDDEN):
        raise ValueError(f"{event!r} cannot be the name of an event")
    # JSON escapes every line break, so the data is always one line.
    lines = [f"event: {event}", f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}"]
    if sequence is not None:
        lines.insert(0, f"id: {sequence}")
    if retry_ms is not None:
        lines.insert(0, f"retry: {retry_ms}")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    event: str
    data: str
    id: str | None


def decode(stream: bytes) -> list[Decoded]:
    """Decode frames that `encode` wrote."""
    blocks = [
        dict(line.partition(": ")[::2] for line in block.split("\n"))
        for block in stream.decode().split("\n\n")
        if block
    ]
    return [Decoded(event=fields["event"], data=fields["data"], id=fields.get("id")) for fields in blocks]


PING = encode("ping", {})
