"""Secrets that must be read again (an authenticator's, a platform's tokens) are sealed at rest: AES-256-GCM (NIST SP 800-38D).

What is sealed names its key, so keys rotate: the first of the ring seals, all of them open. It also belongs to its place: bytes
that were copied to another user's row or to another column do not open there.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_NAME = re.compile(r"[a-z0-9-]{1,32}")


class CannotOpen(Exception):
    """What was sealed was sealed for another place, was changed, or its key is no longer in the ring."""


class Ring:
    """The keys, the newest first."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        """`keys` by name. Raises `ValueError` for a name or a length that cannot be used, and for no key at all."""
        if not keys or not all(_NAME.fullmatch(name) and len(key) == _KEY_BYTES for name, key in keys.items()):
            raise ValueError(
                "keys are `name:key`: names of small letters, digits and hyphens, keys of 32 bytes in base64url"
            )
        self._newest = next(iter(keys))
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `2026b:<base64url>,2026a:<base64url>`. Raises `ValueError`."""
        entries = [part.strip().partition(":") for part in text.split(",") if part.strip()]
        try:
            return cls({name: base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)) for name, _, key in entries})
        except binascii.Error as error:
            raise ValueError("a key is no base64url") from error

    def seal(self, secret: str, *, place: str) -> bytes:
        """Seal a secret; `place` says where it will lie, for example `totp|<user_id>`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._keys[self._newest].encrypt(nonce, secret.encode(), place.encode())
        return self._newest.encode() + b":" + nonce + sealed

    def open(self, sealed: bytes, *, place: str) -> str:
        """Give the secret. Raises `CannotOpen`."""
        name, _, rest = sealed.partition(b":")
        try:
            key = self._keys[name.decode("ascii", "replace")]
            return key.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], place.encode()).decode()
        except (KeyError, InvalidTag) as error:
            raise CannotOpen(place) from error

    @property
    def mark(self) -> bytes:
        """What everything that the newest key sealed begins with."""
        return self._newest.encode() + b":"

    def is_outdated(self, sealed: bytes) -> bool:
        """Say whether another key than the newest sealed it."""
        return sealed.partition(b":")[0] != self._newest.encode()
