"""The secrets that are told once: of sessions, challenges, links in mails, ceremonies with passkeys. Only SHA-256 is stored.

A fast hash suffices, since nobody can guess 256 random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_SESSION = "rpv_"
_CHALLENGE = "rpc_"
_LINK = "rpl_"
_CEREMONY = "rpk_"
_SECRET = re.compile(r"(rpv_|rpc_|rpl_|rpk_)[A-Za-z0-9_-]{43}")
# The prefixes let scanners for leaked secrets find ours, and keep one kind from being taken for another.


def new_session() -> str:
    """Make the secret of a session."""
    return _new(_SESSION)


def new_challenge() -> str:
    """Make the secret with which a second factor is shown."""
    return _new(_CHALLENGE)


def new_link() -> str:
    """Make the secret of a link in a mail."""
    return _new(_LINK)


def new_ceremony() -> str:
    """Make the secret of a ceremony with a passkey."""
    return _new(_CEREMONY)


def of_session(token: str) -> bytes | None:
    """Give what is stored of a session's secret; None when it cannot be one."""
    return _hash(token, _SESSION)


def of_challenge(token: str) -> bytes | None:
    """Give what is stored of a challenge; None when it cannot be one."""
    return _hash(token, _CHALLENGE)


def of_link(token: str) -> bytes | None:
    """Give what is stored of a link's secret; None when it cannot be one."""
    return _hash(token, _LINK)


def of_ceremony(token: str) -> bytes | None:
    """Give what is stored of a ceremony, which is the challenge to be signed; None when it cannot be one."""
    return _hash(token, _CEREMONY)


def _new(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(32)


def _hash(token: str, prefix: str) -> bytes | None:
    found = _SECRET.fullmatch(token)
    if found is None or found[1] != prefix:
        return None
    return hashlib.sha256(token.encode()).digest()
