"""Content negotiation of event streams."""

from __future__ import annotations

import pytest

from gateway.api import events


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["text/event-stream"],
        ["Text/Event-Stream"],
        ["text/*"],
        ["*/*"],
        ["application/json, text/event-stream;q=0.5"],
        ["application/json", "text/event-stream"],
        ["*/*;q=0, text/event-stream"],
        ["text/event-stream; charset=utf-8"],
    ],
)
def test_a_stream_is_accepted(lines: list[str]) -> None:
    assert events.accepts(lines)


@pytest.mark.parametrize(
    "lines",
    [
        ["application/json"],
        ["text/event-stream;q=0"],
        ["text/event-stream; q=0.0, application/json"],
        ["*/*, text/event-stream;q=0"],
        ["*/*;q=0"],
        ["text/event-streams"],
        ["x-text/*"],
    ],
)
def test_a_stream_is_not_accepted(lines: list[str]) -> None:
    assert not events.accepts(lines)
