"""The addresses of the services of the running stack, stored for tools."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from dev.launcher import env_files


class NoRunningStack(RuntimeError):
    """No stack runs on this data directory."""


def write(data_dir: Path, targets: Mapping[str, str]) -> None:
    """Store the target (host:port) of each service."""
    _path(data_dir).write_text("".join(f"{name}={target}\n" for name, target in targets.items()))


def forget(data_dir: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        _path(data_dir).unlink()


def read(data_dir: Path) -> dict[str, str]:
    """Return the targets of the stack that runs on `data_dir`. Raises `NoRunningStack`."""
    try:
        return env_files.read(_path(data_dir))
    except FileNotFoundError:
        raise NoRunningStack(f"nothing runs on {data_dir}; `make up` starts it") from None


def _path(data_dir: Path) -> Path:
    return data_dir / "targets"
