"""SQLAlchemy tables of schema `auth`; `migrations/` creates them with their constraints."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from chassis import outbox as chassis_outbox

metadata = sa.MetaData(schema="auth")
_Time = sa.DateTime(timezone=True)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("email_verified_at", _Time),
    sa.Column("password_changed_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("disabled_at", _Time),
    sa.Column("time_zone", sa.Text, nullable=False, server_default=""),
    sa.Column("theme", sa.Text, nullable=False, server_default="system"),
    sa.Column("job_emails", sa.Text, nullable=False, server_default="all"),
    sa.Column("page_notices", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("muted_notices", sa.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("deletion_id", sa.Uuid),
    sa.Column("deletion_due_at", _Time),
    sa.Column("erasure_started_at", _Time),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("token_hash", sa.LargeBinary, nullable=False),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Column("ip_address", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("last_seen_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("idle_expires_at", _Time, nullable=False),
    sa.Column("absolute_expires_at", _Time, nullable=False),
    sa.Column("revoked_at", _Time),
    sa.Column("revoke_reason", sa.Text),
    sa.Column("is_remembered", sa.Boolean, nullable=False),
    sa.Column("authenticated_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("client_name", sa.Text, nullable=False),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("token_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("token_hash", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", postgresql.ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _Time, nullable=False),
    sa.Column("last_used_at", _Time),
    sa.Column("revoked_at", _Time),
)

# Devices from which a user has signed in, by the hash of `sessions/devices.py`.
devices = sa.Table(
    "devices",
    metadata,
    sa.Column("device_hash", sa.LargeBinary, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("first_seen_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("last_seen_at", _Time, nullable=False, server_default=sa.func.now()),
)

# An authenticator app, pending or enabled. Its secret is encrypted with the associated data `totp|<user_id>`.
second_factors = sa.Table(
    "second_factors",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    sa.Column("confirm_before", _Time),
    sa.Column("enabled_at", _Time),
    sa.Column("last_step", sa.BigInteger),
)

recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("code_hash", sa.LargeBinary, primary_key=True),
    sa.Column("used_at", _Time),
)

login_challenges = sa.Table(
    "login_challenges",
    metadata,
    sa.Column("challenge_hash", sa.LargeBinary, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("is_remembered", sa.Boolean, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("expires_at", _Time, nullable=False),
    sa.Column("used_at", _Time),
)

passkeys = sa.Table(
    "passkeys",
    metadata,
    sa.Column("passkey_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("credential_id", sa.LargeBinary, nullable=False),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("transports", postgresql.ARRAY(sa.Text), nullable=False),
    sa.Column("aaguid", sa.Uuid, nullable=False),
    sa.Column("is_syncable", sa.Boolean, nullable=False),
    sa.Column("is_synced", sa.Boolean, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("last_used_at", _Time),
)

# The challenge to sign is the SHA-256 of a secret that only the browser of the ceremony has.
passkey_challenges = sa.Table(
    "passkey_challenges",
    metadata,
    sa.Column("challenge", sa.LargeBinary, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("session_id", sa.Uuid),
    sa.Column("expires_at", _Time, nullable=False),
)

mail_tokens = sa.Table(
    "mail_tokens",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("expires_at", _Time, nullable=False),
    sa.Column("used_at", _Time),
)

# Changes of addresses: pending without `confirmed_at`, then revocable. The hashes are those of the links in both emails.
email_changes = sa.Table(
    "email_changes",
    metadata,
    sa.Column("change_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("old_email", sa.Text, nullable=False),
    sa.Column("new_email", sa.Text, nullable=False),
    sa.Column("was_verified", sa.Boolean, nullable=False),
    sa.Column("requested_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _Time, nullable=False),
    sa.Column("revocable_until", _Time, nullable=False),
    sa.Column("confirmed_at", _Time),
    sa.Column("confirm_hash", sa.LargeBinary),
    sa.Column("revoke_hash", sa.LargeBinary),
)

security_events = sa.Table(
    "security_events",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", sa.Uuid),
    sa.Column("actor_id", sa.Uuid),
    sa.Column("session_id", sa.Uuid),
    sa.Column("ip_address", sa.Text, nullable=False),
    sa.Column("client_name", sa.Text, nullable=False),
    sa.Column("details", postgresql.JSONB, nullable=False),
    sa.Column("occurred_at", _Time, nullable=False, server_default=sa.func.now()),
)

# The counts of `throttling`: failed sign-ins, registrations, codes and emails.
login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("window_ends_at", _Time, nullable=False),
)

outbox = chassis_outbox.outbox_table(metadata)
