"""The tables of the demo service as SQLAlchemy sees them; the migrations create them."""

from __future__ import annotations

import sqlalchemy as sa

from chassis import outbox as outbox_
from lifecycle.columns import columns as lifecycle_columns

metadata = sa.MetaData(schema="demo")
_time = sa.DateTime(timezone=True)

demo_modes = sa.Table(
    "demo_modes",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    *lifecycle_columns(),
    sa.Column("profile_type", sa.Text),
    sa.Column("niche", sa.Text),
    sa.Column("content_count", sa.Integer),
    sa.Column("interaction_count", sa.Integer),
    sa.Column("seed", sa.BigInteger),
    sa.Column("seeded_at", _time),
    sa.Column("content_written", sa.Integer, nullable=False),
    sa.Column("interactions_written", sa.Integer, nullable=False),
    sa.Column("content_removed", sa.Integer, nullable=False),
    sa.Column("interactions_removed", sa.Integer, nullable=False),
    sa.Column("enabled_at", _time),
    sa.Column("expire_after", sa.Interval),
    sa.Column("expires_at", _time),
)

content = sa.Table(
    "content",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("published_at", _time, nullable=False),
    sa.Column("views", sa.BigInteger, nullable=False),
    sa.Column("likes", sa.BigInteger, nullable=False),
)

interactions = sa.Table(
    "interactions",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("content_position", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("author_name", sa.Text, nullable=False),
    sa.Column("author_handle", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("rating", sa.SmallInteger),
    sa.Column("sentiment", sa.Text, nullable=False),
    sa.Column("occurred_at", _time, nullable=False),
    sa.Column("replied", sa.Boolean, nullable=False),
    sa.Column("reply_text", sa.Text),
    sa.Column("likes", sa.Integer, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request_hash", sa.LargeBinary, nullable=False),
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("created_at", _time, nullable=False),
)

outbox = outbox_.outbox_table(metadata)
