"""What a session runs on, read from its user agent, for display only: a client may send any."""

from __future__ import annotations

import re

from gateway import views

_DEVICES = (
    ("tablet", re.compile(r"iPad|Tablet|Android(?!.*Mobile)|Kindle|Silk/")),
    ("phone", re.compile(r"iPhone|iPod|Mobile|Phone")),
    ("device", re.compile(r"^(Mozilla|Opera)/")),
)
_PRODUCT = re.compile(r"[A-Za-z][\w.+-]{0,39}", re.ASCII)


def device(user_agent: str) -> str:
    """Return the icon of a device: `phone`, `tablet`, `device` for a computer, `terminal` for programs without pages."""
    return next(
        (icon for icon, pattern in _DEVICES if pattern.search(user_agent)), "terminal" if user_agent else "device"
    )


def client(session: views.Session) -> str:
    """Return the name of a session's client: that of auth, else the product that the user agent begins with."""
    product = _PRODUCT.match(session["user_agent"])
    return session["client_name"] or (product[0] if product else "Unknown device")
