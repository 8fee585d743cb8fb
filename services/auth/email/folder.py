"""Email sender for development: writes files into a folder, and a log line."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from functools import partial
from pathlib import Path

from chassis import ids
from services.auth.email import message
from services.auth.email.message import Email

logger = logging.getLogger(__name__)


class Folder:
    """Writes emails as `.eml` files whose names sort oldest first, and logs their links."""

    def __init__(self, path: Path, *, sender: str) -> None:
        self._path = path
        self._sender = sender

    async def send(self, email: Email) -> None:
        content = message.compose(email, sender=self._sender).as_bytes()
        await asyncio.to_thread(self._write, content)
        link = {"link": email.link} if email.link else {}
        line = partial(logger.info, "email written", extra={"to": email.to, "subject": email.subject, **link})
        # Lines that belong to a job are stored. The link is a secret for the terminal of its developer only.
        contextvars.Context().run(line)

    def _write(self, content: bytes) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path / f"{ids.uuid7()}.eml"
        partial = path.with_suffix(".part")
        partial.write_bytes(content)
        # Atomic: no reader sees half an email.
        partial.rename(path)
