"""The tables of the jobs service in SQLAlchemy; the migrations create them."""

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
    sa.Column("concurrency_key", sa.Text),
    sa.Column("total_timeout", sa.Interval),
    sa.Column("deadline", _time),
    sa.Column("parent_id", sa.Uuid),
    sa.Column("children_total", sa.Integer, nullable=False),
    sa.Column("children_ended", sa.Integer, nullable=False),
    sa.Column("children_unsuccessful", sa.Integer, nullable=False),
    sa.Column("awaits_children", sa.Boolean, nullable=False),
    sa.Column("notifies", sa.Boolean, nullable=False),
    sa.Column("undoes", sa.Boolean, nullable=False),
    sa.Column("read_at", _time),
    sa.Column("fair_rank", sa.BigInteger, nullable=False),
    sa.Column("ready", sa.Boolean, nullable=False),
    sa.Column("progress_rate", sa.Double),
    sa.Column("progress_at", _time),
    sa.Column("payload_bytes", sa.Integer, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("hold_run_at", _time),
)

deleted_jobs = sa.Table(
    "deleted_jobs",
    metadata,
    sa.Column("job_id", sa.Uuid, primary_key=True),
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
    sa.Column("exception_type", sa.Text),
    sa.Column("exception_message", sa.Text),
    sa.Column("traceback", sa.Text),
    sa.Column("place", sa.Text),
    sa.Column("fingerprint", sa.Text),
    sa.Column("progress_done", sa.BigInteger),
    sa.Column("progress_total", sa.BigInteger),
    sa.Column("resumed_done", sa.BigInteger),
    sa.Column("lease_until", _time),
    sa.Column("log_lines", sa.Integer, nullable=False),
    sa.Column("log_bytes", sa.Integer, nullable=False),
)

attempt_logs = sa.Table(
    "attempt_logs",
    metadata,
    sa.Column("job_id", sa.Uuid, sa.ForeignKey(jobs.c.job_id, ondelete="CASCADE"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("logged_at", _time, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("logger", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)

owners = sa.Table(
    "owners",
    metadata,
    sa.Column("owner_id", sa.Uuid, primary_key=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("timeline", sa.Text),
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

kinds = sa.Table(
    "kinds",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("max_attempts", sa.Integer),
    sa.Column("backoff", sa.Interval),
    sa.Column("max_backoff", sa.Interval),
    sa.Column("attempt_timeout", sa.Interval),
    sa.Column("total_timeout", sa.Interval),
    sa.Column("priority", sa.SmallInteger),
    sa.Column("notifies", sa.Boolean, nullable=False),
    sa.Column("undoes", sa.Boolean, nullable=False),
    sa.Column("retention", sa.Interval, nullable=False),
    sa.Column("declared_at", _time),
    sa.Column("max_running", sa.Integer, nullable=False),
    sa.Column("max_running_per_key", sa.Integer, nullable=False),
    sa.Column("rate_count", sa.Integer, nullable=False),
    sa.Column("rate_period", sa.Interval),
    sa.Column("paused_at", _time),
    sa.Column("is_limited", sa.Boolean),
    sa.Column("tokens", sa.Double, nullable=False),
    sa.Column("tokens_at", _time, nullable=False),
    sa.Column("fair_rank", sa.BigInteger, nullable=False),
    sa.Column("sensitive", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("payload_schema", sa.Text, nullable=False),
)

kind_changes = sa.Table(
    "kind_changes",
    metadata,
    sa.Column("change_id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("actor_id", sa.Uuid),
    sa.Column("changed_at", _time, nullable=False),
)

job_changes = sa.Table(
    "job_changes",
    metadata,
    sa.Column("change_id", sa.Uuid, primary_key=True),
    sa.Column("job_id", sa.Uuid, sa.ForeignKey(jobs.c.job_id, ondelete="CASCADE"), nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("actor_id", sa.Uuid),
    sa.Column("changed_at", _time, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("kinds", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("seen_at", _time, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("started_at", _time),
    sa.Column("registered_at", _time, nullable=False),
)

kind_rates = sa.Table(
    "kind_rates",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("span", sa.Text, primary_key=True),
    sa.Column("begins_at", _time, primary_key=True),
    sa.Column("completed", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("cancelled", sa.Integer, nullable=False),
    sa.Column("waiting", sa.Integer, nullable=False),
    sa.Column("waits", sa.ARRAY(sa.Integer), nullable=False),
    sa.Column("runs", sa.ARRAY(sa.Integer), nullable=False),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("job_id", sa.Uuid, sa.ForeignKey(jobs.c.job_id, ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("value", JSONB, nullable=False),
    sa.Column("saved_at", _time, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("number", sa.Integer, nullable=False),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("catch_up", sa.Text, nullable=False),
    sa.Column("overlap", sa.Text, nullable=False),
    sa.Column("declared_at", _time),
    sa.Column("paused_at", _time),
    sa.Column("next_at", _time),
    sa.Column("last_at", _time),
    sa.Column("last_job_id", sa.Uuid),
)

outbox = outbox_.outbox_table(metadata)
