"""Mails for development: files in a folder, and a line in the log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from chassis import ids
from services.auth.email import message
from services.auth.email.message import Email

logger = logging.getLogger(__name__)


class Folder:
    """Keeps mails as `.eml` files, the oldest first by name. Logs their links too when `shows_links`."""

    def __init__(self, path: Path, *, sender: str, shows_links: bool) -> None:
        self._path = path
        self._sender = sender
        self._shows_links = shows_links

    async def send(self, mail: Email) -> None:
        """Write the file."""
        written = message.compose(mail, sender=self._sender).as_bytes()
        await asyncio.to_thread(self._write, written)
        shown = {"link": mail.link} if self._shows_links and mail.link else {}
        logger.info("mail written", extra={"to": mail.to, "subject": mail.subject, **shown})

    def _write(self, written: bytes) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        path = self._path / f"{ids.uuid7()}.eml"
        beside = path.with_suffix(".part")
        beside.write_bytes(written)
        # At once: nobody reads half a mail.
        beside.rename(path)
