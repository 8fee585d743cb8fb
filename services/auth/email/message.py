"""A mail, and what it is as a message of RFC 5322."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """One mail to one address."""

    to: str
    subject: str
    text: str
    html: str = ""
    """The same for programs that show HTML; empty for none."""
    link: str = ""
    """The link in it, for whoever develops; a secret."""


class EmailRefused(Exception):
    """The mail will never be taken, however often it is sent."""


class Sender(Protocol):
    """Takes mails."""

    async def send(self, mail: Email) -> None:
        """Give the mail away. Raises `EmailRefused`, or anything else when it may be taken later."""
        ...


def compose(mail: Email, *, sender: str) -> EmailMessage:
    """Write the message. Raises `ValueError` for an address or a subject that would break out of its line."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip("> ") or "localhost")
    # Nobody's absence notice is to answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    return message
