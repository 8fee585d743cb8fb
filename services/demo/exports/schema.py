"""The tables of exports as SQLAlchemy sees them; migration 0004 creates them."""

from __future__ import annotations

import sqlalchemy as sa

from services.demo.schema import metadata

_time = sa.DateTime(timezone=True)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("previous_state", sa.Text),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("job_kind", sa.Text, nullable=False),
    sa.Column("job_version", sa.BigInteger, nullable=False),
    sa.Column("demo_generation", sa.BigInteger, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("rows_written", sa.Integer, nullable=False),
    sa.Column("chunk_count", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("expires_at", _time),
    sa.Column("changed_at", _time, nullable=False),
    sa.Column("checked_at", _time),
)

export_chunks = sa.Table(
    "export_chunks",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
