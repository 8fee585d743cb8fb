"""Tasks that handlers start: `sys.exit` in one of them would end the event loop, and with it all other jobs of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from worker._runtime import recorder


def contain_exits() -> None:
    """Let SystemExit and KeyboardInterrupt in tasks of handlers be errors of these, unless the loop makes its tasks otherwise."""
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(_create)


def _create(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    if recorder.is_recording(options.get("context")):
        coroutine = _contain(coroutine)
    return asyncio.Task(coroutine, loop=loop, **options)


async def _contain(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"a task of the handler raised {error!r}") from error
