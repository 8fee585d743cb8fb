"""A software authenticator: creates passkeys and signs with them, correctly or with forged statements."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Self

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, SYNCABLE, SYNCED, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass(slots=True, kw_only=True)
class Authenticator:
    """Holds one passkey. Its statements can be forged."""

    rp_id: str
    origin: str
    sign_count: int = 0
    flags: int = PRESENT | VERIFIED | SYNCABLE | SYNCED
    user_handle: bytes | None = None
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def but(self, **changed: Any) -> Self:
        """Return one with the same passkey and other statements."""
        return replace(self, **changed)

    def make(self, options: str, **changed: str) -> str:
        """Answer navigator.credentials.create()."""
        decoded = json.loads(options)
        self.user_handle = _bytes(decoded["user"]["id"])
        length = len(self.credential_id).to_bytes(2, "big")
        data = self._data(ATTESTED) + bytes(16) + length + self.credential_id + self._public_key()
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", decoded["challenge"], changed)
        return self._credential(clientDataJSON=client, attestationObject=attestation)

    def sign(self, options: str, **changed: str) -> str:
        """Answer navigator.credentials.get()."""
        self.sign_count += 1 if self.sign_count else 0
        client = self._client_data("webauthn.get", json.loads(options)["challenge"], changed)
        data = self._data(0)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        fields = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        if self.user_handle is not None:
            fields["userHandle"] = self.user_handle
        return self._credential(**fields)

    def _data(self, more: int) -> bytes:
        flags = (self.flags | more).to_bytes(1, "big")
        return hashlib.sha256(self.rp_id.encode()).digest() + flags + self.sign_count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str, changed: dict[str, str]) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, **changed}).encode()

    def _public_key(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})

    def _credential(self, **response: bytes) -> str:
        credential_id = _text(self.credential_id)
        fields = {name: _text(value) for name, value in response.items()}
        return json.dumps({"id": credential_id, "rawId": credential_id, "type": "public-key", "response": fields})


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
