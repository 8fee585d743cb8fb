"""A proxy before NATS that can be cut: the gateway behind it receives nothing, other clients are not affected."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


class NatsProxy:
    """Forwards connections to NATS while it is not cut."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._pipes: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._server: asyncio.Server

    async def open(self) -> str:
        """Start, and return the URL of the proxy."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"))

    def cut(self) -> None:
        """Drop all connections and refuse new ones."""
        self._is_cut = True
        for writer in list(self._pipes):
            writer.transport.abort()

    def mend(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    def close(self) -> None:
        """Stop."""
        self.cut()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if self._is_cut:
                return
            there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            with contextlib.closing(back):
                self._pipes |= {writer, back}
                if not self._is_cut:
                    await asyncio.gather(_forward(reader, back), _forward(there, writer))
                self._pipes -= {writer, back}


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
