"""Which requests the middleware treats differently, by their paths."""

from __future__ import annotations


def begins_stream(path: str) -> bool:
    """Return whether requests of a path begin a stream or poll of events, which has a `Place` instead of the overload limit."""
    return path.startswith("/api/") and path.endswith(("/events", "/events/poll"))
