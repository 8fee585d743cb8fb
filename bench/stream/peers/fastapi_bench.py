"""The server-sent events of FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterable

import contract
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI(lifespan=contract.lifespan)


@app.get("/events", response_class=EventSourceResponse)
async def events(user: str) -> AsyncIterable[ServerSentEvent]:
    with contract.listening(user) as queue:
        yield ServerSentEvent(raw_data="{}", event="hello", id="0")
        while True:
            number, data = await queue.get()
            yield ServerSentEvent(raw_data=data, event="job", id=str(number))


@app.get("/readyz")
async def ready() -> str:
    return "ok"


if __name__ == "__main__":
    contract.run(app)
