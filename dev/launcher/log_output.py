"""Output of the log lines of all processes: a terminal with a colour per process, or a file."""

from __future__ import annotations

import os
import re
import sys
import threading
import zlib
from pathlib import Path
from typing import TextIO

from dev.launcher.replica import Log

LABEL_WIDTH = 13
COLOURS = (36, 32, 35, 34, 33, 96, 92, 95, 94)
BOLD = 1
_REQUEST = " info    gateway.middleware.access_log: request "
_FAILED = re.compile(r" status=[045]")
"""A request without an answer, or refused."""


def discard(label: str, line: str) -> None:
    """Drop the line."""


def to_file(path: Path) -> Log:
    """Append lines to `path`. Creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def write(label: str, line: str) -> None:
        with lock, path.open("a") as file:
            file.write(f"{label:<{LABEL_WIDTH}} | {line}\n")

    return write


def to_terminal(stream: TextIO = sys.stdout) -> Log:
    """Write lines to `stream`, in colour on a terminal unless NO_COLOR is set.

    A terminal gets no lines of successful requests, which would scroll everything else away, unless LOGS is `all`.
    """
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    is_folded = stream.isatty() and os.environ.get("LOGS") != "all"
    lock = threading.Lock()

    def write(label: str, line: str) -> None:
        if is_folded and _REQUEST in line and not _FAILED.search(line):
            return
        head = f"{label:<{LABEL_WIDTH}} |"
        if coloured:
            head = f"\x1b[{_colour(label)}m{head}\x1b[0m"
        with lock:
            try:
                print(head, line, file=stream, flush=True)
            except (BrokenPipeError, ValueError):  # the reader is gone; the system keeps running
                return

    return write


def _colour(label: str) -> int:
    if label == "launcher":
        return BOLD
    return COLOURS[zlib.crc32(label.partition("-")[0].encode() + label[-2:].encode()) % len(COLOURS)]
