"""Settings of the provisioning, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis import settings, tls

SERVICES = ("auth", "demo", "jobs")
"""Each has a role, a schema, a stream and a folder of migrations of this name."""
LOCAL_ONLY = "local-only"
ENVIRONMENTS = ("local", "production")


class SettingsError(Exception):
    """The environment lacks settings, or holds ones that production must not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the provisioning is told."""

    admin_database_url: str = field(repr=False)
    """A role that may create roles and schemas; names the database of the system."""
    passwords: Mapping[str, str] = field(repr=False)
    """The password of each service's role."""
    nats_url: str = field(repr=False)
    certificate: tls.Certificate | None = None
    """The certificate of the provisioning; None where connections are plain."""
    log_level: str
    log_format: str


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises `SettingsError` naming every variable that is missing or unfit."""
    passwords = {service: f"{service.upper()}_DB_PASSWORD" for service in SERVICES}
    needed = ("ADMIN_DATABASE_URL", "NATS_URL", *passwords.values())
    mistakes = [f"{name} is missing" for name in needed if not environ.get(name)]
    if environ.get("ENVIRONMENT", "") not in ("", *ENVIRONMENTS):
        mistakes.append(f"ENVIRONMENT must be {' or '.join(ENVIRONMENTS)}")
    if environ.get("ENVIRONMENT") == "production":
        mistakes += [
            f"{name} holds a published local-only secret" for name in needed if LOCAL_ONLY in environ.get(name, "")
        ]
        mistakes += settings.insecure_settings(environ)
    certificate = None
    try:
        certificate = tls.from_environment(environ)
        if certificate and not mistakes:
            certificate.await_files()
    except tls.Unusable as error:
        mistakes.append(str(error))
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    return Settings(
        admin_database_url=environ["ADMIN_DATABASE_URL"],
        passwords={service: environ[name] for service, name in passwords.items()},
        nats_url=environ["NATS_URL"],
        certificate=certificate,
        log_level=environ.get("LOG_LEVEL") or "info",
        log_format=environ.get("LOG_FORMAT") or "text",
    )
