"""Composition root of the gateway: `python -m gateway serve`; with GATEWAY_WORKERS above 1 it runs that many of `… work`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from functools import partial
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from chassis import process
from gateway import app, container, pages, server, workers
from gateway.settings import Settings
from gateway.stream import hub

FILES = hub.MAX_STREAMS + 15_000
"""Streams, other connections of clients, and files."""


async def serve(config: Settings, stop: asyncio.Event, *, shared: socket.socket | None = None) -> None:
    """Serve until `stop` is set, on the socket `shared` if there is one."""
    assembled = container.assemble(config)
    application = app.create(assembled, pages=pages.routes(assembled), error_page=pages.error_page)
    # With thousands of streams a full collection stops the event loop for a tenth of a second or more and frees almost nothing:
    # objects that exist now stay, and later ones are freed by reference counting.
    gc.collect()
    gc.freeze()
    serving = server.Server(server.configure(application, config), drain=assembled.streams.drain)
    await serving.serve_until(stop, shared=shared)


async def work(config: Settings, stop: asyncio.Event) -> None:
    """Serve as one of several processes until `stop` is set or the parent process has ended."""

    async def leave() -> None:
        await workers.wait_until_orphaned()
        stop.set()

    leaving = asyncio.create_task(leave())
    try:
        await serve(config, stop, shared=workers.listener(config.address))
    finally:
        leaving.cancel()


def _allow_files() -> None:
    """Raise the soft limit of open files, often 1,024 in containers, towards the hard one: each stream is a file."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    allowed = FILES if hard == RLIM_INFINITY else min(FILES, hard)
    if soft != RLIM_INFINITY and soft < allowed:
        setrlimit(RLIMIT_NOFILE, (allowed, hard))


def _serve(config: Settings) -> None:
    _allow_files()
    if config.gateway_workers > 1:
        process.until_signal(partial(workers.supervise, config.address, config.gateway_workers))
    else:
        process.until_signal(partial(serve, config))


def main() -> None:
    """Run the command of the command line. `serve` starts processes with the command `work`."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    process.main(
        "gateway",
        os.environ,
        {
            "serve": process.Command("gateway", Settings, _serve),
            "work": process.Command("gateway", Settings, process.run_until_stopped(work)),
        },
    )


if __name__ == "__main__":
    main()
