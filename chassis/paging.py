"""Opaque page tokens: a position in a sorted list, bound to the filters it was made for (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from chassis import errors

DEFAULT_SIZE = 20
MAX_SIZE = 100
MAX_TOKEN_LENGTH = 500


def size(requested: int) -> int:
    """Return the number of rows of a page: 20 by default, 100 at most. Raises `InvalidArgument` below 0."""
    if requested < 0:
        raise errors.InvalidArgument(f"page_size must be between 1 and {MAX_SIZE}.", field="page_size")
    return min(requested or DEFAULT_SIZE, MAX_SIZE)


def token(position: list[str], *, filters: object) -> str:
    """Create the token of the page after `position`."""
    raw = json.dumps([_digest(filters), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def position(page_token: str, *, filters: object, length: int) -> list[str] | None:
    """Return the position of a token, None for the first page. Raise `InvalidArgument` for a token of other filters."""
    if not page_token:
        return None
    if len(page_token) > MAX_TOKEN_LENGTH:
        raise invalid_token()
    try:
        raw = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        digest, *parts = json.loads(raw)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        digest, parts = "", []
    if digest != _digest(filters) or len(parts) != length or not all(isinstance(part, str) for part in parts):
        raise invalid_token()
    return [str(part) for part in parts]


def invalid_token() -> errors.InvalidArgument:
    """Return the error for a forged token or one with an invalid position."""
    message = "page_token must be a page token of another page, with the same filters."
    return errors.InvalidArgument(message, field="page_token")


def _digest(filters: object) -> str:
    return hashlib.sha256(repr(filters).encode()).hexdigest()[:12]
