"""`make reset`: deletes a local installation."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dev.embedded import EmbeddedServers
from dev.launcher import ownership


def run(data_dir: Path) -> int:
    """Delete all data of the stack in `data_dir` after a confirmation. Return the exit code."""
    if not data_dir.exists():
        print(f"there is nothing in {data_dir}")
        return 0
    print(f"Delete all data in {data_dir}, permanently? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        print("nothing was deleted")
        return 1
    try:
        erase(data_dir)
    except ownership.AlreadyRunning as error:
        print(f"{error}; stop it first")
        return 1
    print("deleted; the next `make up` starts with no data")
    return 0


def erase(data_dir: Path) -> None:
    """Delete all data of the stack in `data_dir`, links followed. Raises `AlreadyRunning` while it is in use."""
    with ownership.hold_ownership(data_dir):
        EmbeddedServers.highly_available(data_dir, postgres_password="").erase()
        shutil.rmtree(data_dir)
