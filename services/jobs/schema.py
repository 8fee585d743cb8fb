"""The tables of the jobs service as SQLAlchemy sees them; the migrations make them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from chassis import outbox as outbox_

metadata = sa.MetaData(schema="jobs")
_time = sa.DateTime(timezone=True)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.Uuid, primary_key=True),
    sa.Column("owner_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("budget", sa.Integer, nullable=False),
    sa.Column("backoff", sa.Interval, nullable=False),
    sa.Column("max_backoff", sa.Interval, nullable=False),
    sa.Column("attempt_timeout", sa.Interval, nullable=False),
    sa.Column("unique_key", sa.Text),
    sa.Column("scheduled_at", _time),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_at", _time, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", _time),
    sa.Column("progress_attempt", sa.Integer, nullable=False),
    sa.Column("progress_done", sa.BigInteger, nullable=False),
    sa.Column("progress_total", sa.BigInteger, nullable=False),
    sa.Column("progress_message", sa.Text, nullable=False),
    sa.Column("result", JSONB(none_as_null=True)),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("cancel_reason", sa.Text),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("started_at", _time),
    sa.Column("finished_at", _time),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("job_id", sa.Uuid, sa.ForeignKey(jobs.c.job_id, ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("started_at", _time, nullable=False),
    sa.Column("finished_at", _time),
    sa.Column("outcome", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
)

owners = sa.Table(
    "owners",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("event", sa.LargeBinary, nullable=False),
    sa.Column("occurred_at", _time, nullable=False),
)

outbox = outbox_.outbox_table(metadata)
