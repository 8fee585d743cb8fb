"""Settings of a process: a frozen dataclass filled from the environment, with every mistake named at once."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping

from chassis import database_url, tls

ENVIRONMENTS = ("local", "production")
LOCAL_ONLY = "local-only"
"""Every published secret of docker-compose.yml contains this text."""
_PUBLISHED = (
    "nomCkzUa10_IHKlmtsXFW7qZ37v1V6sHOoF7ZSn26JU",
    "FDq3Q5KTLhjLLoV_Tz36tUQP5SaRhVT7NRYVyAd-luc",
    "qt3Hmrepg1CPH6hLM0vHOfbLZpd5IXojgTMOaRe4THs",
    "3-yYjeHlfqi4hfO-umdQ01kH5S95usKv0JDDZVfwtvM",
    "bG9jYWwtb25seS1zZWFscy1wcm90ZWN0LW5vdGhpbmc",
)
# The public keys that belong to the published identity seeds: whoever trusts them trusts everybody. And the published
# sealing key, by whatever name.


class SettingsError(Exception):
    """The environment lacks settings, or holds ones that cannot be used."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What every process is told. A field `log_level` is read from the variable `LOG_LEVEL`."""

    environment: str = "local"
    """`local` or `production`; production refuses the published local-only secrets."""
    log_level: str = "info"
    log_format: str = "text"
    """`text` for people, `json` for machines."""
    nats_url: str
    identity_key: str
    """Private Ed25519 seed of this service, base64url."""
    trusted_identity_keys: str
    """Public keys of all services: `auth:<key>,demo:<key>,…`; a service may have several while its key rotates."""
    tls_certificate: str = ""
    """Path of this service's certificate; with it everything that leaves the process is encrypted. Production requires it."""
    tls_key: str = ""
    tls_ca: str = ""
    """Path of the certificates of whom to believe."""

    @property
    def certificate(self) -> tls.Certificate | None:
        """This service's certificate, None where connections are plain. Each call gives another object."""
        return tls.from_paths(self.tls_certificate, self.tls_key, self.tls_ca)


T = typing.TypeVar("T", bound=Process)


def read(cls: type[T], environ: Mapping[str, str]) -> T:
    """Fill `cls` from the environment. Raises `SettingsError` naming every missing or invalid variable."""
    types = typing.get_type_hints(cls)
    values: dict[str, object] = {}
    mistakes: list[str] = []
    # A misspelt "production" must not quietly take the published secrets.
    if environ.get("ENVIRONMENT", "") not in ("", *ENVIRONMENTS):
        mistakes.append(f"ENVIRONMENT must be {' or '.join(ENVIRONMENTS)}")
    for field in dataclasses.fields(cls):
        name = field.name.upper()
        text = environ.get(name, "")
        if not text:
            if field.default is dataclasses.MISSING:
                mistakes.append(f"{name} is missing")
            continue
        try:
            values[field.name] = _cast(types[field.name], text)
        except ValueError:
            mistakes.append(f"{name}={text!r} is not of type {types[field.name].__name__}")
        if environ.get("ENVIRONMENT") == "production" and any(secret in text for secret in (LOCAL_ONLY, *_PUBLISHED)):
            mistakes.append(f"{name} holds a published local-only secret; production needs one of its own")
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


def insecure_settings(environ: Mapping[str, str]) -> list[str]:
    """Name what would cross a network in the clear in production."""
    if environ.get("ENVIRONMENT") != "production":
        return []
    names = ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA")
    missing = [f"{name} is missing; production needs it" for name in names if not environ.get(name)]
    modes = {name: database_url.mode(environ.get(name, "")) for name in ("DATABASE_URL", "ADMIN_DATABASE_URL")}
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
