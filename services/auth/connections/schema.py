"""The tables of platform connections as SQLAlchemy sees them; the migrations create them."""

from __future__ import annotations

import sqlalchemy as sa

from lifecycle.columns import columns as lifecycle_columns
from services.auth.schema import metadata

_time = sa.DateTime(timezone=True)

connections = sa.Table(
    "connections",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("platform", sa.Text, primary_key=True),
    *lifecycle_columns(not_null=("previous_state", "changed_at")),
    sa.Column("external_id", sa.Text),
    sa.Column("account_name", sa.Text),
    sa.Column("account_url", sa.Text),
    sa.Column("account_picture_url", sa.Text),
    sa.Column("item_count", sa.Integer, nullable=False),
    sa.Column("connected_at", _time),
    sa.Column("synced_at", _time),
    sa.Column("access_expires_at", _time),
    sa.Column("refresh_at", _time),
)

# Pending authorizations: the values that a callback must match, once.
authorizations = sa.Table(
    "connection_authorizations",
    metadata,
    sa.Column("state_hash", sa.LargeBinary, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("session_id", sa.Uuid, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("sealed_verifier", sa.LargeBinary, nullable=False),
    sa.Column("sealed_nonce", sa.LargeBinary, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("is_issuer_required", sa.Boolean, nullable=False),
    sa.Column("return_to", sa.Text, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
)

# A consent that is not used yet: code, verifier, nonce. Or the tokens that it was exchanged for.
secrets = sa.Table(
    "connection_secrets",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("sealed_code", sa.LargeBinary),
    sa.Column("sealed_verifier", sa.LargeBinary),
    sa.Column("sealed_nonce", sa.LargeBinary),
    sa.Column("code_sent_at", _time),
    sa.Column("sealed_access_token", sa.LargeBinary),
    sa.Column("sealed_refresh_token", sa.LargeBinary),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("issued_at", _time),
    sa.Column("expires_at", _time),
)

# Tokens that are to be revoked at their platform.
pending_revocations = sa.Table(
    "connection_pending_revocations",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("sealed_access_token", sa.LargeBinary, nullable=False),
    sa.Column("sealed_refresh_token", sa.LargeBinary),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("set_aside_at", _time, nullable=False),
    sa.Column("submitted_at", _time, nullable=False),
)

# The platforms that are, or were, offered, and when each was last offered.
platforms = sa.Table(
    "connection_platforms",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("offered_at", _time, nullable=False),
)

items = sa.Table(
    "connection_items",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("published_at", _time, nullable=False),
)
