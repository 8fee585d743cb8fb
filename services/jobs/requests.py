"""Parts of the requests of JobsService: parsed and checked, for single and batch calls alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar
from uuid import UUID

from chassis import errors, ids, tracing
from repruv.jobs.v1 import jobs_service_pb2 as pb
from services.jobs import access, convert, domain, outcomes
from services.jobs.kinds import Kind

P = ParamSpec("P")
Item = TypeVar("Item")


def require_own_kinds(kinds: Iterable[str]) -> None:
    """Reject kinds of another service: those of a service begin with its name and a dot."""
    prefix = access.kind_prefix()
    if foreign := [kind for kind in kinds if not kind.startswith(prefix)]:
        message = f"The kinds of this service must begin with {prefix}, unlike {foreign[0][:100]!r}."
        raise errors.PermissionDenied(message, code="kind_not_owned", field="kinds")


def parse_submit(request: pb.SubmitJobRequest, registry: Mapping[str, Kind]) -> tuple[UUID, domain.Spec]:
    job_id = ids.parse_uuid7(request.job_id, "job_id")
    kind = registry.get(request.spec.kind)
    spec = convert.spec_from_proto(request.spec, kind.defaults if kind else None)
    if (position := tracing.position_in_trace_of(spec.traceparent)) != (spec.traceparent or ""):
        # This call is a later span of the trace that the caller has stored: the job follows from it.
        spec = dataclasses.replace(spec, traceparent=position)
    return job_id, spec


def submit_response(
    request: pb.SubmitJobRequest, job: domain.Job, created: bool, registry: Mapping[str, Kind]
) -> pb.SubmitJobResponse:
    has_worker = job.spec.kind in registry and registry[job.spec.kind].has_worker
    return pb.SubmitJobResponse(
        job=convert.job_to_proto(job, payload=request.spec.payload), created=created, has_worker=has_worker
    )


def parse_finish(request: pb.FinishJobRequest, kind_prefix: str) -> tuple[UUID, int, outcomes.Outcome]:
    return (*parse_attempt(request.attempt), convert.outcome_from_proto(request, kind_prefix))


def or_error(parse: Callable[P, Item], *args: P.args, **more: P.kwargs) -> Item | errors.Error:
    """Return the parsed item, or its error: an invalid item of a batch fails alone."""
    try:
        return parse(*args, **more)
    except errors.Error as error:
        return error


def check_kinds(names: Iterable[str], field: str = "kinds") -> set[str]:
    for name in names:
        domain.require_kind(name, field)
    return set(names)


def check_worker(name: str) -> str:
    if not 1 <= len(name) <= 100 or "\x00" in name:
        raise errors.InvalidArgument("worker must be 1 to 100 characters.", field="worker")
    return name


def parse_attempt(attempt: pb.JobAttempt) -> tuple[UUID, int]:
    return ids.parse(attempt.job_id, "job_id"), attempt.attempt
