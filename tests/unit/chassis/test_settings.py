"""Settings: all errors are reported together, and production refuses published secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chassis import settings, tls
from provision import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Process):
    """Some settings of a process."""

    database_url: str
    lease_seconds: float = 3.0
    is_slow: bool = False
    listen: str = "127.0.0.1:0"


GOOD = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "IDENTITY_KEY": "A" * 43,
    "TRUSTED_IDENTITY_KEYS": "demo:" + "A" * 43,
    "DATABASE_URL": "postgresql://demo@127.0.0.1/repruv",
}


def test_values_are_read_and_cast() -> None:
    read = settings.read(Settings, {**GOOD, "LEASE_SECONDS": "1.5", "IS_SLOW": "true", "UNKNOWN": "ignored"})
    assert (read.lease_seconds, read.is_slow, read.log_level) == (1.5, True, "info")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert settings.read(Settings, {**GOOD, "LEASE_SECONDS": ""}).lease_seconds == 3.0


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(settings.SettingsError) as excinfo:
        settings.read(Settings, {"LEASE_SECONDS": "soon", "IS_SLOW": "perhaps"})
    for name in ("NATS_URL", "IDENTITY_KEY", "TRUSTED_IDENTITY_KEYS", "DATABASE_URL", "LEASE_SECONDS", "IS_SLOW"):
        assert name in str(excinfo.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DATABASE_URL", "mysql://demo:hidden@127.0.0.1/repruv"),
        ("DATABASE_URL", "postgresql://demo:hid/den@127.0.0.1/repruv"),
        ("DATABASE_URL", "postgresql://demo:hidden@127.0.0.1:port/repruv"),
        ("DATABASE_URL", "postgresql://demo:hid@den@127.0.0.1/repruv"),
        ("DATABASE_URL", "postgresql://demo:hidden@one:5432, two:5432/repruv"),
        ("DATABASE_URL", "postgresql://demo:hidden@one:5432,/repruv"),
        ("NATS_URL", "nats://demo:hidden@one:4222, two:4222"),
        ("NATS_URL", "nats://demo:hidden@one:4222,,two:4222"),
        ("NATS_URL", "nats://demo:hid/den@one:4222"),
        ("NATS_URL", "nats://demo:hid@den@one:4222"),
        ("NATS_URL", "one:4222"),
        ("NATS_URL", "nats://demo:hidden@one:port"),
        ("IDENTITY_KEY", "hidden"),
        ("TRUSTED_IDENTITY_KEYS", f"demo:{'A' * 43},hidden"),
        ("TRUSTED_IDENTITY_KEYS", "demo:hidden"),
        ("LISTEN", "50053"),
        ("LISTEN", "127.0.0.1:65536"),
    ],
)
def test_a_value_of_another_form_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(settings.SettingsError, match=f"^{variable} ") as excinfo:
        settings.read(Settings, {**GOOD, variable: value})
    assert "hid" not in str(excinfo.value), "the message repeats no secret"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://d:%40@h/r",
        "postgres://d@[::1]:5432/r",
        "postgresql://d:p@one:1,two:2/r",
        "postgresql://d@/r?host=/run",
        "postgresql+psycopg://d@h/r",
    ],
)
def test_forms_of_a_database_url(url: str) -> None:
    assert settings.read(Settings, {**GOOD, "DATABASE_URL": url, "LOG_LEVEL": "INFO"})


@pytest.mark.parametrize(
    "url", ["nats://n", "tls://d:%40@[::1]:4222", "nats://d:p@a:1,b:2,c:3", "nats://d:p@a:1,nats://d:p@b:2"]
)
def test_forms_of_a_nats_url(url: str) -> None:
    assert settings.read(Settings, {**GOOD, "NATS_URL": url})


def test_a_misspelt_environment_is_refused() -> None:
    with pytest.raises(settings.SettingsError, match="ENVIRONMENT must be local or production"):
        settings.read(Settings, {**GOOD, "ENVIRONMENT": "Production"})


@pytest.mark.parametrize(
    "published",
    [
        {"DATABASE_URL": "postgresql://demo:local-only-demo@postgres/repruv"},
        {"IDENTITY_KEY": keys.LOCAL_ONLY_SEEDS["demo"]},
        {"TRUSTED_IDENTITY_KEYS": keys.identity_variables(keys.LOCAL_ONLY_SEEDS)["TRUSTED_IDENTITY_KEYS"]},
    ],
)
def test_production_refuses_published_secrets(published: dict[str, str]) -> None:
    assert settings.read(Settings, {**GOOD, **published})
    with pytest.raises(settings.SettingsError) as excinfo:
        settings.read(Settings, {**GOOD, **published, "ENVIRONMENT": "production"})
    assert next(iter(published)) in str(excinfo.value)


TLS = ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA")


def test_production_needs_encryption() -> None:
    with pytest.raises(settings.SettingsError) as excinfo:
        settings.read(
            Settings, {**GOOD, "ENVIRONMENT": "production", "DATABASE_URL": "postgresql://d@h/r?sslmode=require"}
        )
    for message in (*(f"{name} is missing" for name in TLS), "DATABASE_URL has sslmode=require"):
        assert message in str(excinfo.value)


def test_incomplete_certificate_settings_are_refused() -> None:
    with pytest.raises(settings.SettingsError, match="belong together"):
        settings.read(Settings, {**GOOD, "TLS_KEY": "/somewhere"})


def test_production_starts_with_a_certificate(certificate: Callable[[str], tls.Certificate]) -> None:
    identity_files = certificate("demo")
    paths = dict(zip(TLS, (identity_files.certificate, identity_files.key, identity_files.authority), strict=True))
    read = settings.read(Settings, {**GOOD, **paths, "ENVIRONMENT": "production"})
    assert read.certificate is not None


def test_published_encryption_key_is_refused_under_any_name() -> None:
    published = "mine:bG9jYWwtb25seS1zZWFscy1wcm90ZWN0LW5vdGhpbmc"
    with pytest.raises(settings.SettingsError, match="DATABASE_URL holds a published"):
        settings.read(Settings, {**GOOD, "ENVIRONMENT": "production", "DATABASE_URL": published})
