"""Emails that the system has sent."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance import waiting
from tests.mails import emails_to, text_of


async def email_to(mails: Path, address: str, subject: str) -> str:
    """Wait for an email; return its plain text."""

    async def probe() -> str | None:
        return next((text_of(email) for email in emails_to(mails, address) if email["subject"] == subject), None)

    return await waiting.until(probe, f"an email to {address}: {subject}")
