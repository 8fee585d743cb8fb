"""A client of event streams with the parsing rules of the standard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

SECONDS = 60.0
"""For one event; `until` waits twice as long for its last one. Pings would keep it waiting for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dispatched event."""

    name: str
    data: dict[str, Any]
    id: int | None


class Stream:
    """Reads an open stream, event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.retry: int | None = None

    async def next(self) -> Event | None:
        """Return the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif fields:
                    self.retry = int(fields.get("retry", self.retry or 0))
                    id_ = int(fields["id"]) if "id" in fields else None
                    return Event(name=fields.get("event", "message"), data=json.loads(fields["data"]), id=id_)
        return None

    async def until(self, is_last: Callable[[Event], bool]) -> list[Event]:
        """Return the events up to the first for which `is_last` holds."""
        events: list[Event] = []
        async with asyncio.timeout(2 * SECONDS):
            while (event := await self.next()) is not None:
                events.append(event)
                if is_last(event):
                    return events
        raise AssertionError(f"the stream ended early, after {events}")

    async def rest(self) -> list[Event]:
        """Return the events up to the end of the stream."""
        events: list[Event] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient, path: str = "/api/v1/events", *, header: int | str = "", parameter: int | str = ""
) -> AsyncGenerator[Stream, None]:
    """Open a stream that resumes after the cursor in the header, or in the parameter."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(header)} if header != "" else {})}
    params = {"last_event_id": str(parameter)} if parameter != "" else {}
    async with http.stream("GET", path, headers=headers, params=params, timeout=SECONDS) as response:
        assert response.status_code == 200, (await response.aread()).decode()
        assert response.headers["content-type"].startswith("text/event-stream")
        # The connection closes with its stream, so clients must not reuse it.
        assert response.headers["connection"] == "close"
        yield Stream(response)


def is_demo(status: str) -> Callable[[Event], bool]:
    """Return whether an event shows demo mode in this state."""
    return lambda event: event.name == "demo" and event.data["status"] == status


def is_job(status: str) -> Callable[[Event], bool]:
    """Return whether an event is a transition of a job to this state."""
    return lambda event: event.name == "job" and event.data["status"] == status and event.id is not None
