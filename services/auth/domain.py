"""Users, sessions and errors that several features share. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from chassis import addresses, errors

RENEW_AFTER = timedelta(minutes=5)
SESSIONS_PER_USER = 20
FRESH_FOR = timedelta(minutes=10)


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"
    GUEST = "guest"
    """Tries Repruv without an address; erased after some hours."""


class RevokeReason(StrEnum):
    """The reason for ending a session early."""

    LOGOUT = "logout"
    REVOKED = "revoked"
    REVOKED_ALL = "revoked_all"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a reason
    ROLE_CHANGED = "role_changed"
    ACCOUNT_DISABLED = "account_disabled"
    REVOKED_BY_ADMIN = "revoked_by_admin"


REFRESHED = "refreshed"
"""Published instead of a reason when sessions continue but caches of them are outdated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    idle: timedelta
    absolute: timedelta


REMEMBERED = Lifetimes(idle=timedelta(days=14), absolute=timedelta(days=90))
NOT_REMEMBERED = Lifetimes(idle=timedelta(hours=12), absolute=timedelta(hours=24))


class Theme(StrEnum):
    SYSTEM = "system"
    """The setting of the user's operating system."""
    LIGHT = "light"
    DARK = "dark"


class JobEmails(StrEnum):
    """The long jobs whose end an email tells, if the user was away."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class NoticeCategory(StrEnum):
    """Groups of job kinds whose ends pages show notices of."""

    DEMO_MODE = "demo_mode"
    EXPORTS = "exports"
    CONNECTIONS = "connections"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account."""

    user_id: uuid.UUID
    email: str
    name: str
    role: Role
    created_at: datetime
    email_verified_at: datetime | None
    disabled_at: datetime | None
    time_zone: str
    """The IANA zone in which the user reads times; empty: the browser's."""
    theme: Theme
    job_emails: JobEmails
    page_notices: bool
    """Whether pages show finished jobs that the user has not read."""
    muted_notices: frozenset[NoticeCategory]
    """The categories of which they show none."""
    deletion_due_at: datetime | None
    """When the account will be erased; None if it stays."""
    has_second_factor: bool
    age: timedelta
    """Age of the account when it was read."""

    def can_access_dashboard(self, verification_period: timedelta) -> bool:
        """Return whether the user may see the dashboard.

        Without a verified address an account sees it for the verification period; 0 means forever.
        """
        if self.email_verified_at is not None or self.role is Role.ADMIN or not verification_period:
            return True
        return self.age < verification_period


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of a user; it is live until it is revoked or the earlier of its two expiries."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    user_agent: str
    ip_address: str
    created_at: datetime
    last_seen_at: datetime
    idle_expires_at: datetime
    absolute_expires_at: datetime
    is_remembered: bool
    authenticated_at: datetime
    client_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where a call comes from; unknown fields are empty."""

    user_agent: str
    ip_address: str
    name: str = ""
    """A readable name of the user agent."""
    device: str = field(default="", repr=False)
    """The secret of the browser's device cookie; empty for clients without cookies."""

    @property
    def network(self) -> str:
        """The network that throttling counts: an IPv6 customer controls a whole /64."""
        return addresses.network(self.ip_address)


NOWHERE = Client(user_agent="", ip_address="")
"""The client of the service's own actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The caller: a user in a session."""

    user_id: uuid.UUID
    session_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Sessions of one user that ended together, or that caches must drop."""

    user_id: uuid.UUID
    session_ids: tuple[uuid.UUID, ...]
    reason: str
    revoked_at: datetime


class InvalidCredentials(errors.Unauthenticated):
    """Email address or password is incorrect."""

    default_code = "invalid_credentials"


class InvalidCode(errors.Unauthenticated):
    """The code is incorrect or already used. Enter a new one."""

    default_code = "invalid_code"

    def __init__(self) -> None:
        super().__init__(field="code")


class ChallengeInvalid(errors.Unauthenticated):
    """The sign-in took too long or had too many attempts. Sign in again."""

    default_code = "challenge_invalid"


class SessionInvalid(errors.Unauthenticated):
    """Your session has ended. Sign in again."""

    default_code = "session_invalid"


class AccountRequired(errors.PermissionDenied):
    """Guests can't do this. Create an account first."""

    default_code = "account_required"


class ReauthenticationRequired(errors.PermissionDenied):
    """Confirm it's you: enter your password again."""

    default_code = "reauthentication_required"


class AdminRequired(errors.PermissionDenied):
    """Only admins can do this."""

    default_code = "admin_required"


class OwnAccount(errors.FailedPrecondition):
    """You can't do this to your own account."""

    default_code = "own_account"


class AdminAccount(errors.FailedPrecondition):
    """The account of an admin can't be deleted. Revoke the admin rights first."""

    default_code = "admin_account"


class DeletionPending(errors.FailedPrecondition):
    """The account is being deleted."""

    default_code = "deletion_pending"


class SessionNotFound(errors.NotFound):
    """There is no such session."""

    default_code = "session_not_found"


class UserNotFound(errors.NotFound):
    """There is no such account."""

    default_code = "user_not_found"


class EmailTaken(errors.AlreadyExists):
    """An account with this email address already exists. Sign in, or use another address."""

    default_code = "email_taken"


class SecondFactorEnabled(errors.FailedPrecondition):
    """The second factor is already on."""

    default_code = "second_factor_enabled"


class SecondFactorNotEnabled(errors.FailedPrecondition):
    """The second factor is off."""

    default_code = "second_factor_not_enabled"


class SecondFactorNotBegun(errors.FailedPrecondition):
    """Setting up the authenticator app took too long. Start over."""

    default_code = "second_factor_not_begun"


class LinkInvalid(errors.InvalidArgument):
    """The link is invalid, expired or already used."""

    default_code = "token_invalid"

    def __init__(self) -> None:
        super().__init__(field="token")


class TooManyAttempts(errors.ResourceExhausted):
    """Too many attempts. Try again later."""

    default_code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(details={"retry_after_seconds": str(retry_after_seconds)})
