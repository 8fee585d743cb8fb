"""Settings of the jobs service."""

from __future__ import annotations

from dataclasses import dataclass

from chassis import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Backend):
    """Read from the variables of the same names in upper case."""

    listen: str = "0.0.0.0:50053"
    database_url: str
    jobs_lease_seconds: float = 3.0
    """The lease: without a heartbeat for this long, another worker gets the jobs. 1 to 3600."""

    def __post_init__(self) -> None:
        """Validate; raises `SettingsError`."""
        if not 1.0 <= self.jobs_lease_seconds <= 3600.0:
            raise settings.SettingsError("JOBS_LEASE_SECONDS must be between 1 and 3600")

    @property
    def pool_size(self) -> int:
        """Connections of one process to PostgreSQL; docs/operations.md adds them up."""
        return 30
