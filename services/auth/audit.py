"""Security events of accounts, written in the transaction of the change and immutable for a year."""

from __future__ import annotations

import hashlib
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.auth import domain, throttling
from services.auth.schema import login_failures, security_events, sessions

ATTEMPTS_PER_ACCOUNT = 20
"""Events of strangers about one account that are recorded in a window of `throttling`."""
EVENTS_PER_DAY = 100
"""Events of a kind and actor about one account that are recorded in a day of UTC: a script may sign in thousands of times."""
GROUPS_WITHOUT_ACCOUNT = 50
"""Addresses without an account are counted in so many groups, each like an account. Counted together they would wait for each
other, and only they: the time of an answer would tell which addresses have accounts."""
DETAIL_LIMIT = 300
ADMINISTRATOR = "Administrator"
"""The client that owners see of an event that an admin has caused."""


class Kind(StrEnum):
    REGISTERED = "registered"
    REGISTRATION_REPEATED = "registration_repeated"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    SECOND_FACTOR_FAILED = "second_factor_failed"
    REAUTHENTICATED = "reauthenticated"
    REAUTHENTICATION_FAILED = "reauthentication_failed"
    SESSION_REVOKED = "session_revoked"
    SESSIONS_REVOKED = "sessions_revoked"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a kind
    PASSWORD_CHANGE_FAILED = "password_change_failed"  # noqa: S105 - a kind
    PASSWORD_RESET_REQUESTED = "password_reset_requested"  # noqa: S105 - a kind
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a kind
    EMAIL_VERIFICATION_REQUESTED = "email_verification_requested"
    EMAIL_VERIFIED = "email_verified"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGE_CANCELLED = "email_change_cancelled"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_REVOKED = "email_change_revoked"
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    PASSKEY_USED = "passkey_used"
    PASSKEY_FAILED = "passkey_failed"
    PASSKEY_COUNTER_REGRESSED = "passkey_counter_regressed"
    ROLE_CHANGED = "role_changed"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_ENABLED = "account_enabled"
    CONNECTION_BEGUN = "connection_begun"
    CONNECTED = "connected"
    CONNECTION_FAILED = "connection_failed"
    DISCONNECTED = "disconnected"
    DELETION_REQUESTED = "deletion_requested"
    DELETION_CANCELLED = "deletion_cancelled"
    ACCOUNT_DELETED = "account_deleted"
    DATA_EXPORT_REQUESTED = "data_export_requested"
    DATA_EXPORT_DOWNLOADED = "data_export_downloaded"
    API_TOKEN_CREATED = "api_token_created"  # noqa: S105 - a kind
    API_TOKEN_REVOKED = "api_token_revoked"  # noqa: S105 - a kind


