"""Connections as messages, and jobs' messages as news. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import worker
from chassis import protobuf
from repruv.auth.v1 import auth_events_pb2, connection_pb2
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.auth.connections import domain
from services.auth.connections.domain import Connection, JobKind, JobPhase, State

REFRESH = "auth.refresh"
GIVE_BACK = "auth.revoke-tokens"
MAX_ATTEMPTS = 6
BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(seconds=30)
ATTEMPT_TIMEOUT = timedelta(minutes=2)
TOTAL_TIMEOUT = timedelta(minutes=10)
"""After that a code has ended at every platform, and no user waits any more."""

_SHOW_JOB = frozenset({State.CONNECTING, State.DISCONNECTING, State.FAILED})
_PHASES = {
    job_pb2.JOB_STATE_SCHEDULED: JobPhase.UNDER_WAY,
    job_pb2.JOB_STATE_PENDING: JobPhase.UNDER_WAY,
    job_pb2.JOB_STATE_RETRYING: JobPhase.UNDER_WAY,
    job_pb2.JOB_STATE_RUNNING: JobPhase.UNDER_WAY,
    job_pb2.JOB_STATE_CANCELLING: JobPhase.UNDER_WAY,
    job_pb2.JOB_STATE_COMPLETED: JobPhase.COMPLETED,
    job_pb2.JOB_STATE_FAILED: JobPhase.FAILED,
    job_pb2.JOB_STATE_CANCELLED: JobPhase.CANCELLED,
}


def connection_to_proto(connection: Connection, *, title: str) -> connection_pb2.Connection:
    """Write a snapshot."""
    return connection_pb2.Connection(
        user_id=str(connection.user_id),
        platform=connection.platform,
        title=title,
        state=connection_pb2.ConnectionState.Value(f"CONNECTION_STATE_{connection.state.upper()}"),
        version=connection.version,
        job_id=str(connection.job_id or "") if connection.state in _SHOW_JOB else "",
        account=_account(connection.account) if connection.account else None,
        error=_error(connection.error) if connection.error else None,
        connect_time=protobuf.to_timestamp(connection.connected_at),
        sync_time=protobuf.to_timestamp(connection.synced_at),
        access_expire_time=protobuf.to_timestamp(connection.access_expires_at),
        item_count=connection.item_count,
        update_time=protobuf.to_timestamp(connection.changed_at),
    )


def event_to_proto(connection: Connection, action: domain.Action, *, title: str) -> auth_events_pb2.ConnectionEvent:
    """Write the event of a transition that led to `connection`."""
    return auth_events_pb2.ConnectionEvent(
        connection=connection_to_proto(connection, title=title),
        reason=action.value,
        occur_time=protobuf.to_timestamp(connection.changed_at),
    )


def submit_to_proto(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    """Write the submit of the connection's present job; always the same for the same generation, so it may be repeated.

    It names the connection, and nothing that is secret.
    """
    if connection.job_id is None or connection.job_kind is None:
        raise ValueError("a connection without a job has nothing to submit")
    return worker.new_job(
        connection.job_kind.value,
        {"platform": connection.platform, "generation": connection.generation},
        job_id=str(connection.job_id),
        owner_id=str(connection.user_id),
        max_attempts=MAX_ATTEMPTS,
        backoff=BACKOFF,
        max_backoff=MAX_BACKOFF,
        attempt_timeout=ATTEMPT_TIMEOUT,
        total_timeout=TOTAL_TIMEOUT,
        # Without a concurrency key: one that was overtaken and waits for its next attempt would keep the next from beginning.
        # The generation decides.
    )


def refresh_to_proto(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    """Write the submit of a job that renews access; there is at most one at a time for a connection.

    It belongs to the system: users need not see each renewal among their jobs.
    """
    return worker.new_job(
        REFRESH,
        {
            "user_id": str(connection.user_id),
            "platform": connection.platform,
            "generation": connection.generation,
        },
        unique_key=f"{REFRESH}:{connection.user_id}/{connection.platform}",
    )


def give_back_to_proto(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    """Write the submit of a job that gives back what was set aside of this generation; there is at most one at a time."""
    of = f"{connection.user_id}/{connection.platform}/{connection.generation}"
    return worker.new_job(
        GIVE_BACK,
        {
            "user_id": str(connection.user_id),
            "platform": connection.platform,
            "generation": connection.generation,
        },
        unique_key=f"{GIVE_BACK}:{of}",
    )


def news_from_proto(job: job_pb2.Job) -> domain.JobNews | None:
    """Read what a job's snapshot means to a connection; None for a job that is none of ours. Raises ValueError if broken."""
    if job.spec.kind not in set(JobKind) or job.state not in _PHASES:
        return None
    platform, generation = of_payload(dict(job.spec.payload))
    return domain.JobNews(
        job_id=UUID(job.job_id),
        user_id=UUID(job.spec.owner_id),
        platform=platform,
        generation=generation,
        phase=_PHASES[job.state],
        attempt=job.attempt,
        version=job.version,
        error_code=job.error.code,
    )


def of_payload(payload: Mapping[str, Any]) -> tuple[str, int]:
    """Read platform and generation out of a job's payload. Raises ValueError if they are not there."""
    try:
        return str(payload["platform"]), int(payload["generation"])
    except (KeyError, TypeError):
        raise ValueError("not the payload of a connection's job") from None


def _account(account: domain.Account) -> connection_pb2.Connection.Account:
    return connection_pb2.Connection.Account(
        external_id=account.external_id, name=account.name, url=account.url, picture_url=account.picture_url
    )


def _error(error: domain.Error) -> connection_pb2.ConnectionError:
    return connection_pb2.ConnectionError(code=error.code.value, message=error.message)
