"""Validation of settings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chassis import settings, tls
from services.auth.settings import Settings, WorkerSettings

ENVIRONMENT = {
    "NATS_URL": "nats://nats",
    "IDENTITY_KEY": "A" * 43,
    "TRUSTED_IDENTITY_KEYS": "auth:" + "A" * 43,
    "DATABASE_URL": "postgresql://auth@postgres/repruv",
    "JOBS_TARGET": "jobs:50053",
    "DEMO_TARGET": "demo:50052",
    "ENCRYPTION_KEYS": "a:" + "A" * 43,
}


@pytest.fixture
def environment(certificate: Callable[[str], tls.Certificate]) -> dict[str, str]:
    """Return the required settings."""
    identity_files = certificate("auth")
    files = {
        "TLS_CERTIFICATE": identity_files.certificate,
        "TLS_KEY": identity_files.key,
        "TLS_CA": identity_files.authority,
    }
    return {**ENVIRONMENT, **{name: str(path) for name, path in files.items()}}


def test_the_admin_is_optional(environment: dict[str, str]) -> None:
    read = settings.read(Settings, environment)
    assert (read.admin_email, read.admin_password) == ("", "")
    assert (read.password_memory_kib, read.registrations_per_address) == (65_536, 30)


@pytest.mark.parametrize("variable", ["ADMIN_EMAIL", "ADMIN_PASSWORD"])
def test_one_of_the_two_admin_settings_is_refused(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(settings.SettingsError, match="belong together"):
        settings.read(Settings, {**environment, variable: "something"})


@pytest.mark.parametrize(("kind", "memory"), [("local", "7"), ("production", "19455")])
def test_too_cheap_hashing_is_refused(environment: dict[str, str], kind: str, memory: str) -> None:
    with pytest.raises(settings.SettingsError, match="PASSWORD_MEMORY_KIB"):
        settings.read(Settings, {**environment, "ENVIRONMENT": kind, "PASSWORD_MEMORY_KIB": memory})


def test_registrations_per_address_must_be_positive(environment: dict[str, str]) -> None:
    with pytest.raises(settings.SettingsError, match="REGISTRATIONS_PER_ADDRESS"):
        settings.read(Settings, {**environment, "REGISTRATIONS_PER_ADDRESS": "0"})


@pytest.mark.parametrize("kind", [Settings, WorkerSettings])
def test_public_url_of_emailed_links_has_one_spelling(environment: dict[str, str], kind: type[Settings]) -> None:
    read = settings.read(kind, environment | {"PUBLIC_URL": "HTTPS://App.Example.org:443/"})
    assert read.public_url == "https://app.example.org"


@pytest.mark.parametrize(
    ("variables", "is_open"),
    [
        ({}, True),
        ({"ENVIRONMENT": "production"}, False),
        ({"ENVIRONMENT": "production", "REGISTRATION": "open"}, True),
        ({"REGISTRATION": "verified"}, False),
    ],
)
def test_production_registers_by_email_by_default(
    environment: dict[str, str], variables: dict[str, str], is_open: bool
) -> None:
    assert settings.read(Settings, {**environment, **variables}).is_registration_open is is_open


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"EMAIL_URL": "folder:/tmp/mails"}, "a folder is for development"),
        ({"EMAIL_URL": "https://mail.example.org"}, "it must be"),
        ({"EMAIL_URL": "smtp://"}, "it must be"),
        ({"EMAIL_FROM": "nobody"}, "must be an address"),
        ({"EMAIL_FROM": "Repruv <a@example.org>\nBcc: b@example.org"}, "must be an address"),
        ({"EMAIL_FROM": ""}, "EMAIL_FROM is missing"),
    ],
)
def test_production_requires_a_mail_server(
    environment: dict[str, str], variables: dict[str, str], message: str
) -> None:
    good = {"EMAIL_URL": "smtps://u:p@mail.example.org", "EMAIL_FROM": "Repruv <a@example.org>"}
    production = {**environment, "ENVIRONMENT": "production", **good}
    assert settings.read(WorkerSettings, production).email_from == "Repruv <a@example.org>"
    with pytest.raises(settings.SettingsError, match=message):
        settings.read(WorkerSettings, {**production, **variables})
