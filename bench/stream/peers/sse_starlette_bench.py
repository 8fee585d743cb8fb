"""sse-starlette on Starlette."""

from __future__ import annotations

from collections.abc import AsyncIterator

import contract
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


async def events(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        with contract.listening(request.query_params["user"]) as queue:
            yield ServerSentEvent(data="{}", event="hello", id="0")
            while True:
                number, data = await queue.get()
                yield ServerSentEvent(data=data, event="job", id=str(number))

    return EventSourceResponse(events())


async def ready(request: Request) -> Response:
    return PlainTextResponse("ok")


if __name__ == "__main__":
    contract.run(Starlette(routes=[Route("/events", events), Route("/readyz", ready)], lifespan=contract.lifespan))
