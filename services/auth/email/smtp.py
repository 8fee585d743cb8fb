"""Email sender over SMTP (RFC 5321) with TLS."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiosmtplib

from chassis.circuit_breaker import CircuitBreaker
from services.auth.email import message
from services.auth.email.message import Email, EmailRefused

TIMEOUT = 10.0
"""Seconds for each step of the protocol."""
SEND_SECONDS = 30.0
"""Time to hand an email over."""
PERMANENT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    host: str
    port: int
    username: str
    password: str
    uses_tls: bool
    """TLS from the first byte (RFC 8314); else STARTTLS (RFC 3207)."""
    requires_tls: bool
    """Whether a server without STARTTLS is refused; otherwise it is used in clear."""


class Smtp:
    """Sends each email over a connection of its own: there are few of them."""

    def __init__(self, server: Server, *, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._breaker = CircuitBreaker("mail")

    async def send(self, email: Email) -> None:
        """Hand the email over. Raises `Unavailable` while others wait for a server that gives no answers."""
        with self._breaker.call():
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(email)

    async def _send(self, email: Email) -> None:
        server = self._server
        try:
            await aiosmtplib.send(
                message.compose(email, sender=self._sender),
                recipients=[email.to],
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
                raise EmailRefused(_reply(error.recipients[0])) from error
            raise


def _reply(refused: aiosmtplib.SMTPRecipientRefused) -> str:
    return f"{refused.code} {refused.message[:200]}"
