"""An email, and its RFC 5322 message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    to: str
    subject: str
    text: str
    html: str = ""
    """The HTML alternative; empty for none."""
    link: str = ""
    """The link in the text, logged in development only; a secret."""
    message_id: str = ""
    """The local part of the Message-ID; empty for a random one. Receivers drop a second email with the same one."""


class EmailRefused(Exception):
    """The mail server refuses the email permanently."""


class Sender(Protocol):
    """Delivers emails."""

    async def send(self, email: Email) -> None:
        """Hand the email over. Raises `EmailRefused`, or another exception when a retry may succeed."""
        ...


def compose(email: Email, *, sender: str) -> EmailMessage:
    """Build the message. Raises `ValueError` for an address or subject that would inject a header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = email.to
    message["Subject"] = email.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    domain = sender.rpartition("@")[2].rstrip("> ") or "localhost"
    message["Message-ID"] = f"<{email.message_id}@{domain}>" if email.message_id else make_msgid(domain=domain)
    # Suppresses automatic replies such as absence notices.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(email.text)
    if email.html:
        message.add_alternative(email.html, subtype="html")
    return message
