"""The log of `make up` on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from chassis import logs
from dev.launcher import log_output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def request_line(status: int) -> str:
    """Return the line of a request, formatted as the gateway does."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs._Text())
    record = logging.LogRecord("gateway.middleware.access_log", logging.INFO, "", 0, "request", (), None)
    record.__dict__.update(method="GET", path="/jobs", status=status, ms=1.0)
    handler.emit(record)
    return stream.getvalue().strip()


@pytest.mark.parametrize(
    ("stream", "logs_of", "statuses"),
    [
        (Terminal(), "", [404, 500]),
        (Terminal(), "all", [200, 303, 404, 500]),
        (io.StringIO(), "", [200, 303, 404, 500]),
    ],
)
def test_terminal_gets_failed_requests_only_unless_all_are_wanted(
    stream: io.StringIO, logs_of: str, statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGS", logs_of)
    write = log_output.to_terminal(stream)
    write("launcher", "Repruv is up")
    for status in (200, 303, 404, 500):
        write("gateway", request_line(status))
    lines = stream.getvalue().splitlines()
    assert "Repruv is up" in lines[0]
    assert [status for status in (200, 303, 404, 500) if f" status={status} " in stream.getvalue()] == statuses
