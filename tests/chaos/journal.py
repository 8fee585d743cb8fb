"""The journal of a run: calls with their answers, frames of streams, disturbances; one JSON line each."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


class Journal:
    """Writes lines to a file, and remembers what the checker compares."""

    def __init__(self, path: Path) -> None:
        self.began = time.monotonic()
        self.answers: Counter[str] = Counter()
        """How often each status was answered; `broken` without an answer."""
        self.seconds: list[float] = []
        """The time of each call that was accepted."""
        self.accepted: dict[str, str] = {}
        """Accepted jobs, each with the id of its user."""
        self.by_key: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """The jobs of all accepted calls with one (user, idempotency key)."""
        self.path = path
        self._file = path.open("a", buffering=1)

    def call(self, user_id: str, method: str, path: str, began: float, status: str, **more: Any) -> None:
        """Record a call and its answer."""
        self.answers[status] += 1
        self.write("call", user=user_id, method=method, path=path, status=status, took=time.monotonic() - began, **more)

    def accept(self, user_id: str, job_id: str, seconds: float, key: str = "") -> None:
        """Record that a call was accepted and named a job."""
        self.accepted[job_id] = user_id
        self.seconds.append(seconds)
        if key:
            self.by_key[user_id, key].add(job_id)

    def write(self, what: str, **fields: Any) -> None:
        """Write a line."""
        line = {"at": round(time.monotonic() - self.began, 3), "what": what, **fields}
        self._file.write(json.dumps(line, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
