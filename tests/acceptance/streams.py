"""A client of an event stream that reconnects like a browser, with the id of the last received event."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.acceptance import waiting
from tests.acceptance.users import User

READ_SECONDS = 40.0
RECONNECT_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as it was read; `id` is None unless the event itself had one."""

    id: int | None
    name: str
    data: dict[str, Any]


class Stream:
    """Receives a stream while the context lasts, and keeps all events."""

    def __init__(self, user: User, path: str = "/events", *, reconnects: bool = True, cursor: str = "") -> None:
        self.events: list[Event] = []
        self.refusals: list[httpx.Response] = []
        """Responses that were not a stream."""
        self.connections = 0
        self.has_ended = False
        self._user = user
        self._path = f"/api/v1{path}"
        self._reconnects = reconnects
        self._cursor = cursor
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read_for_ever())
        await self.has("hello")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        outcome = (await asyncio.gather(self._reading, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome

    async def has(
        self, name: str, fits: Callable[[dict[str, Any]], bool] = lambda data: True, *, seconds: float = 60.0
    ) -> Event:
        """Wait for the first event of this name whose data matches, and return it."""

        async def probe() -> Event | None:
            return next((event for event in self.events if event.name == name and fits(event.data)), None)

        try:
            return await waiting.until(probe, f"the stream tells {name}", seconds=seconds)
        except AssertionError as error:
            last = [(event.id, event.name, event.data.get("status")) for event in self.events[-12:]]
            raise AssertionError(f"{error}; it sent {len(self.events)} events, at last {last}") from None

    async def tells_end(self, job_id: str, status: str, *, seconds: float = 60.0) -> Event:
        """Wait for the transition by which a job ended."""
        return await self.has(
            "job", lambda data: data["job_id"] == job_id and data["status"] == status, seconds=seconds
        )

    async def reconnects(self) -> None:
        """Wait until the client has reconnected."""

        async def probe() -> bool:
            return self.connections > 1

        await waiting.until(probe, "the stream is connected again")

    def transitions(self, job_id: str) -> list[str]:
        """The states of a job's transitions in the stream, in order."""
        return [event.data["status"] for event in self.numbered if event.data["job_id"] == job_id]

    @property
    def numbered(self) -> list[Event]:
        """The events of jobs that have an id: the transitions."""
        return [event for event in self.events if event.name == "job" and event.id is not None]

    @property
    def position(self) -> int:
        """The sequence that the stream has reached."""
        return max((event.id for event in self.events if event.id is not None), default=0)

    def must_be_gap_free(self) -> None:
        """Assert that every transition was sent once, in order, without a reset."""
        first = next(event.id for event in self.events if event.name == "hello")
        assert first is not None
        ids = [event.id for event in self.numbered]
        assert ids == list(range(first + 1, first + 1 + len(ids)))
        assert not [event for event in self.events if event.name == "reset"]

    def must_be_gap_free_or_reset(self) -> int:
        """Assert that every transition was sent once and in order, except where a reset says so; return the resets."""
        expected = next(event.id for event in self.events if event.name == "hello")
        resets = 0
        for event in self.events:
            if event.name == "reset":
                expected = event.id
                resets += 1
            elif event.name == "job" and event.id is not None:
                assert expected is not None and event.id == expected + 1, (expected, event)
                expected = event.id
        return resets

    def must_never_fall_back(self) -> None:
        """Versions of each job and of demo mode never fall, progress stays within 100 %.

        Only a transition may come after progress that is newer: a late transition is sent nevertheless.
        """
        newest: dict[tuple[str, bool], int] = {}
        for event in self.events:
            if event.name not in {"job", "demo"}:
                continue
            subject = event.data["job_id"] if event.name == "job" else "demo"
            is_transition = event.id is not None
            newest_version = newest.get((subject, True), 0)
            if not is_transition:
                newest_version = max(newest_version, newest.get((subject, False), 0))
            assert event.data["version"] >= newest_version, (event, newest)
            newest[subject, is_transition] = event.data["version"]
            if progress := event.data["progress"]:
                assert 0 <= progress["percent"] <= 100
                assert not progress["total"] or progress["done"] <= progress["total"]

    async def _read_for_ever(self) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                await self._read_once()
            if not self._reconnects:
                self.has_ended = True
                return
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read_once(self) -> None:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self._cursor} if self._cursor else {})}
        timeout = httpx.Timeout(5.0, read=READ_SECONDS)
        async with self._user.http.stream("GET", self._path, headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200:
                await answer.aread()
                self.refusals.append(answer)
                assert answer.status_code != 500, answer.text
                return
            self.connections += 1
            async for event in _events(answer):
                if event.id is not None:
                    self._cursor = str(event.id)
                self.events.append(event)


async def _events(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Event(id=number, name=fields["event"], data=json.loads(fields["data"]))
            fields = {}
