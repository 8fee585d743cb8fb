"""Emails that a system has written into a folder. No file changes, so each is parsed once, however often a test polls."""

from __future__ import annotations

import functools
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path


def emails_to(folder: Path, address: str) -> list[EmailMessage]:
    """Return the emails to an address, oldest first."""
    emails = map(_parse, sorted(folder.glob("*.eml")))
    return [email for email in emails if email["to"] == address]


def text_of(email: EmailMessage) -> str:
    """Return the plain text of an email."""
    body = email.get_body(("plain",))
    return "" if body is None else str(body.get_content())


@functools.cache
def _parse(path: Path) -> EmailMessage:
    email = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(email, EmailMessage)
    return email
