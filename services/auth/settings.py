"""Settings of the auth service and its worker."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from chassis import public_url, settings
from services.auth.email.message import Sender
from services.auth.email.senders import open_sender
from services.auth.encryption.keyring import Keyring
from services.auth.passkeys.relying_party import RelyingParty

ARGON2_MIN_KIB = 8
PRODUCTION_MIN_KIB = 19_456  # OWASP's minimum for argon2id with two passes
MAX_DELETION_DAYS = 90
MAX_GUESTS = 10_000
REGISTRATION_MODES = ("open", "verified")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _CommonSettings(settings.Backend):
    """Settings that `serve` and `work` share."""

    database_url: str
    jobs_target: str
    """host:port of the jobs service."""
    demo_target: str
    """host:port of the demo service: whether demo mode prevents a connection, and a user's rows for a data export."""
    encryption_keys: str
    """Keys for secrets at rest, the newest first: `<name>:<32 bytes, base64url>,…`."""
    public_url: str = "http://127.0.0.1:8080"
    """Address at which browsers reach the gateway: prefix of links in emails and of platforms' redirect URIs."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "public_url", public_url.normalize(self.public_url))
        except ValueError as error:
            raise settings.SettingsError(f"PUBLIC_URL cannot be used: {error}") from error
        self.check()

    def check(self) -> None:
        """Validate the settings. Raises `SettingsError`."""
        try:
            Keyring.read(self.encryption_keys)
        except ValueError as error:
            raise settings.SettingsError(f"ENCRYPTION_KEYS cannot be used: {error}") from error

    @property
    def keyring(self) -> Keyring:
        """The keys for secrets at rest."""
        return Keyring.read(self.encryption_keys)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(_CommonSettings):
    """Settings of `serve` and `migrate`. The seeded admin is optional: both of its settings, or neither."""

    listen: str = "0.0.0.0:50051"
    admin_email: str = ""
    admin_password: str = ""
    password_memory_kib: int = 65_536
    """Memory of one argon2id hash in KiB; more makes guessing more expensive."""
    registrations_per_address: int = 30
    """Registrations that one network address may try within 15 minutes."""
    registration: str = ""
    """`open`: registration begins a session at once; `verified`: it sends an email. Default in production: verified."""
    email_verification_days: int = 7
    """Days for which an account sees the dashboard without a verified address; 0 means forever."""
    account_deletion_days: int = 14
    """Days for which a user can cancel the deletion of the account; 0: it is erased at once."""
    max_guests: int = 200
    """Guests, who try Repruv without an account, at once in the whole system, at most 10000; 0: none."""
    passkey_domain: str = ""
    """The domain that passkeys are bound to: the host of PUBLIC_URL (the default) or a parent domain."""

    def check(self) -> None:
        """Validate the settings. Raises `SettingsError`."""
        super(Settings, self).check()
        if bool(self.admin_email) != bool(self.admin_password):
            raise settings.SettingsError("ADMIN_EMAIL and ADMIN_PASSWORD belong together: set both or neither")
        minimum = PRODUCTION_MIN_KIB if self.environment == "production" else ARGON2_MIN_KIB
        if self.password_memory_kib < minimum:
            raise settings.SettingsError(f"PASSWORD_MEMORY_KIB must be at least {minimum}")
        if self.registrations_per_address < 1:
            raise settings.SettingsError("REGISTRATIONS_PER_ADDRESS must be at least 1")
        if self.registration not in ("", *REGISTRATION_MODES):
            raise settings.SettingsError(f"REGISTRATION must be {' or '.join(REGISTRATION_MODES)}")
        if not 0 <= self.email_verification_days <= 365:
            raise settings.SettingsError("EMAIL_VERIFICATION_DAYS must be between 0 and 365")
        if not 0 <= self.account_deletion_days <= MAX_DELETION_DAYS:
            raise settings.SettingsError(f"ACCOUNT_DELETION_DAYS must be between 0 and {MAX_DELETION_DAYS}")
        if not 0 <= self.max_guests <= MAX_GUESTS:
            raise settings.SettingsError(f"MAX_GUESTS must be between 0 and {MAX_GUESTS}")
        try:
            RelyingParty.from_url(self.public_url, self.passkey_domain)
        except ValueError as error:
            raise settings.SettingsError(f"PASSKEY_DOMAIN cannot be used: {error}") from error

    @property
    def is_registration_open(self) -> bool:
        """Whether a registration starts a session immediately."""
        return (self.registration or ("verified" if self.environment == "production" else "open")) == "open"

    @property
    def pool_size(self) -> int:
        """Connections of one process to PostgreSQL; docs/operations.md adds them up."""
        return 16

    @property
    def relying_party(self) -> RelyingParty | None:
        """The relying party; None where browsers do not offer passkeys."""
        return RelyingParty.from_url(self.public_url, self.passkey_domain)

    @property
    def deletion_grace(self) -> timedelta:
        """Time between the request for a deletion and the erasure."""
        return timedelta(days=self.account_deletion_days)

    @property
    def verification_period(self) -> timedelta:
        """Time for which an account sees the dashboard without a verified address; 0 means forever."""
        return timedelta(days=self.email_verification_days)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(_CommonSettings):
    """Settings of `work`."""

    worker_concurrency: int = 8
    """Jobs that one process runs at once, 1 to 100. Most wait for a platform or a mail server."""
    email_url: str = "folder:/tmp/repruv-mails"
    """Where emails go: `folder:<path>` (not in production), `smtp://[user:password@]host[:port]` or `smtps://…`."""
    email_from: str = "Repruv <no-reply@localhost>"
    """The sender of emails."""

    def check(self) -> None:
        """Validate the settings. Raises `SettingsError`."""
        super(WorkerSettings, self).check()
        self.open_sender()
        if self.environment == "production" and self.email_from.endswith("@localhost>"):
            raise settings.SettingsError("EMAIL_FROM is missing: production needs an address that receives email")
        if not 1 <= self.worker_concurrency <= 100:
            raise settings.SettingsError("WORKER_CONCURRENCY must be between 1 and 100")

    @property
    def pool_size(self) -> int:
        """Connections of one process to PostgreSQL: its jobs mostly wait for other systems."""
        return self.worker_concurrency + 2

    def open_sender(self) -> Sender:
        """Open the sender of EMAIL_URL. Raises `SettingsError`."""
        is_production = self.environment == "production"
        try:
            return open_sender(self.email_url, sender=self.email_from, is_production=is_production)
        except ValueError as error:
            raise settings.SettingsError(f"EMAIL_URL or EMAIL_FROM cannot be used: {error}") from error
