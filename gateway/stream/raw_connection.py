"""The socket under an open stream, taken over from the HTTP server: bytes are sent, received ones are ignored.

The task, parser and scope of the request are gone by then; what is left costs a few hundred bytes.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TAKE_OVER = "repruv.take_over"
"""ASGI extension of our server: a function that hands the connection of a started response to a `Writer`."""
BUFFER_BYTES = 16 * 1024
"""Unsent bytes, without those in the kernel, above which the writer is paused."""


class Sink(Protocol):
    """The receiver of a writer's bytes."""

    is_full: bool

    def write(self, data: bytes) -> None:
        """Send data."""

    def end(self) -> None:
        """Finish after what was written."""

    def abort(self) -> None:
        """Disconnect at once, without what is unsent."""


class Writer(Protocol):
    """The sender of the bytes; called in the event loop, never while it writes."""

    def start(self, sink: Sink) -> None:
        """Start writing to `sink`."""

    def pause(self) -> None:
        """Write no more until `resume`."""

    def resume(self) -> None:
        """Continue writing."""

    def disconnected(self) -> None:
        """Clean up: the client has disconnected, or `end` or `abort` has completed."""


class RawConnection(asyncio.Protocol):
    """A connection that carries the rest of one response."""

    __slots__ = ("_is_chunked", "_transport", "_writer", "is_full")

    def __init__(self, transport: asyncio.Transport, writer: Writer, *, is_chunked: bool, is_full: bool) -> None:
        self._transport = transport
        self._writer = writer
        self._is_chunked = is_chunked
        self.is_full = is_full

    def write(self, data: bytes) -> None:
        """Send data, as a chunk if the response is chunked."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """Finish the response and close, so that the reader reconnects to any replica."""
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection and all unsent bytes."""
        self._transport.abort()

    # --- called by asyncio ---

    def data_received(self, data: bytes) -> None:
        """Ignore further requests: the connection closes with its stream."""

    def pause_writing(self) -> None:
        """Pause the writer: the buffer is full."""
        self.is_full = True
        self._writer.pause()

    def resume_writing(self) -> None:
        """Resume the writer: the buffer is empty."""
        self.is_full = False
        self._writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the writer that the connection is closed."""
        self._writer.disconnected()
