"""The tables of schema `auth` as SQLAlchemy knows them; `migrations/` makes them, with their constraints."""

from __future__ import annotations

import sqlalchemy as sa

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
)

# Registrations are counted here too, under keys of their own.
login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("window_ends_at", _Time, nullable=False),
)

outbox = chassis_outbox.outbox_table(metadata)
