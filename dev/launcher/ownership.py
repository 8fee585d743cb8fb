"""Allows one launcher per data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class AlreadyRunning(RuntimeError):
    """Another launcher runs on this data directory."""


@contextlib.contextmanager
def hold_ownership(data_dir: Path) -> Iterator[None]:
    """Own `data_dir` (created when missing) while the context lasts. The kernel frees it when we die."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "launcher.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise AlreadyRunning(f"another launcher (pid {owner}) already runs on {data_dir}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