ATTEMPTS = (
    Kind.LOGIN_FAILED,
    Kind.SECOND_FACTOR_FAILED,
    Kind.PASSKEY_FAILED,
    Kind.PASSKEY_COUNTER_REGRESSED,
    Kind.PASSWORD_RESET_REQUESTED,
    Kind.REGISTRATION_REPEATED,
)
"""Kinds that strangers cause; then they have no actor. A trigger allows their deletion after a month."""
# Written out, for the partial index.
IS_ATTEMPT = sa.text(f"actor_id IS NULL AND kind IN ({', '.join(repr(kind.value) for kind in ATTEMPTS)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A security event of an account, or of an address without one."""

    event_id: uuid.UUID
    kind: Kind
    user_id: uuid.UUID | None
    actor_id: uuid.UUID | None
    session_id: uuid.UUID | None
    ip_address: str
    client_name: str
    details: Mapping[str, str]
    occurred_at: datetime

    def for_owner(self) -> Event:
        """Return the event without what tells about another person: the admin who acted."""
        if self.actor_id in (None, self.user_id):
            return self
        return replace(self, actor_id=None, session_id=None, ip_address="", client_name=ADMINISTRATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The account that an event concerns, and where the event came from."""

    user_id: uuid.UUID | None
    """None for an address without an account."""
    actor_id: uuid.UUID | None = None
    """The user who acted; None if not signed in, and for the service itself."""
    session_id: uuid.UUID | None = None
    client: domain.Client | None = None
    """None means the client that began the session."""


def by_owner(actor: domain.Actor, client: domain.Client | None = None) -> Origin:
    """Return the origin of a user's action on their own account."""
    return Origin(user_id=actor.user_id, actor_id=actor.user_id, session_id=actor.session_id, client=client)


async def record(conn: AsyncConnection, kind: Kind, origin: Origin, **details: str) -> None:
    """Insert a security event, unless its day is full; the last one is marked. No detail may be a secret."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    further = "Further events of this kind are not recorded on this day (UTC)."
    parameters = {
        "about": origin.user_id,
        "actor": origin.actor_id,
        "session": origin.session_id,
        "ip": origin.client.ip_address if origin.client else None,
        "client": origin.client.name if origin.client else None,
        "first_id": uuid.UUID(int=int(midnight.timestamp() * 1000) << 80),
    }
    await conn.execute(_RECORD, {**parameters, **_event(kind, details, further, EVENTS_PER_DAY)})


async def record_attempt(
    conn: AsyncConnection, kind: Kind, user_id: uuid.UUID | None, client: domain.Client, **details: str
) -> None:
    """Insert the event of a stranger's attempt, unless its window is full; the last one is marked.

    Counting and insertion are one statement, whether the address has an account or not. No other lock may follow it.
    """
    key = f"events:{user_id or group_without_account(details.get('email', ''))}"
    counted = throttling.counting(key).returning(login_failures.c.failures).cte("counted")
    columns = {
        "user_id": sa.literal(user_id, sa.Uuid),
        "ip_address": sa.literal(client.ip_address),
        "client_name": sa.literal(client.name),
    }
    further = "Further attempts of these minutes are not recorded."
    statement = _insert_up_to_limit(counted.c.failures, columns)
    await conn.execute(statement, _event(kind, details, further, ATTEMPTS_PER_ACCOUNT))


def _event(kind: Kind, details: Mapping[str, str], further: str, limit: int) -> dict[str, object]:
    """Return the parameters of `_insert_up_to_limit`."""
    recorded = {name: _single_line(detail) for name, detail in details.items()}
    return {
        "new_id": ids.uuid7(),
        "event_kind": kind.value,
        "described": recorded,
        "described_last": recorded | {"further": further},
        "most": limit,
    }


def _insert_up_to_limit(number: sa.ColumnElement[int], columns: Mapping[str, sa.ColumnElement[Any]]) -> sa.Insert:
    """Return the statement that inserts an event whose `number` is within the limit, with the detail `further` at the limit."""
    values: dict[str, sa.ColumnElement[Any]] = {
        "event_id": sa.bindparam("new_id", type_=sa.Uuid),
        "kind": sa.bindparam("event_kind", type_=sa.Text),
        **columns,
        "details": sa.case(
            (number == _MOST, sa.bindparam("described_last", type_=postgresql.JSONB)),
            else_=sa.bindparam("described", type_=postgresql.JSONB),
        ),
    }
    return sa.insert(security_events).from_select(list(values), sa.select(*values.values()).where(number <= _MOST))


def _recording() -> sa.Insert:
    """Return the statement of `record`, whose construction would cost more than its execution."""
    about, actor, session = (sa.bindparam(name, type_=sa.Uuid) for name in ("about", "actor", "session"))
    of_today = (
        sa.select(security_events.c.event_id)
        .where(
            security_events.c.user_id == about,  # of no account: unlimited
            security_events.c.event_id >= sa.bindparam("first_id", type_=sa.Uuid),
            security_events.c.kind == sa.bindparam("event_kind", type_=sa.Text),
            security_events.c.actor_id.is_not_distinct_from(actor),
        )
        .limit(_MOST)
        .subquery()
    )
    counted = sa.select((sa.func.count() + 1).label("number")).select_from(of_today).subquery()

    def of_client(parameter: str, column: sa.Column[str]) -> sa.ColumnElement[str]:
        of_session = sa.select(column).where(sessions.c.session_id == session).scalar_subquery()
        return sa.func.coalesce(sa.bindparam(parameter, type_=sa.Text), of_session, "")

    columns = {
        "user_id": about,
        "actor_id": actor,
        "session_id": session,
        "ip_address": of_client("ip", sessions.c.ip_address),
        "client_name": of_client("client", sessions.c.client_name),
    }
    return _insert_up_to_limit(counted.c.number, columns)


_MOST: sa.BindParameter[int] = sa.bindparam("most", type_=sa.Integer)
_RECORD = _recording()


def group_without_account(email: str) -> int:
    """Return the group in which the attempts at an address without an account are counted."""
    return int.from_bytes(hashlib.sha256(email.encode()).digest()[:4]) % GROUPS_WITHOUT_ACCOUNT


async def list_events(
    conn: AsyncConnection,
    *,
    user_id: uuid.UUID | None,
    kinds: Sequence[str] = (),
    start: uuid.UUID | None = None,
    is_ascending: bool = False,
    limit: int,
) -> Sequence[Event]:
    """List events of an account, or of all, newest first unless `is_ascending`, from a position on."""
    event_id = security_events.c.event_id
    statement = sa.select(security_events).where(*_matches(user_id, kinds))
    if start is not None:
        statement = statement.where(event_id > start if is_ascending else event_id < start)
    rows = await conn.execute(statement.order_by(event_id if is_ascending else event_id.desc()).limit(limit))
    return [Event(**{**row._mapping, "kind": Kind(row.kind)}) for row in rows]


async def count_events(
    conn: AsyncConnection, *, user_id: uuid.UUID | None, kinds: Sequence[str] = (), limit: int
) -> int:
    """Count the events of a list, at most `limit`."""
    first_events = sa.select(security_events.c.event_id).where(*_matches(user_id, kinds)).limit(limit).subquery()
    return int((await conn.execute(sa.select(sa.func.count()).select_from(first_events))).scalar_one())


def _matches(user_id: uuid.UUID | None, kinds: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    of_user = [security_events.c.user_id == user_id] if user_id is not None else []
    return [*of_user, security_events.c.kind.in_(kinds)] if kinds else of_user


def _single_line(detail: str) -> str:
    # Line breaks would let a stranger forge lines of a listing.
    return "".join(
        " " if unicodedata.category(character)[0] in "CZ" else character for character in detail[:DETAIL_LIMIT]
    )
