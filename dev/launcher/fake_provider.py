"""Runs the fake provider beside `make up`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from dev import fake_provider, subprocesses
from dev.launcher.stack import ROOT

STOP_SECONDS = 3.0


@contextlib.contextmanager
def running(gateway_port: int) -> Iterator[dict[str, str]]:
    """Run the provider while the context lasts. Yield the environment variables that configure it.

    Does nothing when the environment sets `PLATFORMS`.
    """
    if "PLATFORMS" in os.environ:
        yield {}
        return
    beside = gateway_port + 1
    # A port of our own range may be the next `free_port`.
    is_usable = beside < 65_536 and beside not in subprocesses.PORTS and subprocesses.is_port_free(beside)
    port = beside if is_usable else subprocesses.free_port({gateway_port})
    public = os.environ.get("PUBLIC_URL") or f"http://127.0.0.1:{gateway_port}"
    process = subprocesses.spawn(
        [sys.executable, "-m", "dev.fake_provider", str(port), f"{public}/api/v1/connections/{fake_provider.NAME}/"],
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
        directory=ROOT,
        death_signal=signal.SIGTERM,
        output=subprocess.DEVNULL,
    )
    try:
        yield fake_provider.settings(port)
    finally:
        subprocesses.stop(process, request=signal.SIGTERM, grace=STOP_SECONDS)
