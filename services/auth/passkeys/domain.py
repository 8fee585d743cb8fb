"""Passkeys, and the errors about them. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis import errors

PASSKEYS_PER_USER = 10
CEREMONY_LIFETIME = timedelta(minutes=5)


class Purpose(StrEnum):
    """What a ceremony is for."""

    ADD = "add"
    LOGIN = "login"
    REAUTHENTICATE = "reauthenticate"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRegistration:
    """A credential that an authenticator has just created."""

    credential_id: bytes
    public_key: bytes
    """In COSE format."""
    sign_count: int
    transports: tuple[str, ...]
    """How the authenticator can be reached, by its own account; a hint for browsers."""
    aaguid: uuid.UUID
    """The model of the authenticator; all zero when it does not disclose it."""
    is_syncable: bool
    is_synced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey(VerifiedRegistration):
    passkey_id: uuid.UUID
    user_id: uuid.UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAssertion:
    """What a verified signature states in addition to the identity of the user."""

    sign_count: int
    is_synced: bool

    def has_counter_regressed(self, passkey: Passkey) -> bool:
        """Return whether the counter did not grow: two authenticators hold the key. Both zero means no counter."""
        return (self.sign_count, passkey.sign_count) != (0, 0) and self.sign_count <= passkey.sign_count


class PasskeysUnavailable(errors.FailedPrecondition):
    """Passkeys need https and a domain name, or localhost. This address has neither."""

    default_code = "passkeys_unavailable"


class PasskeyInvalid(errors.Unauthenticated):
    """The passkey doesn't belong to an account here."""

    default_code = "passkey_invalid"


class PasskeyUnusable(errors.InvalidArgument):
    """The passkey couldn't be verified. Try again."""

    default_code = "passkey_unusable"

    def __init__(self) -> None:
        super().__init__(field="credential")


class PasskeyTaken(errors.AlreadyExists):
    """The passkey was already added."""

    default_code = "passkey_taken"


class PasskeysTooMany(errors.FailedPrecondition):
    """You have ten passkeys, the maximum. Remove one first."""

    default_code = "passkeys_too_many"


class PasskeyNotFound(errors.NotFound):
    """There is no such passkey."""

    default_code = "passkey_not_found"
