"""Settings of the provisioning, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis import settings
from provision import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Base):
    """The settings of `python -m provision`."""

    admin_database_url: str = field(repr=False)
    """Database URL of a role that may create roles and schemas."""
    nats_url: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False, metadata={settings.VARIABLES: keys.DATABASE_PASSWORDS})
    """The password of each service's role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings(settings.Base):
    """The settings of `python -m provision import-legacy`."""

    admin_database_url: str = field(repr=False)
    """As for `python -m provision`."""
