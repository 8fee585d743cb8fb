"""Log lines of an attempt, collected from the standard `logging` until they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar

from chassis import logs
from repruv.jobs.v1 import job_pb2

MAX_LINES = 1_000
MAX_BYTES = 128 * 1024
"""Lines of an attempt, and the bytes of their texts. Further lines are dropped."""
LINE_BYTES = 4 * 1024
LOGGER_LENGTH = 100
CALL_BYTES = 64 * 1024
"""The bytes of lines that one call carries."""
_FULL = f"Further lines are not kept: an attempt keeps {MAX_LINES:,} lines and {MAX_BYTES // 1024} KiB."
_LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)


class Recorder:
    """The lines of one attempt. Handlers log from any thread; calls take lines in the event loop."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self.on_line: Callable[[], None] = _ignore
        """Called in the event loop after a line was added."""
        self._mask = mask
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._unsent: list[job_pb2.LogLine] = []
        self._count = 0
        self._bytes = 0
        self._is_closed = False

    def add(self, record: logging.LogRecord) -> None:
        """Add a line, unless the attempt is over or has logged its maximum."""
        text = self._mask(logs.text(record)).encode(errors="replace").replace(b"\0", b"")[:LINE_BYTES]
        line = job_pb2.LogLine(
            level=next((name for number, name in _LEVELS if record.levelno >= number), "debug"),
            logger=record.name[:LOGGER_LENGTH],
            text=text.decode(errors="ignore"),
        )
        line.time.FromNanoseconds(int(record.created * 1e9))
        with self._lock:
            if self._is_closed:
                return
            self._count += 1
            self._bytes += len(text)
            if self._count == MAX_LINES or self._bytes > MAX_BYTES - len(_FULL):
                line.level, line.text = "warning", _FULL
                self._is_closed = True
            # Numbers without gaps: a repeated call stores no line twice.
            line.number = self._count
            self._unsent.append(line)
        if threading.get_ident() == self._thread:
            self.on_line()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.on_line)

    @property
    def has_unsent(self) -> bool:
        """Whether lines wait to be sent."""
        return bool(self._unsent)

    def next_unsent(self) -> list[job_pb2.LogLine]:
        """Return the oldest lines that were not sent, as many as one call carries."""
        with self._lock:
            size = 0
            for position, line in enumerate(self._unsent):
                size += len(line.text)
                if size > CALL_BYTES and position:
                    return self._unsent[:position]
            return list(self._unsent)

    def drop_sent(self, lines: list[job_pb2.LogLine]) -> None:
        with self._lock:
            del self._unsent[: len(lines)]

    def close(self) -> None:
        """Accept no more lines: tasks and threads of the handler may outlive the attempt."""
        with self._lock:
            self._is_closed = True


_current: ContextVar[Recorder | None] = ContextVar("attempt", default=None)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Record what is logged inside, also by the tasks and threads that start there."""
    token = _current.set(recorder)
    try:
        yield
    finally:
        _current.reset(token)


def is_recording(context: Context | None) -> bool:
    """Return whether a context, by default the current one, is that of a handler."""
    return (_current.get() if context is None else context.get(_current)) is not None


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if (recorder := _current.get()) is not None:
            try:
                recorder.add(record)
            except Exception:  # noqa: BLE001 - a line that cannot be formatted is no error of the job
                self.handleError(record)


class _Installation:
    """The one handler of the process. Several workers in a process share it, so that no line is recorded twice."""

    def __init__(self) -> None:
        self._handler = _Handler()
        self._lock = threading.Lock()
        self._workers = 0

    def change(self, workers: int) -> None:
        """Add or subtract workers; the handler is installed while there is one."""
        with self._lock:
            self._workers += workers
            root = logging.getLogger()
            (root.addHandler if self._workers else root.removeHandler)(self._handler)


_installation = _Installation()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let handlers use the standard `logging`: the root logger passes their lines to the recorder of their attempt."""
    _installation.change(1)
    try:
        yield
    finally:
        _installation.change(-1)


def _ignore() -> None:
    pass
