"""`make up`: runs the stack in the foreground until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from dev import subprocesses
from dev.embedded import ServerFailed
from dev.launcher import fake_provider as local_provider
from dev.launcher import log_output
from dev.launcher.compose import ComposeError
from dev.launcher.control import Control
from dev.launcher.control_server import ControlServer
from dev.launcher.ownership import AlreadyRunning
from dev.launcher.replica import Log
from dev.launcher.stack import LAUNCHER, ROOT, Interrupted, Stack, StartFailed

DEFAULT_PORT = 8080
GLANCE_SECONDS = 0.2


def run(
    *, data_dir: Path = ROOT / ".data", port: int = DEFAULT_PORT, scale: Mapping[str, int], ha: bool, compose_file: Path
) -> int:
    """Run the stack, show its log, and stop it at SIGINT, SIGTERM or SIGHUP. Return the exit code.

    Port 0 is any free one.
    """
    log = log_output.to_terminal()
    if port and not subprocesses.is_port_free(port):
        log(LAUNCHER, f"port {port} is taken by another program; choose another: GATEWAY_PORT={port + 1} make up")
        return 1
    port = port or subprocesses.free_port()
    # A primary that died waits for `make promote`, and production offers nothing to break.
    control = None if ha or os.environ.get("ENVIRONMENT") == "production" else Control(log)
    endpoint = ControlServer(control) if control else None
    with local_provider.running(port) as platforms:
        env = {**platforms, **(endpoint.variables if endpoint else {})}
        stack = Stack(
            data_dir,
            gateway_port=port,
            scale=scale,
            env=env,
            ha=ha,
            log=log,
            # The fork server runs the programs of this tree.
            forks=compose_file.absolute().parent == ROOT,
            compose_file=compose_file,
        )
        with endpoint.serving() if endpoint else contextlib.nullcontext():
            return _run(stack, log, control)


def _run(stack: Stack, log: Log, control: Control | None) -> int:
    stop_requested = _handle_signals(stack)
    try:
        stack.start()
    except Interrupted:
        log(LAUNCHER, "stopped before it was up")
        return 130
    # OSError: the data directory cannot be written, for example because its disk is full.
    except (StartFailed, ServerFailed, AlreadyRunning, ComposeError, ValueError, OSError) as error:
        log(LAUNCHER, str(error))
        return 1
    try:
        for line in _next_steps(os.environ.get("PUBLIC_URL") or stack.url, can_break=control is not None):
            log(LAUNCHER, line)
        _supervise(stack, control, stop_requested)
        log(LAUNCHER, "stopping; Ctrl-C again to stop at once")
    finally:
        stack.stop()
    log(LAUNCHER, "stopped")
    return 0


def _supervise(stack: Stack, control: Control | None, stop_requested: subprocesses.Flag) -> None:
    while not stop_requested.is_set():
        if control:
            control.run_pending(stack, stop_requested, seconds=GLANCE_SECONDS)
        else:
            time.sleep(GLANCE_SECONDS)
        stack.restart_dead_servers()


def _next_steps(url: str, *, can_break: bool) -> list[str]:
    """Return what to do with the running system, a line each."""
    admin = os.environ.get("ADMIN_EMAIL") if os.environ.get("ADMIN_PASSWORD") else ""
    emails = os.environ.get("EMAIL_URL", "folder:/tmp/repruv-mails")
    return [
        f"Repruv is up at {url}",
        f"  without an account     {url}, then Try the demo",
        f"  register an account    {url}/register, then enable demo mode",
        "  or in a terminal       make demo",
        *([f"  break it yourself      {url}/settings/demo-mode/break"] if can_break else []),
        f"  administration         {url}/admin as {admin}"
        if admin
        else "  administration         ADMIN_EMAIL=… ADMIN_PASSWORD=… make up, then /admin; or make admin",
        f"  emails                 {emails.replace('folder:', 'files in ')}",
        f"  API documentation      {url}/docs",
        "  every request          LOGS=all make up",
        "  stop                   Ctrl-C; data stays in .data",
    ]


def _handle_signals(stack: Stack) -> subprocesses.Flag:
    """Stop the stack at the first signal and skip the grace periods at each further one."""
    stop_requested = subprocesses.Flag()

    def handle(*_: object) -> None:
        if stop_requested.is_set():
            stack.skip_grace_periods()
        stop_requested.set()
        stack.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop_requested
