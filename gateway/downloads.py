"""Files that services send in parts, as responses to browsers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse


async def attachment(parts: AsyncGenerator[bytes, None], name: str, media_type: str) -> StreamingResponse:
    """Return the response that downloads a file.

    The first part is read before the response begins: an error still becomes a problem. A later one breaks the body off.
    """
    first = await anext(parts)

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part

    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return StreamingResponse(body(), media_type=media_type, headers=headers)
