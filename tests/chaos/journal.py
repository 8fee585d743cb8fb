"""The journal of a run: calls with their answers, frames of streams, disturbances; one JSON line each."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a call with an idempotency key."""

    began: float
    ended: float
    status: int
    """0 if the connection broke."""
    job_id: str = ""
    """Empty if the call was not accepted."""


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
        self.by_key: defaultdict[tuple[str, str, str], list[Answer]] = defaultdict(list)
        """The answers to all calls of a user to a path with one idempotency key, by (user, path, key)."""
        self.path = path
        self._file = path.open("a", buffering=1)

    def call(self, user_id: str, method: str, path: str, began: float, status: str, **more: Any) -> None:
        """Record a call and its answer."""
        self.answers[status] += 1
        self.write("call", user=user_id, method=method, path=path, status=status, took=time.monotonic() - began, **more)

    def accept(self, user_id: str, job_id: str, seconds: float) -> None:
        """Record that a call was accepted and named a job."""
        self.accepted[job_id] = user_id
        self.seconds.append(seconds)

    def answer(self, user_id: str, path: str, key: str, answer: Answer) -> None:
        """Record the answer to a call with an idempotency key."""
        self.by_key[user_id, path, key].append(answer)

    def write(self, event: str, **fields: Any) -> None:
        """Write a line."""
        line = {"at": round(time.monotonic() - self.began, 3), "what": event, **fields}
        self._file.write(json.dumps(line, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
