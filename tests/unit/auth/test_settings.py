"""Settings that belong together."""

from __future__ import annotations

import pytest

from chassis import settings
from services.auth.settings import Settings, WorkerSettings

ENVIRONMENT = {
    "NATS_URL": "nats://nats",
    "IDENTITY_KEY": "key",
    "IDENTITY_TRUST": "auth:key",
    "DATABASE_URL": "postgresql://auth@postgres/repruv",
    "JOBS_TARGET": "jobs:50053",
    "DEMO_TARGET": "demo:50052",
    "SEALING_KEYS": "a:" + "A" * 43,
    "TLS_CERTIFICATE": "/certificate.pem",
    "TLS_KEY": "/key.pem",
    "TLS_AUTHORITY": "/authority.pem",
}


def test_the_admin_is_optional() -> None:
    read = settings.read(Settings, ENVIRONMENT)
    assert (read.admin_email, read.admin_password) == ("", "")
    assert (read.password_memory_kib, read.registrations_per_address) == (65_536, 30)


@pytest.mark.parametrize("given", ["ADMIN_EMAIL", "ADMIN_PASSWORD"])
def test_half_an_admin_is_a_mistake(given: str) -> None:
    with pytest.raises(settings.SettingsError, match="belong together"):
        settings.read(Settings, {**ENVIRONMENT, given: "something"})


@pytest.mark.parametrize(("environment", "memory"), [("local", "7"), ("production", "19455")])
def test_hashing_that_is_too_cheap_is_a_mistake(environment: str, memory: str) -> None:
    with pytest.raises(settings.SettingsError, match="PASSWORD_MEMORY_KIB"):
        settings.read(Settings, {**ENVIRONMENT, "ENVIRONMENT": environment, "PASSWORD_MEMORY_KIB": memory})


def test_somebody_must_be_able_to_register() -> None:
    with pytest.raises(settings.SettingsError, match="REGISTRATIONS_PER_ADDRESS"):
        settings.read(Settings, {**ENVIRONMENT, "REGISTRATIONS_PER_ADDRESS": "0"})


@pytest.mark.parametrize(
    ("told", "is_open"),
    [
        ({}, True),
        ({"ENVIRONMENT": "production"}, False),
        ({"ENVIRONMENT": "production", "REGISTRATION": "open"}, True),
        ({"REGISTRATION": "verified"}, False),
    ],
)
def test_production_registers_by_mail_unless_told_otherwise(told: dict[str, str], is_open: bool) -> None:
    assert settings.read(Settings, {**ENVIRONMENT, **told}).is_registration_open is is_open


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"MAIL_URL": "folder:/tmp/mails"}, "a folder is for development"),
        ({"MAIL_URL": "https://mail.example.org"}, "it must be"),
        ({"MAIL_URL": "smtp://"}, "it must be"),
        ({"MAIL_FROM": "nobody"}, "must be an address"),
        ({"MAIL_FROM": "Repruv <a@example.org>\nBcc: b@example.org"}, "must be an address"),
        ({"MAIL_FROM": ""}, "MAIL_FROM is missing"),
    ],
)
def test_production_sends_real_mails(told: dict[str, str], said: str) -> None:
    good = {"MAIL_URL": "smtps://u:p@mail.example.org", "MAIL_FROM": "Repruv <a@example.org>"}
    production = {**ENVIRONMENT, "ENVIRONMENT": "production", **good}
    assert settings.read(WorkerSettings, production).mail_from == "Repruv <a@example.org>"
    with pytest.raises(settings.SettingsError, match=said):
        settings.read(WorkerSettings, {**production, **told})
