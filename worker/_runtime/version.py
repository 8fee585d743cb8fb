"""The version of the running program: a digest of its source, so that operators see which workers run the same."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PACKAGES = ("chassis", "lifecycle", "services", "worker")


@functools.cache
def program_version() -> str:
    """Return the digest, 12 hex digits."""
    digest = hashlib.blake2s(digest_size=6)
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
