"""Certificates for development: a local authority, and a certificate for each process.

`<folder>/authority` holds the authority, `<folder>/<name>` the three files that a process of that identity reads, and
no others. Safe to repeat: a certificate that is valid for long enough stays. In production the operator's own authority
gives certificates like these.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis import tls
from provision import services

logger = logging.getLogger(__name__)

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
RENEW_DAYS = 30
"""A certificate that ends within this many days is renewed."""
BACKDATE = timedelta(minutes=5)
"""Clocks differ."""
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
AUTHORITY_KEY = "ca.key"
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity that a certificate names."""

    name: str
    hosts: tuple[str, ...]
    """The names by which it is reached, besides this machine."""
    uses: tuple[x509.ObjectIdentifier, ...]
    """A client's certificate serves no connection."""


IDENTITIES = (
    *(Identity(name=name, hosts=(name,), uses=(_SERVER, _CLIENT)) for name in services.SERVICES),
    *(Identity(name=name, hosts=(name,), uses=(_CLIENT,)) for name in services.EDGES),
    Identity(name="provision", hosts=("migrate",), uses=(_CLIENT,)),
    # Their replicas connect to each other.
    Identity(name="postgres", hosts=("postgres", "postgres-standby"), uses=(_SERVER, _CLIENT)),
    Identity(name="nats", hosts=("nats", "nats-2", "nats-3"), uses=(_SERVER, _CLIENT)),
)


def make(folder: Path, others: Sequence[str] = (), *, now: datetime | None = None) -> list[str]:
    """Create the certificates below `folder` that are missing or expire soon; return their names.

    `others` are services outside this repository that call ours.
    """
    now = now or datetime.now(UTC)
    authority = _Authority.load_or_create(folder / "authority", now)
    callers = [Identity(name=name, hosts=(name,), uses=(_CLIENT,)) for name in others]
    return [
        identity.name
        for identity in (*IDENTITIES, *callers)
        if authority.provide(identity, folder / identity.name, now)
    ]


class _Authority:
    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self._pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    def load_or_create(cls, folder: Path, now: datetime) -> _Authority:
        """Return the authority in `folder`; create it if it is missing."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
            return cls(certificate, _private((folder / AUTHORITY_KEY).read_bytes()))
        except FileNotFoundError:
            pass
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Repruv development authority")])
        certificate = (
            _builder(name, name, key, now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / AUTHORITY_KEY, _pem(key), 0o600)
        _write(folder / AUTHORITY, certificate.public_bytes(Encoding.PEM), 0o644)
        return cls(certificate, key)

    def provide(self, identity: Identity, folder: Path, now: datetime) -> bool:
        """Create or renew the files of an identity; return whether they are new."""
        if self._is_good(identity, folder, now):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])
        certificate = (
            _builder(name, self._certificate.subject, key, now, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(_names(identity), critical=False)
            .add_extension(x509.ExtendedKeyUsage(identity.uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / KEY, _pem(key), 0o600)
        _write(folder / CERTIFICATE, certificate.public_bytes(Encoding.PEM), 0o644)
        _write(folder / AUTHORITY, self._pem, 0o644)
        logger.info("certificate of %s created, valid until %s", identity.name, certificate.not_valid_after_utc.date())
        return True

    def _is_good(self, identity: Identity, folder: Path, now: datetime) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
            key = _private((folder / KEY).read_bytes())
            certificate.verify_directly_issued_by(self._certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            return (
                (folder / AUTHORITY).read_bytes() == self._pem
                and _public(certificate.public_key()) == _public(key.public_key())
                and (names, tuple(uses)) == (_names(identity), identity.uses)
                and certificate.not_valid_before_utc <= now
                and certificate.not_valid_after_utc > now + timedelta(days=RENEW_DAYS)
            )
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _names(identity: Identity) -> x509.SubjectAlternativeName:
    hosts = [x509.DNSName(host) for host in (*identity.hosts, "localhost")]
    this_machine = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    owner = x509.UniformResourceIdentifier(tls.SPIFFE + identity.name)
    return x509.SubjectAlternativeName([owner, *hosts, this_machine])


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is of another kind")
    return key


def _public(key: object) -> bytes:
    form: Callable[..., bytes] = key.public_bytes  # type: ignore[attr-defined]
    return form(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file atomically."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
