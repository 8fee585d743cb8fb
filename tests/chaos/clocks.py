"""Wrong clocks for single replicas: each adds seconds of a file, which can change while it runs (clock.c)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "clock.c"
SMALL = (-11, 11)
"""Clock errors within the leeway of identities, which must have no effect."""
LARGE = (-300, 300)
"""Seconds beyond the leeway: others refuse the replica's calls, and it refuses theirs, with 503."""


class Clocks:
    """The clocks of the first replica of each process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "clock.so"
        folder.mkdir(parents=True)
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.fail("install a C compiler first (Debian: apt-get install gcc libc6-dev)", pytrace=False)
        command: list[str | Path] = [compiler, "-O2", "-shared", "-fPIC", "-o", self._library, SOURCE, "-ldl"]
        subprocess.run(command, check=True, timeout=60.0)

    def variables(self, name: str, index: int) -> Mapping[str, str]:
        """Return the environment of a replica; only the first one of a name has a clock of its own."""
        if index > 0:
            return {}
        self._file(name).write_bytes(_encode(0))
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._file(name))}

    def set(self, name: str, seconds: int) -> None:
        """Let the clock of the first replica be wrong by `seconds`, at once."""
        with self._file(name).open("r+b") as file:
            file.write(_encode(seconds))

    def _file(self, name: str) -> Path:
        return self._folder / name


def _encode(seconds: int) -> bytes:
    return struct.pack("q", seconds)
