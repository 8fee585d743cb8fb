"""Describes the exception that failed an attempt, for operators: bounded, and without the secrets of the payload."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from repruv.jobs.v1 import job_pb2

TRACEBACK_BYTES = 16_000
MESSAGE_BYTES = 2_000
NAME_LENGTH = 200
HEAD_SHARE = 4
"""A cut traceback keeps its beginning and its end. One part in four of the limit is for the beginning."""

Mask = Callable[[str], str]
_RUNTIME = str(Path(__file__).parent)
_PACKAGES = tuple(f"{Path(__file__).parents[2] / name}{os.sep}" for name in ("worker", "chassis"))
_LIBRARIES = (
    *{sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    *_PACKAGES,
    "<",
)


def describe(error: BaseException, mask: Mask) -> job_pb2.JobException:
    """Return type, message, traceback and place of an exception. Never raises, so that no outcome is lost."""
    try:
        return _describe(error, mask)
    except Exception as broken:  # noqa: BLE001 - for example a `__str__` that raises
        return job_pb2.JobException(type=_name(error), message=f"The exception cannot be shown: {_name(broken)}")


def _describe(error: BaseException, mask: Mask) -> job_pb2.JobException:
    origin = _origin(error)
    frames = _without_runtime(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, frames))
    return job_pb2.JobException(
        type=_name(origin),
        message=_head(mask(_printable(str(origin))), MESSAGE_BYTES),
        traceback=_head_and_tail(mask(_printable(text)), TRACEBACK_BYTES),
        place=_place(origin.__traceback__ or error.__traceback__)[-NAME_LENGTH:],
    )


def _origin(error: BaseException) -> BaseException:
    """Return the exception that says most about a failure."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        # A task group wraps even a single error.
        error = error.exceptions[0]
    if error.__cause__ is None or isinstance(error, BaseExceptionGroup):
        return error
    # It has more details than the exception in which a handler wrapped it for the user.
    return error.__cause__


def _name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return _printable(name)[:NAME_LENGTH]


def _without_runtime(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the first frames of this package. They are the same for every failure."""
    first = frames
    while first is not None and first.tb_next is not None and first.tb_frame.f_code.co_filename.startswith(_RUNTIME):
        first = first.tb_next
    return first


def _place(frames: TracebackType | None) -> str:
    """Return file and function of the innermost frame outside libraries, or of the innermost frame if there is none."""
    place = ""
    is_own = False
    while frames is not None:
        code = frames.tb_frame.f_code
        is_ours = not code.co_filename.startswith(_LIBRARIES)
        if is_ours or not is_own:
            place, is_own = f"{_relative(code.co_filename)}:{code.co_qualname}", is_ours
        frames = frames.tb_next
    return _printable(place)


def _relative(filename: str) -> str:
    """Return a file's path below its import root, so that one failure has one place on every machine."""
    roots = sorted((root for root in (*sys.path, str(Path.cwd())) if root), key=len, reverse=True)
    root = next((root for root in roots if filename.startswith(root + os.sep)), "")
    return filename[len(root) + 1 :] if root else filename


def _printable(text: str) -> str:
    """Return text that protobuf and PostgreSQL accept."""
    return text.encode(errors="replace").decode().replace("\0", "")


def _head(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def _head_and_tail(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    head, tail = limit // HEAD_SHARE, limit - limit // HEAD_SHARE
    begin, end = encoded[:head].decode(errors="ignore"), encoded[-tail:].decode(errors="ignore")
    return f"{begin}\n… {len(encoded) - limit:,} bytes left out …\n{end}"
