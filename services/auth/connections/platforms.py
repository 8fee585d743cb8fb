"""Which platforms are offered, and how each is reached: settings of the deployment, with every mistake named at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from chassis import settings

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_GOOGLE = {
    "issuer": "https://accounts.google.com",
    "authorize_url": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_url": "https://oauth2.googleapis.com/token",
    "revoke_url": "https://oauth2.googleapis.com/revoke",
    "api_url": "https://www.googleapis.com/youtube/v3",
    "scopes": "https://www.googleapis.com/auth/youtube.readonly",
}
_INSTAGRAM = {
    "authorize_url": "https://www.instagram.com/oauth/authorize",
    "token_url": "https://api.instagram.com/oauth/access_token",
    "api_url": "https://graph.instagram.com",
    "scopes": "instagram_business_basic",
}
_OIDC = {"scopes": "openid profile offline_access"}
_DEFAULTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"google": _GOOGLE, "instagram": _INSTAGRAM, "oidc": _OIDC}
)
_KNOWN = {
    "youtube": {"kind": "google", "title": "YouTube"},
    "instagram": {"kind": "instagram", "title": "Instagram"},
}
_REQUIRED = {
    "google": ("authorize_url", "token_url", "revoke_url", "api_url"),
    "instagram": ("authorize_url", "token_url", "api_url"),
    "oidc": ("issuer",),
}
_URLS = ("issuer", "authorize_url", "token_url", "revoke_url", "api_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform that is offered."""

    name: str
    """As in addresses: small letters, digits and hyphens."""
    title: str
    """As people know it."""
    kind: str
    """`google`, `instagram` or `oidc`."""
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...]
    """What is asked for, and must be given."""
    issuer: str = ""
    """Who must have said what comes back (RFC 9207); for `oidc` also where its description is. Empty: it names itself nowhere."""
    authorize_url: str = ""
    token_url: str = ""
    revoke_url: str = ""
    """Empty: it has none, or its description says it."""
    api_url: str = ""
    hosts: frozenset[str] = frozenset()
    """Further `host` or `host:port` that its description may name; those of the addresses above need not be repeated."""
    allows_http: bool = False
    """Whether loopback addresses may do without TLS: for tests and for trying things out."""

    def allows(self, url: str) -> bool:
        """Whether we may call this address: TLS, and a host that the settings name."""
        try:
            parts = urlsplit(url)
            ours = (urlsplit(getattr(self, name)) for name in _URLS if getattr(self, name))
            named = {_authority(one) for one in ours} | self.hosts
            return _is_safe(parts, allows_http=self.allows_http) and _authority(parts) in named
        except ValueError:
            return False


def read(environ: Mapping[str, str]) -> tuple[Platform, ...]:
    """Read `PLATFORMS` and `PLATFORM_<NAME>_…`; gives those that have a client id, in the order of the list.

    Raises `SettingsError` naming every mistake.
    """
    names = [name.strip() for name in environ.get("PLATFORMS", "").split(",") if name.strip()]
    mistakes = [f"PLATFORMS names {name!r}, which is no name" for name in names if not _NAME.fullmatch(name)]
    if len(set(names)) != len(names):
        mistakes.append("PLATFORMS names one twice")
    offered = [_read_one(name, environ, mistakes) for name in names if _NAME.fullmatch(name)]
    if mistakes:
        raise settings.SettingsError("; ".join(mistakes))
    return tuple(platform for platform in offered if platform)


def withdrawn(environ: Mapping[str, str]) -> tuple[Platform, ...]:
    """Read platforms that have settings but are not in PLATFORMS (any more): there access can still be given back."""
    listed = {name.strip() for name in environ.get("PLATFORMS", "").split(",")}
    found = (match[1] for match in map(re.compile(r"PLATFORM_([A-Z0-9_]+)_CLIENT_ID").fullmatch, environ) if match)
    names = {name.lower().replace("_", "-") for name in found} - listed
    mistakes: list[str] = []
    # Mistakes here keep nothing from starting: without them there is only nowhere to give access back.
    read_anyway = [_read_one(name, environ, mistakes) for name in sorted(names) if _NAME.fullmatch(name)]
    return tuple(platform for platform in read_anyway if platform and not mistakes)


def _read_one(name: str, environ: Mapping[str, str], mistakes: list[str]) -> Platform | None:
    prefix = f"PLATFORM_{name.upper().replace('-', '_')}_"

    def given(setting: str) -> str:
        return environ.get(prefix + setting.upper(), "").strip()

    if not given("client_id"):
        return None
    kind = given("kind") or _KNOWN.get(name, {}).get("kind", "")
    if kind not in _DEFAULTS:
        mistakes.append(f"{prefix}KIND must be one of {', '.join(_DEFAULTS)}")
        return None
    values = {setting: given(setting) or _DEFAULTS[kind].get(setting, "") for setting in (*_URLS, "scopes")}
    allows_http = environ.get("ENVIRONMENT", "") != "production"
    if not given("client_secret"):
        mistakes.append(f"{prefix}CLIENT_SECRET is missing")
    if allows_http is False and settings.LOCAL_ONLY in given("client_secret"):
        mistakes.append(f"{prefix}CLIENT_SECRET holds a published local-only secret")
    mistakes += [f"{prefix}{setting.upper()} is missing" for setting in _REQUIRED[kind] if not values[setting]]
    mistakes += [
        f"{prefix}{setting.upper()} must be an https address without query, fragment or user"
        for setting in _URLS
        if values[setting] and not _is_url(values[setting], allows_http=allows_http)
    ]
    hosts = frozenset(host.strip().lower() for host in given("hosts").split(",") if host.strip())
    if not all(re.fullmatch(r"[a-z0-9.-]+(:\d{1,5})?", host) for host in hosts):
        mistakes.append(f"{prefix}HOSTS must be hosts, comma-separated")
    return Platform(
        name=name,
        title=given("title") or _KNOWN.get(name, {}).get("title", name),
        kind=kind,
        client_id=given("client_id"),
        client_secret=given("client_secret"),
        scopes=tuple(values["scopes"].replace(",", " ").split()),
        **{setting: values[setting] for setting in _URLS},
        hosts=hosts,
        allows_http=allows_http,
    )


def by_name(offered: Iterable[Platform]) -> Mapping[str, Platform]:
    """Give the platforms by their names, in their order."""
    return MappingProxyType({platform.name: platform for platform in offered})


def _is_url(text: str, *, allows_http: bool) -> bool:
    try:
        parts = urlsplit(text)
        return _is_safe(parts, allows_http=allows_http) and not (parts.query or parts.fragment)
    except ValueError:
        return False


def _is_safe(parts: SplitResult, *, allows_http: bool) -> bool:
    is_loopback = parts.hostname in _LOOPBACK
    is_scheme = parts.scheme == "https" or (allows_http and is_loopback and parts.scheme == "http")
    return is_scheme and bool(parts.hostname) and parts.username is None and parts.password is None


def _authority(parts: SplitResult) -> str:
    port = parts.port or 443
    return f"{parts.hostname}" if port == 443 else f"{parts.hostname}:{port}"
