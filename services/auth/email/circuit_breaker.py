"""A sender whose mail server may be frozen: while it gives no answers, few emails wait for it.

Each email that waits has a slot of its worker. A frozen server would hold all of them, and connections, exports and deletions
would wait. The other emails fail at once, as with a server that refuses connections, and are tried again later.
"""

from __future__ import annotations

import asyncio
import logging

from services.auth.email.message import Email, Sender

logger = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""Time to hand an email over."""
MAX_TRIES = 2
"""Emails that wait at once for a server that gave no answer to the last one."""


class MailServerFrozen(Exception):
    """The mail server gave no answer to the last email, and others wait for it already."""


class CircuitBreaker:
    """Opens when the server gives no answer in time, and closes when it gives one, even an error."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._is_open = False
        self._tries = 0

    async def send(self, email: Email) -> None:
        """Hand the email over. Raises `MailServerFrozen`, `TimeoutError`, and the errors of the sender."""
        is_try = self._is_open
        if is_try and self._tries >= MAX_TRIES:
            raise MailServerFrozen
        self._tries += is_try
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._sender.send(email)
        except TimeoutError:
            if not self._is_open:
                self._is_open = True
                logger.warning("the mail server does not answer")
            raise
        except Exception:
            self._is_open = False
            raise
        else:
            self._is_open = False
        finally:
            self._tries -= is_try
