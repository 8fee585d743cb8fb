"""Emails that the system has sent."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from tests.acceptance import waiting


def emails_to(mails: Path, address: str) -> Iterator[EmailMessage]:
    """Yield the emails to an address."""
    for path in mails.glob("*.eml"):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        if mail["to"] == address:
            yield mail


async def email_to(mails: Path, address: str, subject: str) -> str:
    """Wait for an email; return its plain text."""

    async def probe() -> str | None:
        bodies = [mail.get_body(("plain",)) for mail in emails_to(mails, address) if mail["subject"] == subject]
        return bodies[0].get_content() if bodies and bodies[0] is not None else None

    return await waiting.until(probe, f"an email to {address}: {subject}")
