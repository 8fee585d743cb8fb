"""The tables of this service that an export contains, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from chassis.owner_rows import OwnerTable
from lifecycle.columns import BOOKKEEPING
from services.auth import schema
from services.auth.connections import schema as connections

_HASH = "a hash that only recognises a secret"
_IS_BY_ADMIN = sa.func.coalesce(schema.security_events.c.actor_id != schema.security_events.c.user_id, sa.false())
_TRANSITIONS = dict.fromkeys(BOOKKEEPING, "bookkeeping of transitions")
TABLES: Sequence[OwnerTable] = (
    OwnerTable(
        table=schema.users,
        owner="user_id",
        omitted={
            "password_hash": _HASH,
            **dict.fromkeys(("deletion_id", "erasure_started_at"), "bookkeeping of a deletion"),
        },
    ),
    OwnerTable(table=schema.sessions, owner="user_id", omitted={"token_hash": _HASH}),
    OwnerTable(table=schema.devices, owner="user_id", omitted={"device_hash": _HASH}),
    OwnerTable(table=schema.api_tokens, owner="user_id", omitted={"token_hash": _HASH}),
    OwnerTable(
        table=schema.second_factors,
        owner="user_id",
        omitted={"sealed_secret": "a secret", "last_step": "bookkeeping of used codes"},
    ),
    OwnerTable(
        table=schema.passkeys,
        owner="user_id",
        omitted=dict.fromkeys(("public_key", "credential_id"), "of use to the authenticator only"),
    ),
    OwnerTable(table=schema.email_changes, owner="user_id", omitted={"confirm_hash": _HASH, "revoke_hash": _HASH}),
    OwnerTable(
        table=schema.security_events,
        owner="user_id",
        omitted={"actor_id": "may be another person: an admin"},
        hidden=dict.fromkeys(("session_id", "ip_address", "client_name"), _IS_BY_ADMIN),
    ),
    OwnerTable(table=connections.connections, owner="user_id", omitted=_TRANSITIONS),
    OwnerTable(table=connections.items, owner="user_id"),
)
LEFT_OUT: Mapping[str, str] = {
    "auth.recovery_codes": "Hashes of secrets.",
    "auth.login_challenges": "Hashes of secrets, for five minutes.",
    "auth.passkey_challenges": "Hashes of secrets, for five minutes.",
    "auth.mail_tokens": "Hashes of secrets in emailed links.",
    "auth.connection_authorizations": "Secrets of a consent that has begun, for ten minutes.",
    "auth.connection_secrets": "Tokens of platforms. auth.connections says which platforms are connected.",
    "auth.connection_pending_revocations": "Tokens of platforms that are being revoked.",
    "auth.connection_platforms": "Platforms on offer, of no user.",
    "auth.data_exports": "The state of this export.",
    "auth.data_export_chunks": "This archive.",
    "auth.login_failures": "Counts of attempts, for 15 minutes.",
    "auth.outbox": "Messages that are being sent.",
    "auth.schema_version": "The version of the tables.",
}
"""Tables that are left out, with the reason."""
