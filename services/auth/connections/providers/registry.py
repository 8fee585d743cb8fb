"""The kinds of platforms: a module of this package each, and its name in `NAMES`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping

from services.auth.connections.platforms import Platform
from services.auth.connections.providers.outbound import Outbound
from services.auth.connections.providers.provider import PlatformKind, Provider

NAMES = ("google", "instagram", "oidc")
KINDS: Mapping[str, PlatformKind] = {name: importlib.import_module(f"{__package__}.{name}").KIND for name in NAMES}


def find_kind(platform: str) -> PlatformKind | None:
    """Return the kind of a platform that is known by its name; None if its settings must name the kind."""
    return next((kind for kind in KINDS.values() if platform in kind.titles), None)


def providers(offered: Iterable[Platform], outbound: Outbound) -> Mapping[str, Provider]:
    """Return the provider of each platform by its name, in their order."""
    return {platform.name: KINDS[platform.kind].provider(platform, outbound) for platform in offered}
