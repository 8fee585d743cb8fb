"""Starts the gateway: `python -m gateway serve`."""

from __future__ import annotations

import asyncio
import os
import sys

from chassis import logs, run, settings
from gateway import app, parts, server
from gateway.settings import Settings


def main(arguments: list[str]) -> None:
    """Run the command named in `arguments`."""
    if arguments != ["serve"]:
        sys.exit("usage: python -m gateway serve")
    told = settings.read(Settings, os.environ)
    logs.configure("gateway", level=told.log_level, form=told.log_format)

    async def serve(stop: asyncio.Event) -> None:
        assembled = parts.assemble(told)
        config = server.configure(app.create(assembled), told)
        await server.Server(config, drain=assembled.streams.drain).serve_until(stop)

    run.until_signal(serve)


if __name__ == "__main__":
    main(sys.argv[1:])
