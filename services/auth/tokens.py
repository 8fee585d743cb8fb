"""Bearer secrets of sessions, API tokens, login challenges, email links and passkey ceremonies.

Only their SHA-256 is stored. A fast hash suffices: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

# The prefixes let scanners for leaked secrets recognise ours, and keep one kind from being accepted as another.
_SESSION = "rpv_"
_CHALLENGE = "rpc_"
_LINK = "rpl_"
_CEREMONY = "rpk_"
_TOKEN = re.compile(r"(rpv_|rpc_|rpl_|rpk_)[A-Za-z0-9_-]{43}")
_API_TOKEN = "rpa_"  # noqa: S105 - a prefix
# Letters and digits only: a double click selects all of it. The last six are the CRC-32 of what precedes them, so that
# scanners recognise a token without asking us.
_API_TOKEN_FORM = re.compile(r"(rpa_[0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_session() -> str:
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


def new_api_token() -> str:
    """Return a new API token: the prefix, 43 random letters and digits (256 bits), the checksum."""
    random_part = "".join(secrets.choice(_BASE62) for _ in range(43))
    return _API_TOKEN + random_part + _checksum(_API_TOKEN + random_part)


def is_api_token(token: str) -> bool:
    """Return whether a text begins like an API token."""
    return token.startswith(_API_TOKEN)


def api_token_hash(token: str) -> bytes | None:
    """Return the stored hash of an API token; None if it has another form or a wrong checksum."""
    match = _API_TOKEN_FORM.fullmatch(token)
    if match is None or _checksum(match[1]) != match[2]:
        return None
    return hashlib.sha256(token.encode()).digest()


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


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


def _new(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(32)


def _hash(token: str, prefix: str) -> bytes | None:
    match = _TOKEN.fullmatch(token)
    if match is None or match[1] != prefix:
        return None
    return hashlib.sha256(token.encode()).digest()
