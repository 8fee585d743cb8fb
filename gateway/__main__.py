"""Composition root of the gateway: `python -m gateway serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from functools import partial

from chassis import logs, run, settings
from gateway import app, pages, parts, server
from gateway.settings import Settings


async def serve(config: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    assembled = parts.assemble(config)
    application = app.create(assembled, pages=pages.routes(assembled), error_page=pages.error_page)
    await server.Server(server.configure(application, config), drain=assembled.streams.drain).serve_until(stop)


def main() -> None:
    """Read the settings and do what the command says."""
    if sys.argv[1:] != ["serve"]:
        sys.exit("usage: python -m gateway serve")
    try:
        config = settings.read(Settings, os.environ)
    except settings.SettingsError as error:
        sys.exit(f"gateway: {error}")
    logs.configure("gateway", level=config.log_level, form=config.log_format)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    run.until_signal(partial(serve, config))


if __name__ == "__main__":
    main()
