"""The provider of each platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from services.auth.connections.platforms import Platform
from services.auth.connections.providers.google import Google
from services.auth.connections.providers.instagram import Instagram
from services.auth.connections.providers.oidc import Oidc
from services.auth.connections.providers.outbound import Outbound
from services.auth.connections.providers.provider import Provider

_KINDS: Mapping[str, Callable[[Platform, Outbound], Provider]] = {
    "google": Google,
    "instagram": Instagram,
    "oidc": Oidc,
}


def providers(offered: Iterable[Platform], outbound: Outbound) -> Mapping[str, Provider]:
    """Give the provider of each platform by its name, in their order."""
    return {platform.name: _KINDS[platform.kind](platform, outbound) for platform in offered}
