"""A ZIP archive of JSON lines that is written piece by piece, with a manifest. It keeps only what `take` has not taken."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, Any

MANIFEST = "manifest.json"
FORMAT = 1
"""Grows when a program that reads archives has to change."""


class _Buffer(io.RawIOBase):
    """Collects what is written; it cannot seek, so that the archive is written in order."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


class Archive:
    """The archive of one user. Compressing a part of 256 KiB takes milliseconds."""

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id
        self._buffer = _Buffer()
        self._zip = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)
        self._files: list[dict[str, object]] = []
        self._open = ExitStack()
        self._table = ""
        self._file: IO[bytes] | None = None
        self._rows = 0
        self._hash = hashlib.sha256()

    def write(self, table: str, rows: bytes) -> None:
        if table != self._table:
            self._end_file()
            self._table = table
            self._file = self._open.enter_context(self._zip.open(_path(table), "w"))
        if self._file is None:
            raise ValueError("The archive is closed.")
        self._file.write(rows)
        self._rows += rows.count(b"\n")
        self._hash.update(rows)

    def close(self, left_out: Mapping[str, str]) -> None:
        """Write the manifest and end the archive."""
        self._end_file()
        manifest = {
            "format": FORMAT,
            "user_id": self._user_id,
            "created_at": datetime.now(UTC).isoformat(),
            "about": "Each file has the rows of a table, one JSON object a line. Secrets are not exported.",
            "files": self._files,
            "left_out": dict(left_out),
        }
        self._zip.writestr(MANIFEST, json.dumps(manifest, indent=2))
        self._zip.close()

    def discard(self) -> None:
        """End an archive that is not needed any more; does nothing after `close`."""
        self._open.close()
        self._zip.close()
        self._buffer.data.clear()

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes that are complete, or fewer if there are no more, and forget them."""
        data = bytes(self._buffer.data[:size])
        del self._buffer.data[:size]
        return data

    @property
    def pending(self) -> int:
        """The number of bytes that nobody has taken."""
        return len(self._buffer.data)

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._open.close()
        digest = self._hash.hexdigest()
        self._files.append({"table": self._table, "file": _path(self._table), "rows": self._rows, "sha256": digest})
        self._file, self._rows, self._hash = None, 0, hashlib.sha256()


def _path(table: str) -> str:
    service, _, name = table.partition(".")
    return f"{service}/{name}.jsonl"
