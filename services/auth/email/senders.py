"""Parses EMAIL_URL into the sender that it names."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from services.auth.email import folder, smtp
from services.auth.email.message import Sender

PORTS = {"smtp": 587, "smtps": 465}


def open_sender(url: str, *, sender: str, is_production: bool) -> Sender:
    """Open `folder:<path>`, `smtp://[user:password@]host[:port]` (STARTTLS) or `smtps://…` (TLS).

    Raises `ValueError`. In production a folder and a server without TLS are refused.
    """
    if "@" not in sender or any(not character.isprintable() for character in sender):
        raise ValueError("the sender must be an address, or a name with one: `Repruv <no-reply@example.org>`")
    scheme, _, path = url.partition(":")
    if scheme == "folder" and path:
        if is_production:
            raise ValueError("a folder is for development only; name a mail server, `smtps://…` or `smtp://…`")
        return folder.Folder(Path(path), sender=sender)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("it must be `folder:<path>`, `smtp://[user:password@]host[:port]` or `smtps://…`")
    server = smtp.Server(
        host=parts.hostname,
        port=parts.port or PORTS[parts.scheme],
        username=urllib.parse.unquote(parts.username or ""),
        password=urllib.parse.unquote(parts.password or ""),
        uses_tls=parts.scheme == "smtps",
        requires_tls=is_production,
    )
    return smtp.Smtp(server, sender=sender)
