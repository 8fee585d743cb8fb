"""Settings that production requires of the gateway."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chassis import settings, tls
from gateway import server
from gateway.settings import Settings

ENVIRONMENT = {
    "ENVIRONMENT": "production",
    "NATS_URL": "nats://nats",
    "IDENTITY_KEY": "A" * 43,
    "TRUSTED_IDENTITY_KEYS": "auth:" + "A" * 43,
    "AUTH_TARGET": "auth:50051",
    "DEMO_TARGET": "demo:50052",
    "JOBS_TARGET": "jobs:50053",
}


@pytest.fixture(scope="module", autouse=True)
def _certificate(certificate: Callable[[str], tls.Certificate]) -> None:
    identity_files = certificate("gateway")
    ENVIRONMENT.update(
        TLS_CERTIFICATE=identity_files.certificate, TLS_KEY=identity_files.key, TLS_CA=identity_files.authority
    )


def read(**changed: str) -> Settings:
    return settings.read(Settings, {**ENVIRONMENT, **changed})


@pytest.mark.parametrize("proxies", ["", " "])
def test_production_behind_tls_must_know_its_proxies(proxies: str) -> None:
    with pytest.raises(settings.SettingsError, match="TRUSTED_PROXIES is missing"):
        read(PUBLIC_URL="https://repruv.example.com", TRUSTED_PROXIES=proxies)


@pytest.mark.parametrize("proxies", ["172.18.0.1/16", "proxy", "10.0.0.1;10.0.0.2", "none,10.0.0.1", "*"])
def test_proxies_are_addresses_or_networks(proxies: str) -> None:
    """Others would never match: all clients would seem to come from the proxy, and be throttled as one."""
    with pytest.raises(settings.SettingsError, match="TRUSTED_PROXIES must have addresses or networks"):
        read(PUBLIC_URL="https://repruv.example.com", TRUSTED_PROXIES=proxies)


@pytest.mark.parametrize("url", ["http://repruv.example.com", "http://localhost.example.com"])
def test_production_sends_no_cookie_in_the_clear(url: str) -> None:
    with pytest.raises(settings.SettingsError, match="PUBLIC_URL must begin with https"):
        read(PUBLIC_URL=url, TRUSTED_PROXIES="10.0.0.1")


@pytest.mark.parametrize("changed", [{}, {"PUBLIC_URL": "http://localhost:8080"}, {"PUBLIC_URL": "http://127.0.0.1:1"}])
def test_production_on_the_loopback_is_accepted(changed: dict[str, str]) -> None:
    assert not read(**changed).is_https


@pytest.mark.parametrize("url", ["https://repruv.example.com", "http://repruv.example.com"])
def test_other_environments_have_no_requirements(url: str) -> None:
    assert read(ENVIRONMENT="local", PUBLIC_URL=url).proxies == ""


@pytest.mark.parametrize(
    ("setting", "trusted"), [("10.0.0.1,172.16.0.0/12", "10.0.0.1,172.16.0.0/12"), ("none", None), (" none ", None)]
)
async def test_only_configured_proxies_are_trusted(setting: str, trusted: str | None) -> None:
    production = read(PUBLIC_URL="https://repruv.example.com", TRUSTED_PROXIES=setting)

    async def app(*_: object) -> None: ...

    config = server.configure(app, production)
    assert config.proxy_headers == (trusted is not None)
    if trusted:
        assert config.forwarded_allow_ips == trusted


@pytest.mark.parametrize("limit", ["60", "0/60", "60/0", "60/60/60", "-1/60", "many", "OFF"])
def test_a_limit_is_requests_by_seconds(limit: str) -> None:
    with pytest.raises(settings.SettingsError, match=f"RATE_LIMIT_SIGN_IN='{limit}' is no limit"):
        read(RATE_LIMIT_SIGN_IN=limit)
    assert read(RATE_LIMIT_SIGN_IN="off").rate_limits.sign_in == "off"


@pytest.mark.parametrize("url", ["http://localhost@example.com", "example.com", "https://example.com/app"])
def test_public_url_must_be_an_origin(url: str) -> None:
    with pytest.raises(settings.SettingsError, match="PUBLIC_URL cannot be used"):
        read(PUBLIC_URL=url)


BREAK = {"BREAK_URL": "http://127.0.0.1:4100", "BREAK_TOKEN": "token"}


def test_production_offers_nothing_to_break() -> None:
    with pytest.raises(settings.SettingsError, match="BREAK_URL is for development"):
        read(**BREAK)
    assert read(ENVIRONMENT="local", **BREAK).break_url == BREAK["BREAK_URL"]


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:4100", "https://127.0.0.1:4100", "http://127.0.0.1", "http://127.0.0.1:1@evil:80"]
)
def test_parts_are_broken_by_this_machine_only(url: str) -> None:
    with pytest.raises(settings.SettingsError, match="BREAK_URL must be"):
        read(ENVIRONMENT="local", **{**BREAK, "BREAK_URL": url})
    with pytest.raises(settings.SettingsError, match="BREAK_TOKEN is missing"):
        read(ENVIRONMENT="local", BREAK_URL=BREAK["BREAK_URL"])


@pytest.mark.parametrize("url", ["https://traces.example.org/", "javascript:alert({trace_id})", "/{trace_id}"])
def test_address_of_traces_is_a_url_with_a_place_for_the_id(url: str) -> None:
    assert read(TRACE_URL="https://traces.example.org/{trace_id}").trace_url
    with pytest.raises(settings.SettingsError, match="TRACE_URL"):
        read(TRACE_URL=url)
