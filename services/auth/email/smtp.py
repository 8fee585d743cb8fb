"""Mails by SMTP (RFC 5321), over TLS."""

from __future__ import annotations

from dataclasses import dataclass

import aiosmtplib

from services.auth.email import message
from services.auth.email.message import Email, EmailRefused

TIMEOUT = 10.0
"""For each step of the conversation; what is above has its own for the whole."""
PERMANENT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server."""

    host: str
    port: int
    username: str
    password: str
    uses_tls: bool
    """TLS from the first byte (RFC 8314); else STARTTLS (RFC 3207)."""
    requires_tls: bool
    """Whether a server that does not offer STARTTLS is refused; if not, one without it is spoken to in clear."""


class Smtp:
    """Gives mails to a mail server, one connection each: there are few of them."""

    def __init__(self, server: Server, *, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, mail: Email) -> None:
        """Give the mail to the server."""
        server = self._server
        try:
            await aiosmtplib.send(
                message.compose(mail, sender=self._sender),
                recipients=[mail.to],
                hostname=server.host,
                port=server.port,
                username=server.username or None,
                password=server.password or None,
                use_tls=server.uses_tls,
                start_tls=False if server.uses_tls else (True if server.requires_tls else None),
                timeout=TIMEOUT,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(recipient.code >= PERMANENT for recipient in error.recipients):
                raise EmailRefused(_said(error.recipients[0])) from error
            raise


def _said(refused: aiosmtplib.SMTPRecipientRefused) -> str:
    return f"{refused.code} {refused.message[:200]}"
