"""Wrong clocks for single replicas, by libfaketime: each reads its offset from a file, which can change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

LIBRARY = "libfaketimeMT.so.1"
FOLDERS = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/opt/homebrew/lib/faketime")
SMALL = (-11, 11)
"""Seconds that must be unnoticed: within the leeway of identities."""
LARGE = (-300, 300)
"""Seconds beyond the leeway: others may refuse the replica's calls, and it theirs, with 503."""


class Clocks:
    """The clocks of the first replica of each process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = _library()
        folder.mkdir(parents=True)

    def variables(self, name: str, index: int) -> Mapping[str, str]:
        """Return the environment of a replica; only the first one of a name has a clock of its own."""
        if index > 0:
            return {}
        self.set(name, 0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_CACHE_DURATION": "1",
            # Time that passes is right; files keep their times.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, name: str, seconds: int) -> None:
        """Let the clock of the first replica be wrong by so many seconds, within a second."""
        new = self._file(name).with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / name


def _library() -> Path:
    for folder in FOLDERS:
        for path in sorted(Path("/").glob(f"{folder[1:]}/{LIBRARY}")):
            return path
    pytest.fail("install libfaketime first (Debian: apt-get install libfaketime)", pytrace=False)
