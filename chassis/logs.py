"""Logs: one line for each event, as text or JSON, with the id of its request."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being handled; gRPC metadata carries it. It is the id of the trace,
unless the client has chosen another one."""
trace_id: Callable[[], str] = str
"""Returns the id of the current trace; empty without one. `chassis.tracing` sets it."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(service: str, *, level: str, form: str) -> None:
    """Send the logs of this process to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json(service) if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "urllib3", "faststream", "asyncio", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("asyncio").addFilter(_is_relevant)


def _is_relevant(record: logging.LogRecord) -> bool:
    # Logged at the end of each encrypted connection to NATS, about streams of asyncio.
    return "eof_received() has no effect when using ssl" not in record.getMessage()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    if current := request_id.get():
        fields["request_id"] = current
    if (traced := trace_id()) and traced != current:
        fields["trace_id"] = traced
    return fields


def text(record: logging.LogRecord) -> str:
    """Return the message of a record with its fields and its traceback."""
    fields = "".join(f" {name}={_printable(str(value))}" for name, value in _fields(record).items())
    line = f"{record.getMessage()}{fields}"
    return f"{line}\n{_PLAIN.formatException(record.exc_info)}" if record.exc_info else line


def _printable(text: str) -> str:
    """Return a text with control characters escaped: what a client sends cannot look like a line of its own."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


_PLAIN = logging.Formatter()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        return f"{time} {record.levelname.lower():<7} {record.name}: {text(record)}"


class _Json(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
