"""What proves the calling service: its certificate, and the signature of each call.

Signatures are JSON Web Tokens (RFC 7519) with Ed25519 (RFC 8037). Keys are raw 32 bytes in base64url without padding.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TOKEN_SECONDS = 120
RELOAD_SECONDS = 1.0


class CredentialsUnusable(Exception):
    """The identity key is malformed, or the certificate's files are missing or do not belong together."""


def new_identity_key() -> str:
    """Return a new private key. It is a secret of the calling service."""
    return _encode(os.urandom(32))


def public_key(identity_key: str) -> str:
    """Return the public key of a private one. Raises `CredentialsUnusable`."""
    key = _private(identity_key).public_key()
    return _encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


class Signer:
    """Signs the calls of one service."""

    def __init__(self, service: str, identity_key: str) -> None:
        """Read the key. Raises `CredentialsUnusable`."""
        self._service = service
        self._key = _private(identity_key)
        self._key_id = public_key(identity_key)
        self._tokens: dict[str, tuple[str, float]] = {}

    def token(self, callee: str) -> str:
        """Return a token for calls to the service `callee`, which no other service accepts. It is reused for a minute."""
        now = time.time()
        token, renew_at = self._tokens.get(callee, ("", 0.0))
        if now >= renew_at:
            claims = {
                "iss": self._service,
                "aud": f"service/{callee}",
                "iat": int(now),
                "exp": int(now + TOKEN_SECONDS),
            }
            token = jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._key_id})
            self._tokens[callee] = token, now + TOKEN_SECONDS / 2
        return token


@dataclass(frozen=True, slots=True)
class Certificate:
    """The paths of three PEM files: certificate chain, private key, and the trusted authorities.

    The files may be replaced at any time; new connections use the new ones.
    """

    certificate: str
    key: str
    authority: str


class ChannelCredentials:
    """The gRPC credentials of a certificate, read again when its files change."""

    def __init__(self, certificate: Certificate) -> None:
        """Read the files. Raises `CredentialsUnusable`."""
        self._paths = (certificate.certificate, certificate.key, certificate.authority)
        self._current, self._stamp = self._read()
        self._reload_at = 0.0

    def current(self) -> grpc.ChannelCredentials:
        """Return the credentials of the files as of a second ago; the same object until they change.

        While the files cannot be used (one is replaced, the others not yet), the previous credentials stay.
        """
        if time.monotonic() >= self._reload_at:
            self._reload_at = time.monotonic() + RELOAD_SECONDS
            try:
                if self._read_stamp() != self._stamp:
                    self._current, self._stamp = self._read()
            except (CredentialsUnusable, OSError):
                pass
        return self._current

    def _read(self) -> tuple[grpc.ChannelCredentials, object]:
        try:
            stamp = self._read_stamp()
            certificate, key, authority = (Path(path).read_bytes() for path in self._paths)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(*self._paths[:2])  # refuses a key of another certificate
            context.load_verify_locations(cadata=authority.decode())
            if self._read_stamp() != stamp:
                raise CredentialsUnusable("the files are being replaced")
        except (OSError, ValueError) as error:
            raise CredentialsUnusable(f"{', '.join(self._paths)}: {error}") from error
        return grpc.ssl_channel_credentials(authority, key, certificate), stamp

    def _read_stamp(self) -> object:
        return [(status.st_mtime_ns, status.st_ino, status.st_size) for status in map(os.stat, self._paths)]


def _private(identity_key: str) -> Ed25519PrivateKey:
    try:
        raw = base64.urlsafe_b64decode(identity_key + "=" * (-len(identity_key) % 4))
        return Ed25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise CredentialsUnusable("The identity key is not 32 bytes in base64url.") from error


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
