"""Jobs as messages and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import errors, ids
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2
from services.jobs import domain

MAX_JSON_BYTES = 64 * 1024


def state_to_proto(state: domain.State) -> job_pb2.JobState.ValueType:
    """Give the enum value of a state."""
    return job_pb2.JobState.Value(f"JOB_STATE_{state.upper()}")


def state_from_proto(value: job_pb2.JobState.ValueType) -> domain.State:
    """Give the state of an enum value. Raises `InvalidArgument` for one that is not known here."""
    try:
        return domain.State(job_pb2.JobState.Name(value).removeprefix("JOB_STATE_").lower())
    except ValueError:
        raise errors.InvalidArgument("states must be known job states.", field="states") from None


def spec_from_proto(message: job_pb2.JobSpec) -> domain.Spec:
    """Read a spec; what is not set gets its default. Raises `InvalidArgument`."""
    given: dict[str, Any] = {}
    if message.HasField("run_at"):
        given["run_at"] = message.run_at.ToDatetime(UTC)
    if message.max_attempts:
        given["max_attempts"] = message.max_attempts
    for name in ("backoff", "max_backoff", "attempt_timeout"):
        if message.HasField(name):
            given[name] = getattr(message, name).ToTimedelta()
    return domain.Spec(
        kind=message.kind,
        owner_id=ids.parse(message.owner_id, "owner_id"),
        payload=json_from_proto(message.payload, "payload"),
        priority=message.priority,
        unique_key=message.unique_key or None,
        **given,
    )


def job_to_proto(job: domain.Job) -> job_pb2.Job:
    """Write a job."""
    return job_pb2.Job(
        job_id=str(job.job_id),
        spec=job_pb2.JobSpec(
            kind=job.spec.kind,
            owner_id=str(job.spec.owner_id),
            payload=json_to_proto(job.spec.payload),
            priority=job.spec.priority,
            run_at=_time(job.spec.run_at),
            max_attempts=job.spec.max_attempts,
            backoff=_duration(job.spec.backoff),
            max_backoff=_duration(job.spec.max_backoff),
            attempt_timeout=_duration(job.spec.attempt_timeout),
            unique_key=job.spec.unique_key or "",
        ),
        state=state_to_proto(job.state),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        crashes=job.crashes,
        progress=job_pb2.JobProgress(done=job.progress.done, total=job.progress.total, message=job.progress.message),
        result=json_to_proto(job.result) if job.result is not None else None,
        error=_error_to_proto(job.error),
        cancel_reason=job.cancel_reason or "",
        version=job.version,
        create_time=_time(job.created_at),
        start_time=_time(job.started_at),
        finish_time=_time(job.finished_at),
    )


def event_to_proto(job: domain.Job, *, sequence: int, reason: str, occurred_at: datetime) -> job_events_pb2.JobEvent:
    """Write the event of a transition."""
    return job_events_pb2.JobEvent(
        owner_id=str(job.spec.owner_id),
        sequence=sequence,
        reason=reason,
        job=job_to_proto(job),
        occur_time=_time(occurred_at),
    )


def attempt_to_proto(row: Mapping[str, Any]) -> job_pb2.Attempt:
    """Write an attempt."""
    error = domain.JobError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None
    return job_pb2.Attempt(
        attempt=row["attempt"],
        worker=row["worker"],
        start_time=_time(row["started_at"]),
        finish_time=_time(row["finished_at"]),
        outcome=row["outcome"] or "",
        error=_error_to_proto(error),
    )


def transition_to_proto(row: Mapping[str, Any]) -> job_pb2.Transition:
    """Write a transition."""
    return job_pb2.Transition(
        sequence=row["sequence"],
        state=state_to_proto(domain.State(row["state"])),
        attempt=row["attempt"],
        reason=row["reason"],
        occur_time=_time(row["occurred_at"]),
    )


def progress_from_proto(message: job_pb2.JobProgress) -> domain.Progress:
    """Read progress. Raises `InvalidArgument` below 0; more than all counts as all."""
    if message.done < 0 or message.total < 0:
        raise errors.InvalidArgument("progress must not be below 0.", field="progress")
    done = min(message.done, message.total) if message.total else message.done
    return domain.Progress(done=done, total=message.total, message=_text(message.message, 200))


def outcome_from_proto(message: jobs_service_pb2.FinishJobRequest) -> domain.Outcome:
    """Read the outcome of an attempt. Raises `InvalidArgument` if there is none."""
    match message.WhichOneof("outcome"):
        case "completed":
            return domain.Completed(result=json_from_proto(message.completed.result, "result"))
        case "failed":
            error = message.failed.error
            return domain.Failed(
                error=domain.JobError(code=_text(error.code, 100) or "failed", message=_text(error.message, 500)),
                retryable=message.failed.retryable,
            )
        case "cancelled":
            return domain.Cancelled(reason=_text(message.cancelled.reason, 100) or "requested")
        case "released":
            return domain.Released()
        case _:
            raise errors.InvalidArgument(
                "outcome must be one of completed, failed, cancelled, released.", field="outcome"
            )


def json_from_proto(message: struct_pb2.Struct, field: str) -> dict[str, Any]:
    """Read a JSON object. Raises `InvalidArgument` above 64 KiB or with NUL characters, which PostgreSQL cannot keep."""
    try:
        value: dict[str, Any] = json_format.MessageToDict(message)
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        raise errors.InvalidArgument(f"{field} must be JSON: no infinite numbers, no NaN.", field=field) from None
    # As a message it can be larger than as JSON, and it is the message that travels.
    if max(len(text), message.ByteSize()) > MAX_JSON_BYTES:
        raise errors.InvalidArgument(f"{field} must be at most {MAX_JSON_BYTES} bytes of JSON.", field=field)
    if "\\u0000" in text:
        raise errors.InvalidArgument(f"{field} must not contain NUL characters.", field=field)
    return value


def json_to_proto(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """Write a JSON object."""
    message = struct_pb2.Struct()
    message.update(value)
    return message


def _error_to_proto(error: domain.JobError | None) -> job_pb2.JobError | None:
    return job_pb2.JobError(code=error.code, message=error.message) if error else None


def _text(value: str, limit: int) -> str:
    return value.replace("\x00", "")[:limit]


def _time(value: datetime | None) -> Timestamp | None:
    if value is None:
        return None
    message = Timestamp()
    message.FromDatetime(value)
    return message


def _duration(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message
