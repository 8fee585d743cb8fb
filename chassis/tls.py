"""The certificate of a process: three files that may be replaced while it runs.

Connections are opened and accepted with the current content of the files. If they do not match (one is replaced, the other
not yet) or are missing, the last valid content stays in use.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

WAIT_SECONDS = 60.0
"""How long a process that starts waits for its files: another process may be creating them."""
_RELOAD_SECONDS = 1.0
_POLL_SECONDS = 0.1
SPIFFE = "spiffe://repruv/"
"""What the URI of a certificate's owner begins with; the service's name follows (SPIFFE-ID 1.0)."""


class CertificateUnusable(Exception):
    """The files are missing, invalid, or do not belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the files held when they were read, in PEM."""

    certificate: bytes
    """The process's own certificate, and those between it and the authority, if any."""
    key: bytes
    authority: bytes
    """The certificates of the trusted authorities; two while the authority changes."""

    @property
    def expires_at(self) -> float:
        """When the process's own certificate expires, in Unix seconds."""
        from cryptography import x509  # not needed where connections are plain

        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc.timestamp()


class Certificate:
    """The certificate of a process and the authorities that it trusts."""

    def __init__(self, certificate: str, key: str, authority: str) -> None:
        """Store the paths of the three files; nothing is read yet."""
        self.certificate = certificate
        self.key = key
        self.authority = authority
        self._read: tuple[Material, object] | None = None
        self._reload_at = 0.0

    def await_files(self, seconds: float = WAIT_SECONDS) -> None:
        """Return when the files can be used; blocks. Raises `CertificateUnusable` when they cannot after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._load()
            except CertificateUnusable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def material(self) -> Material:
        """Return the files, at most a second old; the same object until they change. Raises `CertificateUnusable`."""
        now = time.monotonic()
        if self._read is not None and now < self._reload_at:
            return self._read[0]
        self._reload_at = now + _RELOAD_SECONDS
        try:
            return self._load()
        except CertificateUnusable as error:
            if self._read is None:
                raise
            logger.warning(
                "certificate files are unusable; the last valid ones stay in use", extra={"cause": str(error)}
            )
            return self._read[0]

    def client_context(self) -> ssl.SSLContext:
        """Create the TLS context of a client that verifies the server's name. Raises `CertificateUnusable`."""
        material = self.material()
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=material.authority.decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # From the files and not from what was read, which Python cannot take from memory.
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateUnusable(str(error)) from error
        return context

    def _load(self) -> Material:
        try:
            stamp = self._stamp()
            if self._read is not None and self._read[1] == stamp:
                return self._read[0]
            certificate, key, authority = (Path(path).read_bytes() for path in self._paths)
            # Check that the key belongs to the certificate, and that the authority is one.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(cadata=authority.decode())
            if self._stamp() != stamp:
                raise CertificateUnusable("they are just being replaced")
        except (OSError, ValueError) as error:
            raise CertificateUnusable(f"{', '.join(self._paths)}: {error}") from error
        material = Material(certificate=certificate, key=key, authority=authority)
        if self._read is not None:
            logger.info("the certificate was replaced")
        self._read = material, stamp
        return material

    def _stamp(self) -> list[tuple[int, int, int]]:
        return [(status.st_mtime_ns, status.st_ino, status.st_size) for status in map(os.stat, self._paths)]

    @property
    def _paths(self) -> tuple[str, str, str]:
        return self.certificate, self.key, self.authority


def from_environment(environ: Mapping[str, str]) -> Certificate | None:
    """Return the certificate that TLS_CERTIFICATE, TLS_KEY and TLS_CA name; None when none of them is set.

    Raises `CertificateUnusable` when only some of them are.
    """
    paths = [environ.get(name, "") for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA")]
    return from_paths(*paths)


def from_paths(certificate: str, key: str, authority: str) -> Certificate | None:
    """Return the certificate of three paths; None when all are empty. Raises `CertificateUnusable` when only some of them are."""
    paths = (certificate, key, authority)
    if not any(paths):
        return None
    if not all(paths):
        raise CertificateUnusable("TLS_CERTIFICATE, TLS_KEY and TLS_CA belong together: set all or none")
    return Certificate(*paths)


def service_of(uri: str) -> str:
    """Return the service that a certificate's URI names; empty if it names none."""
    return uri.removeprefix(SPIFFE) if uri.startswith(SPIFFE) else ""
