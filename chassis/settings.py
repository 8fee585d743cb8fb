"""Settings of a process: a frozen dataclass filled from the environment. One error names every invalid variable."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from urllib.parse import urlsplit

from chassis import database_url, identity, tls

ENVIRONMENTS = ("local", "production")
LOCAL_ONLY = "local-only"
"""Every published secret of docker-compose.yml contains this text."""
_PUBLISHED_ENCRYPTION_KEY = "bG9jYWwtb25seS1zZWFscy1wcm90ZWN0LW5vdGhpbmc"
"""Contains `LOCAL_ONLY` in base64 only."""
_SERVICE_NAME = re.compile(r"([a-z-]{1,19}):")
VARIABLES = "variables"
"""Key of a field's metadata: a mapping from keys of the field's value to the variables that hold them."""


class SettingsError(Exception):
    """The environment lacks settings or holds invalid ones."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Settings of every process. A field `log_level` is read from the variable `LOG_LEVEL`."""

    environment: str = "local"
    """`local` or `production`; production rejects the published local-only secrets."""
    log_level: str = "info"
    log_format: str = "text"
    """`text` for people, `json` for machines."""
    tls_certificate: str = ""
    """Path of this process's certificate; with it all connections are encrypted. Required in production."""
    tls_key: str = ""
    tls_ca: str = ""
    """Path of the certificates of the trusted authorities."""

    @property
    def certificate(self) -> tls.Certificate | None:
        """The certificate of this process, None where connections are plain. Each access returns a new object."""
        return tls.from_paths(self.tls_certificate, self.tls_key, self.tls_ca)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process(Base):
    """Settings of a process that publishes to NATS and calls services."""

    nats_url: str
    identity_key: str
    """Private Ed25519 seed of this service, base64url."""
    trusted_identity_keys: str
    """Public keys of all services: `auth:<key>,demo:<key>,…`; a service may have several while its key rotates."""
    otel_exporter_otlp_endpoint: str = ""
    """The URL of a trace backend that takes OTLP over HTTP, without `/v1/traces`; empty: nothing is recorded."""
    otel_exporter_otlp_headers: str = ""
    """Headers of exports, such as an API key: `name=value,…`."""
    trace_ratio: float = 1.0
    """The share of traces that is recorded, 0 to 1."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Backend(Process):
    """Settings of a process that no browser reaches."""

    metrics_address: str = ""
    """host:port of `/healthz` and `/metrics`; empty for none."""


T = typing.TypeVar("T", bound=Base)


def read(cls: type[T], environ: Mapping[str, str]) -> T:
    """Return `cls` filled from the environment. Raise `SettingsError` naming every missing or invalid variable."""
    types = typing.get_type_hints(cls)
    values: dict[str, object] = {}
    mistakes: list[str] = []
    # A misspelt "production" must not silently accept the published secrets.
    if environ.get("ENVIRONMENT", "") not in ("", *ENVIRONMENTS):
        mistakes.append(f"ENVIRONMENT must be {' or '.join(ENVIRONMENTS)}")
    for field in dataclasses.fields(cls):
        variables: Mapping[str, str] = field.metadata.get(VARIABLES, {"": field.name.upper()})
        texts = {key: environ.get(name, "") for key, name in variables.items()}
        if field.default is dataclasses.MISSING:
            mistakes += [f"{name} is missing" for key, name in variables.items() if not texts[key]]
        if environ.get("ENVIRONMENT") == "production":
            mistakes += [
                f"{name} holds a published local-only secret; production needs one of its own"
                for key, name in variables.items()
                if _is_published(texts[key])
            ]
        if VARIABLES in field.metadata:
            values[field.name] = texts
        elif texts[""]:
            try:
                values[field.name] = _cast(types[field.name], texts[""])
            except ValueError:
                mistakes.append(f"{variables['']}={texts['']!r} is not of type {types[field.name].__name__}")
    mistakes += insecure_settings(environ)
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    settings = cls(**values)  # type: ignore[arg-type]
    try:
        if settings.certificate is not None:
            settings.certificate.await_files()
    except tls.Unusable as error:
        raise SettingsError(f"the certificate cannot be used: {error}") from error
    return settings


def local_only_seed(service: str) -> str:
    """Return the published identity seed of a service: the default of docker-compose.yml."""
    return f"{LOCAL_ONLY}-identity-of-{service}-".ljust(43, "A")


def _is_published(text: str) -> bool:
    """Return whether a value contains a secret that docker-compose.yml publishes, or the public key of such a seed."""
    if LOCAL_ONLY in text or _PUBLISHED_ENCRYPTION_KEY in text:
        return True
    # Entries `<service>:<public key>`: a trusted key whose seed is public lets anybody sign.
    return any(identity.public_key(local_only_seed(name)) in text for name in _SERVICE_NAME.findall(text))


def insecure_settings(environ: Mapping[str, str]) -> list[str]:
    """Return what production forbids because it would cross a network unencrypted; empty in other environments."""
    if environ.get("ENVIRONMENT") != "production":
        return []
    names = ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA")
    missing = [f"{name} is missing; production needs it" for name in names if not environ.get(name)]
    modes = {name: database_url.mode(environ.get(name, "")) for name in ("DATABASE_URL", "ADMIN_DATABASE_URL")}
    exporter = urlsplit(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))
    if exporter.scheme == "http" and exporter.hostname not in ("localhost", "127.0.0.1"):
        missing.append(
            "OTEL_EXPORTER_OTLP_ENDPOINT must begin with https:// in production, unless it is of this machine"
        )
    return missing + [
        f"{name} has sslmode={mode}; production needs {database_url.VERIFIED}"
        for name, mode in modes.items()
        if mode != database_url.VERIFIED
    ]


def _cast(kind: type, text: str) -> object:
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            raise ValueError(text)
        return text.lower() in {"true", "1"}
    return kind(text)
