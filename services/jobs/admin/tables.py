"""Text output: tables as wide as their content, times as ages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from repruv.jobs.v1 import job_pb2

NOTHING = "-"


def show(header: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Print a table, or `nothing` when there are no rows."""
    if not rows:
        print(nothing)
        return
    cells = [[_one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def details(pairs: Sequence[tuple[str, str]]) -> None:
    """Print one value per line; empty values are left out."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value and value != NOTHING:
            print(f"{name.ljust(width)}  {_one_line(value)}")


def end_line() -> None:
    """End the line that `replace_line` has printed last."""
    if sys.stdout.isatty():
        print()


def replace_line(text: str) -> None:
    """Print a line, on a terminal over the previous one."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{_one_line(text)}", end="", flush=True)
    else:
        print(_one_line(text), flush=True)


def state(value: job_pb2.JobState.ValueType) -> str:
    return job_pb2.JobState.Name(value).removeprefix("JOB_STATE_").lower()


def state_of(job: job_pb2.Job) -> str:
    """Return the name of the state of a job; `on hold` for one that is."""
    return "on hold" if job.on_hold else state(job.state)


def progress(job: job_pb2.Job) -> str:
    done, total = job.progress.done, job.progress.total
    share = f"{done:,}/{total:,} ({done * 100 // total} %)" if total else f"{done:,}" if done else ""
    return " ".join(filter(None, (share, job.progress.message))) or NOTHING


def error(value: job_pb2.JobError) -> str:
    """Return the code and message of an error."""
    return f"{value.code}: {value.message}" if value.code else NOTHING


def at(message: object, field: str) -> str:
    """Return a time of a message in UTC."""
    moment: Timestamp = getattr(message, field)
    is_set = message.HasField(field)  # type: ignore[attr-defined]
    return moment.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if is_set else NOTHING


def since(message: object, field: str) -> str:
    """Return the age of a time of a message, or the time until it."""
    moment: Timestamp = getattr(message, field)
    if not message.HasField(field):  # type: ignore[attr-defined]
        return NOTHING
    passed = datetime.now(UTC) - moment.ToDatetime(UTC)
    return f"{span(passed)} ago" if passed >= timedelta() else f"in {span(-passed)}"


def length(message: object, field: str) -> str:
    duration: Duration = getattr(message, field)
    return span(duration.ToTimedelta()) if message.HasField(field) else NOTHING  # type: ignore[attr-defined]


def span(time: timedelta) -> str:
    """Return a duration in its two largest units."""
    seconds = int(time.total_seconds())
    for unit, size, lower, smaller in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size}{unit}{f' {rest}{lower}' if rest else ''}"
    return f"{time.total_seconds():.3g}s" if seconds < 1 else f"{seconds}s"


def printable(text: str) -> str:
    """Return text of several lines that cannot control the terminal."""
    return "\n".join(_one_line(line) for line in text.splitlines())


def _one_line(text: str) -> str:
    # Text of workers and users must neither break the table nor control the terminal.
    return "".join(character if character.isprintable() else " " for character in text)
