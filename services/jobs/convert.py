"""Conversion between jobs and proto messages. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.protobuf import struct_pb2

from chassis import errors, ids, protobuf, tracing
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2, kind_pb2
from services.jobs import domain, kinds, outcomes
from services.jobs.operators import change_log

MAX_PAYLOAD_BYTES = 256 * 1024
MAX_RESULT_BYTES = 64 * 1024
MASK = "•••"
MAX_SNOOZE = timedelta(days=30)
MAX_IN_EVENT_BYTES = domain.SMALL_PAYLOAD_BYTES
"""Events leave out a larger payload or result."""

STATES = protobuf.Enum(job_pb2.JobState.DESCRIPTOR, domain.State, "states")
_POLICY = frozenset(kind_pb2.KindDefaults.DESCRIPTOR.fields_by_name)


def spec_from_proto(message: job_pb2.JobSpec, defaults: Mapping[str, Any] | None = None) -> domain.Spec:
    """Return a spec; unset fields have the `defaults` of the kind. Raises `InvalidArgument`."""
    explicit = _policy(message)
    if message.HasField("run_at"):
        explicit["run_at"] = protobuf.from_timestamp(message.run_at, "run_at")
    if message.unique_key:
        explicit["unique_key"] = message.unique_key
    if message.concurrency_key:
        explicit["concurrency_key"] = message.concurrency_key
    if message.parent_id:
        explicit["parent_id"] = ids.parse(message.parent_id, "parent_id")
    return domain.Spec(
        kind=message.kind,
        owner_id=ids.parse(message.owner_id, "owner_id"),
        payload=json_from_proto(message.payload, "payload", MAX_PAYLOAD_BYTES),
        traceparent=tracing.read(message.traceparent) or None,
        explicit=frozenset(explicit),
        **{**(defaults or {}), **explicit},
    ).validate()


def _policy(message: job_pb2.JobSpec | kind_pb2.KindDefaults) -> dict[str, Any]:
    """Return the fields of an execution policy that are set."""
    return {
        field.name: protobuf.from_duration(value, field.name) if field.message_type else value
        for field, value in message.ListFields()
        if field.name in _POLICY
    }


def registration_from_proto(message: kind_pb2.KindRegistration) -> kinds.Registration:
    """Return the registration of a kind. Raises `InvalidArgument`."""
    retention = (
        {"retention": protobuf.from_duration(message.retention, "retention")} if message.HasField("retention") else {}
    )
    return kinds.Registration(
        kind=message.kind,
        defaults=_policy(message.defaults),
        notify_owner=message.notify_owner,
        has_undo=message.has_undo,
        sensitive=tuple(message.sensitive_fields),
        payload_schema=message.payload_schema,
        **retention,
    )


def info_from_proto(message: kind_pb2.WorkerInfo) -> kinds.WorkerInfo:
    """Return the information that a worker registers about itself."""
    has_start = message.HasField("start_time")
    return kinds.WorkerInfo(
        host=_text(message.host, 100),
        version=_text(message.version, 100),
        concurrency=max(0, message.concurrency),
        started_at=protobuf.from_timestamp(message.start_time, "start_time") if has_start else None,
    )


def claimed_to_proto(job: domain.Job) -> job_pb2.Job:
    """Return a job as proto for the worker that has claimed it."""
    message = job_to_proto(job)
    if job.time_left is not None:
        message.time_left.FromTimedelta(job.time_left)
    return message


def job_to_proto(
    job: domain.Job, *, payload: struct_pb2.Struct | None = None, max_bytes: int | None = None
) -> job_pb2.Job:
    """Return a job as proto. `payload` is the payload if the caller has it; one above `max_bytes` is left out.

    A stored payload may be larger than a submitted one: an undo job carries that of its job, and jsonb writes numbers out.
    """
    if payload is None and job.has_payload and (max_bytes is None or job.payload_bytes <= max_bytes):
        payload = json_to_proto(job.spec.payload)
    return job_pb2.Job(
        job_id=str(job.job_id),
        spec=job_pb2.JobSpec(
            kind=job.spec.kind,
            owner_id=str(job.spec.owner_id),
            payload=payload,
            priority=job.spec.priority,
            run_at=protobuf.to_timestamp(job.spec.run_at),
            max_attempts=job.spec.max_attempts,
            backoff=protobuf.to_duration(job.spec.backoff),
            max_backoff=protobuf.to_duration(job.spec.max_backoff),
            attempt_timeout=protobuf.to_duration(job.spec.attempt_timeout),
            unique_key=job.spec.unique_key or "",
            concurrency_key=job.spec.concurrency_key or "",
            total_timeout=protobuf.to_duration(job.spec.total_timeout),
            parent_id=str(job.spec.parent_id) if job.spec.parent_id else "",
            traceparent=job.spec.traceparent or "",
        ),
        state=STATES.to_proto(job.state),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        crashes=job.crashes,
        progress=job_pb2.JobProgress(
            done=job.progress.done,
            total=job.progress.total,
            message=job.progress.message,
            estimate_time=protobuf.to_timestamp(job.progress.estimate),
        ),
        result=json_to_proto(job.result) if job.result is not None else None,
        error=_error_to_proto(job.error),
        cancel_reason=job.cancel_reason or "",
        version=job.version,
        create_time=protobuf.to_timestamp(job.created_at),
        start_time=protobuf.to_timestamp(job.started_at),
        finish_time=protobuf.to_timestamp(job.finished_at),
        errors=job.errors,
        deadline=protobuf.to_timestamp(job.deadline),
        next_run_time=protobuf.to_timestamp(job.run_at) if _is_delayed(job) else None,
        children=_children_to_proto(job.children) if job.children.total else None,
        notify_owner=job.spec.notify_owner,
        on_hold=job.is_on_hold,
    )


def masked(job: domain.Job, fields: Collection[str]) -> domain.Job:
    """Return a job without the values of sensitive fields of its payload, also of the payload that an undo job carries."""
    if not fields:
        return job
    return dataclasses.replace(job, spec=dataclasses.replace(job.spec, payload=mask_fields(job.spec.payload, fields)))


async def masked_jobs(jobs: Sequence[domain.Job], registry: kinds.Kinds) -> list[domain.Job]:
    """Return jobs as operators may read them. Their kinds are read together."""
    by_name = await registry.get({job.spec.kind for job in jobs})
    return [masked(job, by_name[job.spec.kind].sensitive) if job.spec.kind in by_name else job for job in jobs]


def require_unmasked(payload: Mapping[str, Any], sensitive: Collection[str]) -> None:
    """Reject the mask of a sensitive field as its value: it comes from a payload that an operator has read."""
    if masked := sorted(name for name in sensitive if payload.get(name) == MASK):
        raise errors.InvalidArgument(f"{masked[0]} is hidden in the other job; enter its value.", field=masked[0])


def mask_fields(payload: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    masked = {name: MASK if name in fields else value for name, value in payload.items()}
    if isinstance(undone := masked.get("payload"), Mapping):
        masked["payload"] = mask_fields(undone, fields)
    return masked


def _is_delayed(job: domain.Job) -> bool:
    return job.state in domain.DELAYED and not job.awaits_children and not job.is_on_hold


def _children_to_proto(children: domain.Children) -> job_pb2.JobChildren:
    return job_pb2.JobChildren(total=children.total, ended=children.ended, unsuccessful=children.unsuccessful)


def event_to_proto(job: domain.Job, *, sequence: int, reason: str, occurred_at: datetime) -> job_events_pb2.JobEvent:
    snapshot = job_to_proto(job, max_bytes=MAX_IN_EVENT_BYTES)
    if snapshot.spec.payload.ByteSize() > MAX_IN_EVENT_BYTES:
        snapshot.spec.ClearField("payload")
    if snapshot.result.ByteSize() > MAX_IN_EVENT_BYTES:
        snapshot.ClearField("result")
    return job_events_pb2.JobEvent(
        owner_id=str(job.spec.owner_id),
        sequence=sequence,
        reason=reason,
        job=snapshot,
        occur_time=protobuf.to_timestamp(occurred_at),
    )


def attempt_to_proto(row: Mapping[str, Any], *, is_operator: bool) -> job_pb2.Attempt:
    """Return an attempt as proto, with its exception for operators."""
    error = domain.JobError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None
    message = job_pb2.Attempt(
        attempt=row["attempt"],
        worker=row["worker"],
        start_time=protobuf.to_timestamp(row["started_at"]),
        finish_time=protobuf.to_timestamp(row["finished_at"]),
        outcome=row["outcome"] or "",
        error=_error_to_proto(error),
        resumed_done=row["resumed_done"],
        lease_time=protobuf.to_timestamp(row["lease_until"]),
    )
    if row["progress_done"] is not None:
        message.progress.done, message.progress.total = row["progress_done"], row["progress_total"]
    if is_operator:
        message.fingerprint = row["fingerprint"] or ""
        message.log_line_count = row["log_lines"]
        if row["exception_type"] is not None:
            message.exception.type, message.exception.message = row["exception_type"], row["exception_message"]
            message.exception.traceback, message.exception.place = row["traceback"] or "", row["place"]
    return message


def change_to_proto(change: change_log.JobChange) -> job_pb2.JobChangeRecord:
    return job_pb2.JobChangeRecord(
        change=change.change, actor_id=str(change.actor_id or ""), time=protobuf.to_timestamp(change.changed_at)
    )


def transition_to_proto(row: Mapping[str, Any]) -> job_pb2.Transition:
    return job_pb2.Transition(
        sequence=row["sequence"],
        state=STATES.to_proto(domain.State(row["state"])),
        attempt=row["attempt"],
        reason=row["reason"],
        occur_time=protobuf.to_timestamp(row["occurred_at"]),
    )


def progress_from_proto(message: job_pb2.JobProgress) -> domain.Progress:
    """Return progress; `done` is capped at `total`. Raises `InvalidArgument` below 0."""
    if message.done < 0 or message.total < 0:
        raise errors.InvalidArgument("progress must not be below 0.", field="progress")
    done = min(message.done, message.total) if message.total else message.done
    return domain.Progress(done=done, total=message.total, message=_text(message.message, 200))


LEVELS = ("debug", "info", "warning", "error", "critical")


def lines_from_proto(messages: Iterable[job_pb2.LogLine]) -> tuple[domain.LogLine, ...]:
    """Return log lines in the order of their numbers, each once. Raises `InvalidArgument` for an invalid time."""
    lines = {
        message.number: domain.LogLine(
            number=message.number,
            logged_at=protobuf.from_timestamp(message.time, "lines"),
            level=message.level if message.level in LEVELS else "info",
            logger=_text(message.logger, 100),
            text=cut(message.text, domain.MAX_LINE_BYTES),
        )
        for message in messages
    }
    return tuple(lines[number] for number in sorted(lines) if number > 0)


def line_to_proto(row: Mapping[str, Any]) -> job_pb2.LogLine:
    return job_pb2.LogLine(
        number=row["number"],
        time=protobuf.to_timestamp(row["logged_at"]),
        level=row["level"],
        logger=row["logger"],
        text=row["text"],
        attempt=row["attempt"],
    )


def checkpoint_to_proto(row: Mapping[str, Any], *, is_operator: bool) -> job_pb2.Checkpoint:
    """Return a checkpoint as proto, with a small value for operators."""
    return job_pb2.Checkpoint(
        name=row["name"],
        attempt=row["attempt"],
        save_time=protobuf.to_timestamp(row["saved_at"]),
        duration=protobuf.to_duration(None if row["seconds"] is None else timedelta(seconds=row["seconds"])),
        value=(row["value"] or "") if is_operator else "",
    )


def outcome_from_proto(message: jobs_service_pb2.FinishJobRequest, kind_prefix: str) -> outcomes.Outcome:
    """Return the outcome of an attempt, reported by a service. Raises `InvalidArgument` without one."""
    return dataclasses.replace(_outcome(message), lines=lines_from_proto(message.lines), kind_prefix=kind_prefix)


def _outcome(message: jobs_service_pb2.FinishJobRequest) -> outcomes.ReportedOutcome:
    match message.WhichOneof("outcome"):
        case "completed":
            has_progress = message.completed.HasField("progress")
            return outcomes.Completed(
                result=json_from_proto(message.completed.result, "result", MAX_RESULT_BYTES),
                progress=progress_from_proto(message.completed.progress) if has_progress else None,
            )
        case "failed":
            error = message.failed.error
            return outcomes.Failed(
                error=domain.JobError(code=_text(error.code, 100) or "failed", message=_text(error.message, 500)),
                retryable=message.failed.retryable,
                exception=_exception(message.failed.exception) if message.failed.HasField("exception") else None,
            )
        case "cancelled":
            return outcomes.Cancelled(reason=_text(message.cancelled.reason, 100) or "requested")
        case "released":
            return outcomes.Released()
        case "snoozed":
            delay = protobuf.from_duration(message.snoozed.delay, "delay")
            if not timedelta() < delay <= MAX_SNOOZE:
                raise errors.InvalidArgument("delay must be above 0 and at most 30 days.", field="delay")
            return outcomes.Snoozed(delay=delay)
        case "waiting":
            return outcomes.Waiting()
        case _:
            allowed = "completed, failed, cancelled, released, snoozed, waiting"
            raise errors.InvalidArgument(f"outcome must be one of {allowed}.", field="outcome")


def error_to_proto(error: errors.Error) -> jobs_service_pb2.CallError:
    """Return the error of one item of a batch call."""
    return jobs_service_pb2.CallError(
        status=error.status, code=error.code, message=error.message, field=error.field, details=error.details
    )


def value_from_proto(message: struct_pb2.Value, field: str) -> Any:
    """Return any JSON value. Raises `InvalidArgument`."""
    wrapped = struct_pb2.Struct()
    wrapped.fields[field].CopyFrom(message)
    if message.WhichOneof("kind") is None:
        return None
    return json_from_proto(wrapped, field, MAX_RESULT_BYTES, depth=protobuf.MAX_DEPTH + 1)[field]


def value_to_proto(value: Any) -> struct_pb2.Value:
    """Return any JSON value as proto."""
    return json_to_proto({"value": value}).fields["value"]


def json_from_proto(
    message: struct_pb2.Struct, field: str, max_bytes: int, *, depth: int = protobuf.MAX_DEPTH
) -> dict[str, Any]:
    """Return a JSON object. Raises `InvalidArgument` above `max_bytes` or `depth`, or with NUL: PostgreSQL cannot store it."""
    try:
        value = protobuf.from_struct(message, depth)
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:
        text = (
            f"{field} must be JSON: at most {protobuf.MAX_DEPTH} nested objects and lists, no infinite numbers, no NaN."
        )
        raise errors.InvalidArgument(text, field=field) from None
    # The message can be larger than the JSON text, and calls carry the message.
    if max(len(text.encode()), message.ByteSize()) > max_bytes:
        raise errors.InvalidArgument(f"{field} must be at most {max_bytes} bytes of JSON.", field=field)
    # Escaped backslashes are removed first: a text may mention \\u0000.
    if "\\u0000" in text.replace("\\\\", ""):
        raise errors.InvalidArgument(f"{field} must not contain NUL characters.", field=field)
    return value


def json_to_proto(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return a JSON object as proto."""
    message = struct_pb2.Struct()
    message.update(value)
    return message


def _error_to_proto(error: domain.JobError | None) -> job_pb2.JobError | None:
    return job_pb2.JobError(code=error.code, message=error.message) if error else None


def _exception(message: job_pb2.JobException) -> outcomes.ExceptionInfo:
    return outcomes.ExceptionInfo(
        type=_text(message.type, 200),
        message=cut(message.message, domain.MAX_EXCEPTION_BYTES),
        traceback=cut(message.traceback, domain.MAX_TRACEBACK_BYTES),
        place=_text(message.place, 200),
    )


def cut(value: str, limit: int) -> str:
    """Return the beginning of a text that fits `limit` bytes, without NUL characters: PostgreSQL cannot store them."""
    return value.replace("\x00", "").encode()[:limit].decode(errors="ignore")


def _text(value: str, limit: int) -> str:
    return value.replace("\x00", "")[:limit]
