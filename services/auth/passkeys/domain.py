"""Passkeys: what is kept of one, and what can be wrong with it. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis import errors

PASSKEYS_PER_USER = 10
CEREMONY_LIFETIME = timedelta(minutes=5)


class Purpose(StrEnum):
    """What an authenticator is asked for."""

    ADD = "add"
    LOGIN = "login"
    REAUTHENTICATE = "reauthenticate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A passkey as an authenticator has just made it."""

    credential_id: bytes
    public_key: bytes
    """COSE."""
    sign_count: int
    transports: tuple[str, ...]
    """How its authenticator says that it can be reached; a hint for browsers."""
    aaguid: uuid.UUID
    """The make of the authenticator; all zero when it does not say."""
    is_syncable: bool
    is_synced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey(Made):
    """A passkey of a user."""

    passkey_id: uuid.UUID
    user_id: uuid.UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What the signature of an authenticator vouches for, beside that its user was verified."""

    sign_count: int
    is_synced: bool

    def is_behind(self, passkey: Passkey) -> bool:
        """Whether the counter did not go on: then two authenticators have the key. Both zero: it does not count."""
        return (self.sign_count, passkey.sign_count) != (0, 0) and self.sign_count <= passkey.sign_count


class PasskeysUnavailable(errors.FailedPrecondition):
    """Passkeys need an address with a name, over https or at localhost; this one has none."""

    default_code = "passkeys_unavailable"


class PasskeyInvalid(errors.Unauthenticated):
    """This passkey does not open an account here."""

    default_code = "passkey_invalid"


class PasskeyUnusable(errors.InvalidArgument):
    """The answer of the authenticator cannot be used; try again."""

    default_code = "passkey_unusable"

    def __init__(self) -> None:
        super().__init__(field="credential")


class PasskeyTaken(errors.AlreadyExists):
    """This passkey has been added before."""

    default_code = "passkey_taken"


class PasskeysTooMany(errors.FailedPrecondition):
    """An account has at most ten passkeys; remove one first."""

    default_code = "passkeys_too_many"


class PasskeyNotFound(errors.NotFound):
    """There is no such passkey."""

    default_code = "passkey_not_found"
