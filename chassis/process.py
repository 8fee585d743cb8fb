"""The life of a process: parse the command, read the settings, configure logs, run until a signal."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import urlsplit

from chassis import logs, run, settings, tracing

EXIT_USAGE = 2
"""Exit code for an unknown command and for invalid settings."""
EXIT_LOOP_STALLED = 71
STALL_SECONDS = 15.0
TICK_SECONDS = 2.0
"""Pause between two iterations of the watchdog, in the event loop and in its thread."""
GC_THRESHOLDS = (10_000, 20, 20)
"""Objects and collections until the next collection. Nearly all objects are freed by reference counting."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Settings = TypeVar("Settings", bound=settings.Base)
DatabaseSettings = Any
"""Settings with `database_url` and `certificate`."""


@dataclass(frozen=True, slots=True)
class Command(Generic[Settings]):
    """A command of a program: `run` is called with the settings, and blocks until the process ends."""

    name: str
    """The name of the process in its logs and errors."""
    settings: type[Settings]
    run: Callable[[Settings], object]
    about: str = ""
    """What it does, for commands that operators run by hand."""


def main(package: str, environ: Mapping[str, str], commands: Mapping[str, Command[Any]], *, others: str = "") -> None:
    """Run the command that `python -m <package> <command>` names.

    Exit with `EXIT_USAGE` and the usage or the invalid settings on stderr. `others` names further commands, which the caller has
    handled.
    """
    if len(sys.argv) != 2 or (command := commands.get(sys.argv[1])) is None:
        usage = f"usage: python -m {package} {' | '.join(filter(None, (*commands, others)))}"
        described = (f"  {name}: {each.about}" for name, each in commands.items() if each.about)
        fail("\n".join((usage, *described)))
    try:
        config = configure(command.name, command.settings, environ)
        command.run(config)
    except settings.SettingsError as error:
        fail(f"{command.name} cannot start: {error}")


def configure(name: str, cls: type[Settings], environ: Mapping[str, str]) -> Settings:
    """Read the settings and configure logs and traces accordingly. Raise `SettingsError`."""
    config = settings.read(cls, environ)
    logs.configure(name, level=config.log_level, form=config.log_format)
    if isinstance(config, settings.Process) and config.otel_exporter_otlp_endpoint:
        _trace(name, config)
    return config


def _trace(name: str, config: settings.Process) -> None:
    endpoint, ratio = config.otel_exporter_otlp_endpoint, config.trace_ratio
    headers = [part.strip().partition("=") for part in config.otel_exporter_otlp_headers.split(",") if part.strip()]
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise settings.SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https URL")
    if not 0 <= ratio <= 1:
        raise settings.SettingsError("TRACE_RATIO must be between 0 and 1")
    if not all(key and value for key, _, value in headers):
        raise settings.SettingsError("OTEL_EXPORTER_OTLP_HEADERS must be name=value, separated by commas")
    tracing.start(name, endpoint, headers={key: value for key, _, value in headers}, ratio=ratio)


def fail(message: str) -> NoReturn:
    """Exit with `EXIT_USAGE` and a line on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.exit(EXIT_USAGE)


def run_until_stopped(
    serve: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]],
) -> Callable[[Settings], None]:
    """Return the `Command.run` that runs `serve(settings, stop)` until a signal."""
    return lambda config: until_signal(partial(serve, config))


def migration(schema: str, directory: Path) -> Callable[[DatabaseSettings], None]:
    """Return the `Command.run` that applies the migrations in `directory`."""

    def upgrade(config: DatabaseSettings) -> None:
        # Only images that migrate contain Alembic.
        from chassis import migrations

        migrations.upgrade(config.database_url, schema, directory, certificate=config.certificate)

    return upgrade


def until_signal(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `serve(stop)` until it returns, and end the process. SIGTERM and SIGINT set `stop`; `serve` should then return.

    It waits for no thread that is left, such as one of a handler that was given up.
    """
    # The image of the provisioning serves nothing and lacks uvloop and metrics.
    import uvloop

    from chassis import metrics
    from chassis.rpc import event_engine

    freeze_modules()
    channel = event_engine.start()

    async def start() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, stop.set)
        _keep_signals_of_children_apart()
        async with run.Background() as background:
            background.start("loop-tick", _Watchdog(metrics.LOOP_LAG.observe).tick)
            await serve(stop)
        # The loop would wait for the threads of its executor, which nothing awaits any more.
        loop.set_default_executor(ThreadPoolExecutor(1))

    try:
        uvloop.run(start())
    finally:
        channel.close()
        tracing.stop()
    # Python would wait for them too.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _keep_signals_of_children_apart() -> None:
    """Let forked children, such as those of `multiprocessing`, take their signals: they would pass them on to this process.

    Until a child has forgotten the handlers, its signals are blocked.
    """

    def in_child() -> None:
        signal.set_wakeup_fd(-1)
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        unblock()

    unblock = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _STOP_SIGNALS)
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _STOP_SIGNALS),
        after_in_parent=unblock,
        after_in_child=in_child,
    )


def freeze_modules() -> None:
    """Collect garbage at the thresholds of a serving process. Modules stay for its life: no collection looks at them again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class _Watchdog:
    """Ends the process when its event loop stalls: a supervisor restarts a dead process, not a hanging one."""

    def __init__(self, on_lag: Callable[[float], None]) -> None:
        """`on_lag` is called after each tick with the seconds by which the loop was late."""
        self._on_lag = on_lag
        self._ticked = time.monotonic()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    async def tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            pause = run.pause(TICK_SECONDS)
            await asyncio.sleep(pause)
            self._on_lag(max(0.0, time.monotonic() - self._ticked - pause))

    def _watch(self) -> None:
        previous = time.monotonic()
        while True:
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            # A gap in this thread's own time means that the whole process was paused, not that the loop is stuck.
            if now - previous > STALL_SECONDS / 2:
                self._ticked = now
            previous = now
            if now - self._ticked > STALL_SECONDS:
                faulthandler.dump_traceback(file=sys.stderr)
                os._exit(EXIT_LOOP_STALLED)
