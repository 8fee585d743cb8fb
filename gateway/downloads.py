"""Files that services send in parts, as responses to browsers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from chassis.rpc import shares
from gateway import refusals

DOWNLOADS_PER_USER = 2
MAX_DOWNLOADS = 200
"""Of a process. A client may take ten minutes for a file, so downloads take no place of the overload limit."""


class Downloads:
    """The downloads that run now."""

    def __init__(self) -> None:
        self._count = 0
        self._shares = shares.Shares(running=DOWNLOADS_PER_USER, waiting=0)

    def attachment(
        self, parts: AsyncGenerator[bytes, None], name: str, media_type: str, *, user_id: str
    ) -> StreamingResponse:
        """Return the response that downloads a file for a user.

        It raises `ResourceExhausted` above two downloads of a user, `Unavailable` above 200, and the error of the service before
        the first part.
        """
        return _Attachment(parts, name, media_type, self._place(user_id))

    @asynccontextmanager
    async def _place(self, user_id: str) -> AsyncIterator[None]:
        async with self._shares.place(user_id):
            if self._count >= MAX_DOWNLOADS:
                raise refusals.overloaded()
            self._count += 1
            try:
                yield
            finally:
                self._count -= 1


class _Attachment(StreamingResponse):
    """Downloads a file.

    The first part is read before the response begins: an error still becomes a problem. A later one breaks the body off.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        name: str,
        media_type: str,
        place: AbstractAsyncContextManager[None],
    ) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._place, aclosing(self._parts):
            self.body_iterator = _prepend(await anext(self._parts), self._parts)
            await super().__call__(scope, receive, send)


async def _prepend(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for part in others:
        yield part
