"""The door through which mails leave: what a mail is, and who takes it."""

from __future__ import annotations

from services.auth.mail.message import Mail, MailRefused, Sender
from services.auth.mail.opening import open_sender

__all__ = ["Mail", "MailRefused", "Sender", "open_sender"]
