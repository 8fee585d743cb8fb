"""The platforms of a deployment, read from its settings, with every mistake named at once."""

from __future__ import annotations

import re
from collections.abc import Mapping

from chassis import settings
from services.auth.connections.platforms import URLS, Platform, is_name, is_url
from services.auth.connections.providers.registry import KINDS, find_kind


def read(environ: Mapping[str, str]) -> tuple[Platform, ...]:
    """Read `PLATFORMS` and `PLATFORM_<NAME>_…`; return those that have a client id, in the order of the list.

    Raises `SettingsError` naming every mistake.
    """
    names = [name.strip() for name in environ.get("PLATFORMS", "").split(",") if name.strip()]
    mistakes = [f"PLATFORMS names {name!r}, which is not a name" for name in names if not is_name(name)]
    if len(set(names)) != len(names):
        mistakes.append("PLATFORMS names one twice")
    offered = [_read_one(name, environ, mistakes) for name in names if is_name(name)]
    if mistakes:
        raise settings.SettingsError("; ".join(mistakes))
    return tuple(platform for platform in offered if platform)


def withdrawn(environ: Mapping[str, str]) -> tuple[Platform, ...]:
    """Read platforms that have settings but are not in PLATFORMS (any more): access there can still be revoked."""
    listed = {name.strip() for name in environ.get("PLATFORMS", "").split(",")}
    settings_of = (
        match[1] for match in map(re.compile(r"PLATFORM_([A-Z0-9_]+)_CLIENT_ID").fullmatch, environ) if match
    )
    names = {name.lower().replace("_", "-") for name in settings_of} - listed
    mistakes: list[str] = []
    # A mistake here does not stop the start: access at that platform is then only deleted.
    platforms = [_read_one(name, environ, mistakes) for name in sorted(names) if is_name(name)]
    return tuple(platform for platform in platforms if platform and not mistakes)


def _read_one(name: str, environ: Mapping[str, str], mistakes: list[str]) -> Platform | None:
    prefix = f"PLATFORM_{name.upper().replace('-', '_')}_"

    def value(setting: str) -> str:
        return environ.get(prefix + setting.upper(), "").strip()

    if not value("client_id"):
        return None
    kind = KINDS.get(value("kind")) if value("kind") else find_kind(name)
    if kind is None:
        mistakes.append(f"{prefix}KIND must be one of {', '.join(KINDS)}")
        return None
    values = {setting: value(setting) or kind.defaults.get(setting, "") for setting in (*URLS, "scopes")}
    allows_http = environ.get("ENVIRONMENT", "") != "production"
    if not value("client_secret"):
        mistakes.append(f"{prefix}CLIENT_SECRET is missing")
    if allows_http is False and settings.LOCAL_ONLY in value("client_secret"):
        mistakes.append(f"{prefix}CLIENT_SECRET holds a published local-only secret")
    mistakes += [f"{prefix}{setting.upper()} is missing" for setting in kind.required if not values[setting]]
    mistakes += [
        f"{prefix}{setting.upper()} must be an https address without query, fragment or user"
        for setting in URLS
        if values[setting] and not is_url(values[setting], allows_http=allows_http)
    ]
    hosts = frozenset(host.strip().lower() for host in value("hosts").split(",") if host.strip())
    if not all(re.fullmatch(r"[a-z0-9.-]+(:\d{1,5})?", host) for host in hosts):
        mistakes.append(f"{prefix}HOSTS must be hosts, comma-separated")
    return Platform(
        name=name,
        title=value("title") or kind.titles.get(name, name),
        kind=kind.name,
        client_id=value("client_id"),
        client_secret=value("client_secret"),
        scopes=tuple(values["scopes"].replace(",", " ").split()),
        **{setting: values[setting] for setting in URLS},
        hosts=hosts,
        allows_http=allows_http,
    )
