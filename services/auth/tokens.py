"""Bearer secrets of sessions, login challenges, email links and passkey ceremonies. Only their SHA-256 is stored.

A fast hash suffices: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets

# The prefixes let scanners for leaked secrets recognise ours, and keep one kind from being accepted as another.
_SESSION = "rpv_"
_CHALLENGE = "rpc_"
_LINK = "rpl_"
_CEREMONY = "rpk_"
_TOKEN = re.compile(r"(rpv_|rpc_|rpl_|rpk_)[A-Za-z0-9_-]{43}")


def new_session() -> str:
    """Return a new session token."""
    return _new(_SESSION)


def new_challenge() -> str:
    """Return a new login challenge: the secret with which a second factor is presented."""
    return _new(_CHALLENGE)


def new_link() -> str:
    """Return a new secret of an email link."""
    return _new(_LINK)


def new_ceremony() -> str:
    """Return a new secret of a passkey ceremony."""
    return _new(_CEREMONY)


def session_hash(token: str) -> bytes | None:
    """Return the stored hash of a session token; None if it has another form."""
    return _hash(token, _SESSION)


def challenge_hash(token: str) -> bytes | None:
    """Return the stored hash of a login challenge; None if it has another form."""
    return _hash(token, _CHALLENGE)


def link_hash(token: str) -> bytes | None:
    """Return the stored hash of an email link's secret; None if it has another form."""
    return _hash(token, _LINK)


def ceremony_hash(token: str) -> bytes | None:
    """Return the stored hash of a ceremony, which is the challenge to sign; None if it has another form."""
    return _hash(token, _CEREMONY)


def _new(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(32)


def _hash(token: str, prefix: str) -> bytes | None:
    match = _TOKEN.fullmatch(token)
    if match is None or match[1] != prefix:
        return None
    return hashlib.sha256(token.encode()).digest()
