"""Users, sessions, and how long what is believed of them. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis import addresses, errors

RENEW_AFTER = timedelta(minutes=5)
SESSIONS_PER_USER = 20
FRESH_FOR = timedelta(minutes=10)


class Role(StrEnum):
    """What a user may do."""

    USER = "user"
    ADMIN = "admin"


class RevokeReason(StrEnum):
    """Why a session ended before its time."""

    LOGOUT = "logout"
    REVOKED = "revoked"
    REVOKED_ALL = "revoked_all"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a reason
    ROLE_CHANGED = "role_changed"
    ACCOUNT_DISABLED = "account_disabled"
    REVOKED_BY_ADMIN = "revoked_by_admin"


REFRESHED = "refreshed"
"""Told in the place of a reason when sessions live on, but what is remembered of them is no longer right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long a session may live."""

    idle: timedelta
    absolute: timedelta


REMEMBERED = Lifetimes(idle=timedelta(days=14), absolute=timedelta(days=90))
NOT_REMEMBERED = Lifetimes(idle=timedelta(hours=12), absolute=timedelta(hours=24))


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
    has_second_factor: bool
    age: timedelta
    """How old the account was when it was read."""

    def can_access_dashboard(self, verification_period: timedelta) -> bool:
        """Whether the user may see the dashboard; the period is what an account has to verify its address, 0 for ever."""
        if self.email_verified_at is not None or self.role is Role.ADMIN or not verification_period:
            return True
        return self.age < verification_period


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login of a user; it lives until it is revoked or the nearer of its two ends."""

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
    """Where a call comes from; all may be empty when unknown."""

    user_agent: str
    ip_address: str
    name: str = ""
    """What the user agent is in words that people know."""

    @property
    def network(self) -> str:
        """The address as throttling sees it: an IPv6 customer has a whole /64 to come from."""
        return addresses.network(self.ip_address)


NOWHERE = Client(user_agent="", ip_address="")
"""The client of what the service does by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who makes a call: a user, in a session."""

    user_id: uuid.UUID
    session_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Sessions of one user that ended together, or of which others must forget what they know."""

    user_id: uuid.UUID
    session_ids: tuple[uuid.UUID, ...]
    reason: str
    revoked_at: datetime


class InvalidCredentials(errors.Unauthenticated):
    """The e-mail address or the password is not right."""

    default_code = "invalid_credentials"


class InvalidCode(errors.Unauthenticated):
    """The code is not right, or was used already."""

    default_code = "invalid_code"

    def __init__(self) -> None:
        super().__init__(field="code")


class ChallengeInvalid(errors.Unauthenticated):
    """This sign-in took too long or was tried too often; begin anew."""

    default_code = "challenge_invalid"


class SessionInvalid(errors.Unauthenticated):
    """The session does not exist or has ended; sign in again."""

    default_code = "session_invalid"


class ReauthenticationRequired(errors.PermissionDenied):
    """This asks for a recent proof of who you are; enter your password again."""

    default_code = "reauthentication_required"


class AdminRequired(errors.PermissionDenied):
    """This is for admins."""

    default_code = "admin_required"


class OwnAccount(errors.FailedPrecondition):
    """Admins cannot do this to their own account."""

    default_code = "own_account"


class SessionNotFound(errors.NotFound):
    """There is no such session."""

    default_code = "session_not_found"


class UserNotFound(errors.NotFound):
    """There is no such account."""

    default_code = "user_not_found"


class EmailTaken(errors.AlreadyExists):
    """There is an account with this e-mail address already."""

    default_code = "email_taken"


class SecondFactorEnabled(errors.FailedPrecondition):
    """The second factor is on already."""

    default_code = "second_factor_enabled"


class SecondFactorNotEnabled(errors.FailedPrecondition):
    """The second factor is not on."""

    default_code = "second_factor_not_enabled"


class SecondFactorNotBegun(errors.FailedPrecondition):
    """There is no authenticator app to confirm, or it took too long; begin anew."""

    default_code = "second_factor_not_begun"


class LinkInvalid(errors.InvalidArgument):
    """This link is not valid, too old, or was used already; ask for a new one."""

    default_code = "token_invalid"

    def __init__(self) -> None:
        super().__init__(field="token")


class TooManyAttempts(errors.ResourceExhausted):
    """Too many attempts; try again later."""

    default_code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(details={"retry_after_seconds": str(retry_after_seconds)})
