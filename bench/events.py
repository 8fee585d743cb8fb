"""An event stream as a browser holds it. Records the arrival time of each frame."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import http


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event."""

    event: str
    sequence: int | None
    """The id of a transition, or None."""
    data: dict[str, Any]
    arrived: float
    """Unix seconds."""
    received_at: float
    """The same time by `time.perf_counter`."""


class Events:
    """The event stream of one user."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._news = asyncio.Event()
        self._rest = b""
        self._connection: http.Connection | None = None

    async def open(self, client: http.Client, cookie: str) -> None:
        """Wait for the `hello` event."""
        self._connection = await client.connect(self._received)
        head = client.head("GET", "/api/v1/events", cookie=cookie, headers={"Accept": "text/event-stream"})
        self._connection.send(head)
        await self.until(lambda frame: frame.event == "hello", timeout=10.0)

    async def until(self, matches: Callable[[Frame], bool], *, timeout: float) -> Frame:
        """Return the first `matches` frame, past frames included. Raises `TimeoutError`."""
        checked = 0
        async with asyncio.timeout(timeout):
            while True:
                for frame in self.frames[checked:]:
                    if matches(frame):
                        return frame
                checked = len(self.frames)
                self._news.clear()
                await self._news.wait()

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    def _received(self, piece: bytes) -> None:
        arrived, received_at = time.time(), time.perf_counter()
        *texts, self._rest = (self._rest + piece).split(b"\n\n")
        for text in texts:
            fields = dict(line.split(": ", 1) for line in text.decode().splitlines())
            self.frames.append(
                Frame(
                    event=fields["event"],
                    sequence=int(fields["id"]) if "id" in fields else None,
                    data=json.loads(fields["data"]),
                    arrived=arrived,
                    received_at=received_at,
                )
            )
        self._news.set()
