"""Encryption at rest, AES-256-GCM (NIST SP 800-38D), of secrets that must be read again: TOTP secrets, platform tokens.

A ciphertext names its key, so keys rotate: the first key of the keyring encrypts, all of them decrypt. A ciphertext is
also bound to its row and column by the associated data: copied to another user's row or another column, it does not decrypt.
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


class DecryptionFailed(Exception):
    """The associated data differ, the ciphertext was changed, or its key is not in the keyring."""


class KeyMissing(DecryptionFailed):
    """The key is not in the keyring: it was removed too early, or another replica has newer settings."""


class Keyring:
    """The encryption keys, newest first."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        """`keys` by name. Raises `ValueError` if there is none, or a name or a length is invalid."""
        if not keys or not all(_NAME.fullmatch(name) and len(key) == _KEY_BYTES for name, key in keys.items()):
            raise ValueError(
                "keys are `name:key`: names of small letters, digits and hyphens, keys of 32 bytes in base64url"
            )
        self._newest = next(iter(keys))
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse `2026b:<base64url>,2026a:<base64url>`. Raises `ValueError`."""
        entries = [part.strip().partition(":") for part in text.split(",") if part.strip()]
        try:
            return cls({name: base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)) for name, _, key in entries})
        except binascii.Error as error:
            raise ValueError("a key is not valid base64url") from error

    def encrypt(self, secret: str, *, associated_data: str) -> bytes:
        """Encrypt a secret with the newest key; `associated_data` names its row, for example `totp|<user_id>`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = self._keys[self._newest].encrypt(nonce, secret.encode(), associated_data.encode())
        return self.newest_prefix + nonce + ciphertext

    def decrypt(self, ciphertext: bytes, *, associated_data: str) -> str:
        """Decrypt a secret with the key that its ciphertext names. Raises `DecryptionFailed`, `KeyMissing`."""
        name, _, rest = ciphertext.partition(b":")
        if (key := self._keys.get(name.decode("ascii", "replace"))) is None:
            raise KeyMissing(associated_data)
        try:
            return key.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], associated_data.encode()).decode()
        except InvalidTag as error:
            raise DecryptionFailed(associated_data) from error

    @property
    def newest_prefix(self) -> bytes:
        """The first bytes of everything that the newest key encrypted."""
        return self._newest.encode() + b":"

    def is_outdated(self, ciphertext: bytes) -> bool:
        """Return whether a key other than the newest encrypted it."""
        return not ciphertext.startswith(self.newest_prefix)
