"""The tables of exports as SQLAlchemy sees them; migration 0004 creates them."""

from __future__ import annotations

import sqlalchemy as sa

from lifecycle import files
from lifecycle.columns import columns as lifecycle_columns
from services.demo.schema import metadata

_time = sa.DateTime(timezone=True)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    *lifecycle_columns(not_null=("job_id", "job_kind", "changed_at")),
    sa.Column("demo_generation", sa.BigInteger, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("rows_written", sa.Integer, nullable=False),
    sa.Column("chunk_count", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("expires_at", _time),
)

export_chunks = files.chunk_table("export_chunks", exports)
