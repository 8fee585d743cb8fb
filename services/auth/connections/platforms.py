"""Platforms, and the addresses at which each may be called."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

URLS = ("issuer", "authorize_url", "token_url", "revoke_url", "api_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform as the settings describe it."""

    name: str
    """The name in addresses: lower-case letters, digits and hyphens."""
    title: str
    """The name on pages."""
    kind: str
    """The name of its `PlatformKind`."""
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...]
    """The scopes that are requested, and must be granted."""
    issuer: str = ""
    """The issuer that callbacks must name (RFC 9207); for `oidc` also the address of its description. Empty: they name none."""
    authorize_url: str = ""
    token_url: str = ""
    revoke_url: str = ""
    """Empty: it has none, or its description names it."""
    api_url: str = ""
    hosts: frozenset[str] = frozenset()
    """Further `host` or `host:port` that its description may name, besides those of the addresses above."""
    allows_http: bool = False
    """Whether loopback addresses may be called without TLS: for tests and local use."""

    def allows(self, url: str) -> bool:
        """Return whether this address may be called: by TLS, at a host that the settings name."""
        try:
            parts = urlsplit(url)
            addresses = (urlsplit(getattr(self, name)) for name in URLS if getattr(self, name))
            hosts = {_authority(address) for address in addresses} | self.hosts
            return _is_safe(parts, allows_http=self.allows_http) and _authority(parts) in hosts
        except ValueError:
            return False


def is_name(text: str) -> bool:
    """Return whether a text may be the name of a platform."""
    return _NAME.fullmatch(text) is not None


def is_url(text: str, *, allows_http: bool) -> bool:
    """Return whether a text is an address to call: by TLS, without query, fragment or user."""
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
