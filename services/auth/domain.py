"""Users, sessions, and the rules for what people type in. Pure: no database, no clock."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
import secrets
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from chassis import errors

IDLE_LIFETIME = timedelta(days=14)
ABSOLUTE_LIFETIME = timedelta(days=90)
RENEW_AFTER = timedelta(minutes=5)
SESSIONS_PER_USER = 20

FAILURES_PER_ACCOUNT = 10
FAILURES_PER_ADDRESS = 100
ATTEMPTS_WINDOW = timedelta(minutes=15)

EMAIL_LENGTHS = (3, 254)
PASSWORD_LENGTHS = (10, 128)
NAME_LIMIT = 100
USER_AGENT_LIMIT = 400

_TOKEN_PREFIX = "rpv_"  # noqa: S105 - lets scanners for leaked secrets find ours
_TOKEN = re.compile(r"rpv_[A-Za-z0-9_-]{43}")
_LOCAL_PART = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Role(StrEnum):
    """What a user may do."""

    USER = "user"
    ADMIN = "admin"


class RevokeReason(StrEnum):
    """Why a session ended before its time."""

    LOGOUT = "logout"
    REVOKED = "revoked"
    REVOKED_ALL = "revoked_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account."""

    user_id: uuid.UUID
    email: str
    name: str
    role: Role
    created_at: datetime


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where a login comes from; both may be empty when unknown."""

    user_agent: str
    ip_address: str

    @property
    def network(self) -> str:
        """The address as throttling sees it: an IPv6 customer has a whole /64 to come from."""
        if ":" not in self.ip_address:
            return self.ip_address
        return str(ipaddress.ip_network(f"{self.ip_address}/64", strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Sessions of one user that ended together."""

    user_id: uuid.UUID
    session_ids: tuple[uuid.UUID, ...]
    reason: RevokeReason
    revoked_at: datetime


class InvalidCredentials(errors.Unauthenticated):
    """The e-mail address or the password is not right."""

    default_code = "invalid_credentials"


class SessionInvalid(errors.Unauthenticated):
    """The session does not exist or has ended; sign in again."""

    default_code = "session_invalid"


class SessionNotFound(errors.NotFound):
    """There is no such session."""

    default_code = "session_not_found"


class EmailTaken(errors.AlreadyExists):
    """There is an account with this e-mail address already."""

    default_code = "email_taken"


class TooManyAttempts(errors.ResourceExhausted):
    """Too many attempts; try again later."""

    default_code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(details={"retry_after_seconds": str(retry_after_seconds)})


def new_token() -> str:
    """Make the secret of a session: 256 random bits."""
    return _TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Give what is stored of a token, or raise `SessionInvalid` when it cannot be one.

    A fast hash suffices, since nobody can guess 256 random bits.
    """
    if not _TOKEN.fullmatch(token):
        raise SessionInvalid()
    return hashlib.sha256(token.encode()).digest()


def normalize_email(email: str) -> str:
    """Give the one spelling under which an address is stored: lower case, international domains in their xn-- form."""
    least, most = EMAIL_LENGTHS
    trimmed = email.strip()
    if len(trimmed) > most:  # before anything that takes its time with long texts
        raise _invalid_email()
    _refuse_control_characters(trimmed, "email")
    local_part, _, host = trimmed.lower().rpartition("@")
    normalized = f"{local_part}@{_ascii_domain(host)}"
    if not _LOCAL_PART.fullmatch(local_part) or not least <= len(normalized) <= most:
        raise _invalid_email()
    return normalized


def check_password(password: str, *, email: str) -> None:
    """Raise `InvalidArgument` unless `password` may protect the account of the normalised address `email`."""
    least, most = PASSWORD_LENGTHS
    if not least <= len(password) <= most:
        raise errors.InvalidArgument(
            f"The password must have {least} to {most} characters.", code="invalid_password", field="password"
        )
    _refuse_control_characters(password, "password")
    folded = password.strip().lower()
    if folded in (email, email.partition("@")[0]):
        raise errors.InvalidArgument(
            "The password must not be your e-mail address; choose one that others cannot derive from it.",
            code="weak_password",
            field="password",
        )
    if folded in _common_passwords() or len(set(folded)) < 4:
        raise errors.InvalidArgument(
            "This password is among the first that others try; choose one that only you would think of, "
            "for example a few unrelated words.",
            code="weak_password",
            field="password",
        )


def clean_name(name: str) -> str:
    """Give a display name without surrounding space; it may be empty."""
    cleaned = name.strip()
    if len(cleaned) > NAME_LIMIT:
        raise errors.InvalidArgument(f"The name must have at most {NAME_LIMIT} characters.", field="name")
    _refuse_control_characters(cleaned, "name")
    return cleaned


def clean_client(*, user_agent: str, ip_address: str) -> Client:
    """Describe where a login comes from.

    The user agent is only shown, so what cannot be shown is replaced: a browser's odd header must not keep anybody out.
    """
    shown = "".join(" " if _is_control(character) else character for character in user_agent[:USER_AGENT_LIMIT])
    return Client(user_agent=shown.strip(), ip_address=_clean_address(ip_address))


def read_revoke_reason(reason: str) -> RevokeReason:
    """Read the reason of a revocation: `logout`, or empty for any other."""
    if reason not in ("", RevokeReason.LOGOUT):
        raise errors.InvalidArgument("The reason must be `logout` or empty.", field="reason")
    return RevokeReason(reason or RevokeReason.REVOKED)


def _ascii_domain(host: str) -> str:
    plain = unicodedata.normalize("NFKC", host)
    try:
        encoded = plain.encode("idna").decode()
        # Python's codec maps a few letters (ß, ς) to others, which would be somebody else's domain.
        is_lossless = encoded.encode().decode("idna") == plain or encoded == plain
    except UnicodeError:
        raise _invalid_email() from None
    if not is_lossless or not all(map(_DOMAIN_LABEL.fullmatch, encoded.split("."))):
        raise _invalid_email()
    return encoded


def _clean_address(text: str) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise errors.InvalidArgument("The client's address must be an IP address.", field="client") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


def _refuse_control_characters(text: str, field: str) -> None:
    # PostgreSQL takes no NUL in a text, and no other one has business in what people read.
    if any(map(_is_control, text)):
        raise errors.InvalidArgument(f"The {field} must not contain control characters.", field=field)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _invalid_email() -> errors.InvalidArgument:
    return errors.InvalidArgument(
        "The e-mail address must look like name@example.org: 3 to 254 characters with one @, "
        "and only ASCII letters, digits and punctuation before it.",
        code="invalid_email",
        field="email",
    )


@functools.cache
def _common_passwords() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").split("\n"))
