"""The socket under an open stream, once the stream has been taken over from the HTTP server: chunks out, nothing in.

What served the request (its task, its parser, its scope) is gone by then; what is left costs a few hundred bytes.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TAKE_OVER = "repruv.take_over"
"""ASGI extension of our server: a function that gives the connection of a response that has begun to a `Writer`."""
BUFFER_BYTES = 16 * 1024
"""What may be unsent, beside what the kernel holds, before the writer is told to wait."""


class Sink(Protocol):
    """What a writer fills."""

    is_full: bool

    def write(self, data: bytes) -> None:
        """Send."""

    def end(self) -> None:
        """Send no more."""

    def abort(self) -> None:
        """Send not even what was written."""


class Writer(Protocol):
    """What fills a line; called in the event loop, never while it writes."""

    def start(self, taken: Sink) -> None:
        """Begin to write."""

    def full(self) -> None:
        """Write no more until `free`."""

    def free(self) -> None:
        """Go on writing."""

    def lost(self) -> None:
        """The client is gone, or `end` or `abort` has done its work."""


class Line(asyncio.Protocol):
    """One connection that carries the rest of one response."""

    __slots__ = ("_is_chunked", "_transport", "_writer", "is_full")

    def __init__(self, transport: asyncio.Transport, writer: Writer, *, is_chunked: bool, is_full: bool) -> None:
        self._transport = transport
        self._writer = writer
        self._is_chunked = is_chunked
        self.is_full = is_full

    def write(self, data: bytes) -> None:
        """Send."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """Finish the response; the connection is not used again, since the reader should come back to whoever accepts then."""
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection with whatever is unsent."""
        self._transport.abort()

    # --- called by asyncio ---

    def data_received(self, data: bytes) -> None:
        """Ignore what a client says while it is told: it gets no other answer on this connection."""

    def pause_writing(self) -> None:
        """See asyncio."""
        self.is_full = True
        self._writer.full()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.is_full = False
        self._writer.free()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._writer.lost()
