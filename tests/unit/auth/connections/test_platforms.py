"""Settings of platforms, and the hosts of calls."""

from __future__ import annotations

import pytest

from chassis import settings
from services.auth.connections import platform_settings

GIVEN = {
    "PLATFORMS": "youtube, instagram,work",
    "PLATFORM_YOUTUBE_CLIENT_ID": "id",
    "PLATFORM_YOUTUBE_CLIENT_SECRET": "secret",
    "PLATFORM_WORK_KIND": "oidc",
    "PLATFORM_WORK_TITLE": "At work",
    "PLATFORM_WORK_CLIENT_ID": "id",
    "PLATFORM_WORK_CLIENT_SECRET": "secret",
    "PLATFORM_WORK_ISSUER": "https://id.example",
}


def test_platforms_without_a_client_id_are_not_offered() -> None:
    youtube, work = platform_settings.read(GIVEN)
    assert (youtube.name, youtube.title, youtube.kind) == ("youtube", "YouTube", "google")
    assert youtube.token_url == "https://oauth2.googleapis.com/token"
    assert (work.title, work.scopes) == ("At work", ("openid", "profile", "offline_access"))
    assert platform_settings.read({}) == ()


def test_removed_platform_with_settings_is_still_known() -> None:
    arguments = GIVEN | {"PLATFORMS": "youtube", "PLATFORM_OLD_CLIENT_ID": ""}
    assert [platform.name for platform in platform_settings.withdrawn(arguments)] == ["work"]
    assert platform_settings.withdrawn(GIVEN) == ()
    assert platform_settings.withdrawn(arguments | {"PLATFORM_WORK_ISSUER": ""}) == (), "a mistake here stops nothing"


def test_secrets_are_not_printed() -> None:
    assert "'secret'" not in repr(platform_settings.read(GIVEN))


def test_all_settings_errors_are_reported_together() -> None:
    wrong = {
        "PLATFORMS": "youtube,work,Bad Name,odd,work",
        "PLATFORM_YOUTUBE_CLIENT_ID": "id",
        "PLATFORM_YOUTUBE_TOKEN_URL": "http://token.example",
        "PLATFORM_YOUTUBE_HOSTS": "a b",
        "PLATFORM_WORK_CLIENT_ID": "id",
        "PLATFORM_WORK_KIND": "oidc",
        "PLATFORM_ODD_CLIENT_ID": "id",
    }
    with pytest.raises(settings.SettingsError) as excinfo:
        platform_settings.read(wrong)
    for name in (
        "names 'Bad Name'",
        "names one twice",
        "PLATFORM_YOUTUBE_CLIENT_SECRET is missing",
        "PLATFORM_YOUTUBE_TOKEN_URL must be",
        "PLATFORM_YOUTUBE_HOSTS must be",
        "PLATFORM_WORK_ISSUER is missing",
        "PLATFORM_ODD_KIND must be",
    ):
        assert name in str(excinfo.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example",
        "ftp://id.example",
        "https://user@id.example",
        "https://id.example?a=b",
        "https://id.example#a",
        "id.example",
        "https://[",
    ],
)
def test_urls_must_be_plain_and_encrypted(url: str) -> None:
    with pytest.raises(settings.SettingsError, match="ISSUER must be"):
        platform_settings.read({**GIVEN, "PLATFORM_WORK_ISSUER": url})


def test_loopback_may_be_unencrypted_except_in_production() -> None:
    local = {**GIVEN, "PLATFORM_WORK_ISSUER": "http://127.0.0.1:9000"}
    assert platform_settings.read(local)[1].allows("http://127.0.0.1:9000/token")
    with pytest.raises(settings.SettingsError, match="ISSUER must be"):
        platform_settings.read({**local, "ENVIRONMENT": "production"})


def test_published_secrets_are_refused_in_production() -> None:
    arguments = {**GIVEN, "PLATFORM_WORK_CLIENT_SECRET": "local-only-x", "ENVIRONMENT": "production"}
    with pytest.raises(settings.SettingsError, match="published"):
        platform_settings.read(arguments)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://id.example/token", True),
        ("https://id.example:443/token", True),
        ("https://api.example/x", True),
        ("https://ID.example/token", True),
        ("http://id.example/token", False),
        ("https://id.example:8443/token", False),
        ("https://evil.example/token", False),
        ("https://id.example.evil.example/token", False),
        ("https://id.example@evil.example/token", False),
        ("https://evil.example#@id.example", False),
        ("https://169.254.169.254/latest", False),
        ("http://127.0.0.1/", False),
        ("https://user:pw@id.example/", False),
        ("https://id.example:99999/", False),
        ("file:///etc/passwd", False),
    ],
)
def test_calls_go_only_to_configured_hosts(url: str, is_allowed: bool) -> None:
    [platform] = platform_settings.read({**GIVEN, "PLATFORMS": "work", "PLATFORM_WORK_HOSTS": "api.example"})
    assert platform.allows(url) is is_allowed
