"""What a handler is given, and what it may raise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class JobFailed(Exception):
    """Raised by a handler: the attempt failed, for a reason that the user may read."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        """`code` is stable, `message` one sentence without internals; `retryable`: another attempt may help."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class Cancelled(Exception):
    """Raised by a handler: it stopped since it was asked to, or since its work had become pointless."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt has come; `total` 0 means unknown."""

    done: int
    total: int
    message: str


class Context:
    """One attempt of one job, as its handler sees it."""

    def __init__(self, *, job_id: str, owner_id: str, kind: str, attempt: int, payload: Mapping[str, Any]) -> None:
        self.job_id = job_id
        self.owner_id = owner_id
        self.kind = kind
        self.attempt = attempt
        """With job_id the fencing token: whatever the handler writes elsewhere must be guarded by it."""
        self.payload = dict(payload)
        self.cancelled = asyncio.Event()
        """Set when the handler should stop."""
        self.latest_progress: Progress | None = None
        self.progressed = asyncio.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler should stop."""
        return self.cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the handler should stop."""
        if self.is_cancelled:
            raise Cancelled("requested")

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell how far the attempt has come. Cheap: it is sent beside the work, the newest only, a few times a second."""
        self.latest_progress = Progress(done=done, total=total, message=message)
        self.progressed.set()
