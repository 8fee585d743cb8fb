"""Settings of a process: a frozen dataclass filled from the environment. One error names every invalid variable."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from chassis import addresses, database_url, identity, tls

ENVIRONMENTS = ("local", "production")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
LOCAL_ONLY = "local-only"
"""Every published secret of docker-compose.yml contains this text."""
_PUBLISHED_ENCRYPTION_KEY = "bG9jYWwtb25seS1zZWFscy1wcm90ZWN0LW5vdGhpbmc"
"""Contains `LOCAL_ONLY` in base64 only."""
_SERVICE_NAME = re.compile(r"([a-z-]{1,19}):")
_HOST = r"(\[[0-9a-fA-F:.]+\]|[^\[\]:,\s]+)(:\d+)?"
_HOSTS = re.compile(f"{_HOST}(,{_HOST})*")
_DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_NATS_SCHEMES = ("nats", "tls")
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
            if mistake := _FORMATS.get(variables[""], _any)(texts[""]):
                mistakes.append(f"{variables['']} {mistake}")
    mistakes += insecure_settings(environ)
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    settings = cls(**values)  # type: ignore[arg-type]
    try:
        if settings.certificate is not None:
            settings.certificate.await_files()
    except tls.CertificateUnusable as error:
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


def _any(_: str) -> str:
    return ""


def _one_of(choices: tuple[str, ...], *, ignore_case: bool = False) -> Callable[[str], str]:
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return lambda text: "" if (text.lower() if ignore_case else text) in choices else f"must be {listed}"


def _wrong_database_url(text: str) -> str:
    hosts = _hosts(text, _DATABASE_SCHEMES)
    # Without hosts the URL names a socket.
    if hosts == "" or (hosts and _HOSTS.fullmatch(hosts)):
        return ""
    return (
        "must be a URL like postgresql://user:password@host:5432/database, with %40 for @ and %2F for / in the password, "
        "and without spaces between hosts"
    )


def _wrong_nats_url(text: str) -> str:
    urls = text.split(",") if text.count("://") > 1 else [text]
    if all(_HOSTS.fullmatch(_hosts(url, _NATS_SCHEMES) or "") for url in urls):
        return ""
    return (
        "must be a URL like nats://user:password@host:4222 or nats://user:password@a:4222,b:4222, with %40 for @ and %2F for / "
        "in the password, and without spaces between hosts"
    )


def _hosts(url: str, schemes: tuple[str, ...]) -> str | None:
    """Return the hosts of a URL with their ports; None if it has another form, as with @, / or # in its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    return hosts if parts.scheme in schemes and "@" not in user else None


def _wrong_seed(text: str) -> str:
    try:
        identity.public_key(text)
    except ValueError:
        return "must be 32 bytes in base64url, as `python -m provision keys` prints them"
    return ""


def _wrong_trust(text: str) -> str:
    for number, entry in enumerate(text.split(","), start=1):
        try:
            identity.Verifier(entry)
        except ValueError:
            return f"must be <name>:<public key>,…; entry {number} is not"
    return ""


def _wrong_address(text: str) -> str:
    try:
        addresses.host_and_port(text)
    except ValueError:
        return "must be host:port, such as 0.0.0.0:9090 or [::]:9090"
    return ""


_FORMATS: Mapping[str, Callable[[str], str]] = {
    "LOG_LEVEL": _one_of(LOG_LEVELS, ignore_case=True),
    "LOG_FORMAT": _one_of(LOG_FORMATS),
    "DATABASE_URL": _wrong_database_url,
    "ADMIN_DATABASE_URL": _wrong_database_url,
    "NATS_URL": _wrong_nats_url,
    "IDENTITY_KEY": _wrong_seed,
    "TRUSTED_IDENTITY_KEYS": _wrong_trust,
    "LISTEN": _wrong_address,
    "METRICS_ADDRESS": _wrong_address,
}
"""What is wrong with the text of a variable, empty for nothing."""


def _cast(kind: type, text: str) -> object:
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            raise ValueError(text)
        return text.lower() in {"true", "1"}
    return kind(text)
