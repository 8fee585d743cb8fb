"""What the auth service is told by its environment."""

from __future__ import annotations

import dataclasses

from chassis import settings

ARGON2_LEAST_KIB = 8
PRODUCTION_LEAST_KIB = 19_456  # OWASP's floor for argon2id with two passes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Process):
    """Settings of the auth service. The seeded admin is optional: both of its settings, or neither."""

    listen: str = "0.0.0.0:50051"
    database_url: str
    admin_email: str = ""
    admin_password: str = ""
    password_memory_kib: int = 65_536
    """Memory that hashing one password takes; more makes guessing dearer."""
    registrations_per_address: int = 30
    """How often one network address may try to register within 15 minutes."""

    def __post_init__(self) -> None:
        if bool(self.admin_email) != bool(self.admin_password):
            raise settings.SettingsError("ADMIN_EMAIL and ADMIN_PASSWORD belong together: give both or none")
        least = PRODUCTION_LEAST_KIB if self.environment == "production" else ARGON2_LEAST_KIB
        if self.password_memory_kib < least:
            raise settings.SettingsError(f"PASSWORD_MEMORY_KIB must be at least {least}")
        if self.registrations_per_address < 1:
            raise settings.SettingsError("REGISTRATIONS_PER_ADDRESS must be at least 1")
