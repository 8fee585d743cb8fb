"""The tables of data exports as SQLAlchemy sees them; a migration creates them."""

from __future__ import annotations

import sqlalchemy as sa

from lifecycle import files
from lifecycle.columns import columns as lifecycle_columns
from services.auth.schema import metadata

data_exports = sa.Table(
    "data_exports",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    *lifecycle_columns(not_null=("job_id", "job_kind", "changed_at")),
    sa.Column("chunk_count", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
)

data_export_chunks = files.chunk_table("data_export_chunks", data_exports)
