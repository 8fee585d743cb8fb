"""JobsService: converts each request, checks its caller, calls one operation, and converts the result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from chassis import cooperative, errors, identity, ids
from chassis.rpc import admission
from repruv.jobs.v1 import job_events_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from services.jobs import access, convert, domain, kinds, notifications, operations, watches
from services.jobs.claims import long_poll
from services.jobs.schedules import convert as schedule_convert

SERVICE = jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"].full_name

_WORKERS = admission.AllExcept("gateway")
"""ClaimJobs and RegisterKinds accept only kinds with the prefix of the caller."""
_READERS = admission.AllExcept()
CALLERS = {
    "SubmitJob": _WORKERS,
    "SubmitJobs": _WORKERS,
    "GetJob": _READERS,
    "ListJobs": _READERS,
    "GetJobHistory": _READERS,
    "CancelJob": _READERS,
    "RetryJob": _READERS,
    "ListJobEvents": _READERS,
    "BatchListJobEvents": _READERS,
    "BatchGetEventPositions": _READERS,
    "WatchJob": _READERS,
    "WatchJobs": _READERS,
    "ListNotifications": _READERS,
    "MarkNotificationsRead": _READERS,
    "ClaimJobs": _WORKERS,
    "HeartbeatJobs": _WORKERS,
    "ReportProgress": _WORKERS,
    "FinishJob": _WORKERS,
    "FinishJobs": _WORKERS,
    "SaveCheckpoint": _WORKERS,
    "GetCheckpoints": _WORKERS,
    "RegisterKinds": _WORKERS,
}
"""Services allowed to call each rpc; jobs is the admin command line, and the worker of the kinds `jobs.*`."""

Context = aio.ServicerContext[Any, Any]
Item = TypeVar("Item")

MAX_BATCH = 1_000
MAX_REGISTERED = 100
MAX_MARKED = 100
MAX_CURSORS = 500
MAX_EVENTS = 5_000


class JobsServicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Implements `repruv.jobs.v1.JobsService`; the protos document each rpc."""

    def __init__(
        self, jobs: operations.Operations, job_watches: watches.Watches, unread: notifications.Notifications
    ) -> None:
        self._jobs = jobs
        self._watches = job_watches
        self._notifications = unread

    async def SubmitJob(
        self, request: jobs_service_pb2.SubmitJobRequest, context: Context
    ) -> jobs_service_pb2.SubmitJobResponse:
        kinds = await self._jobs.kinds.get([request.spec.kind])
        job, created = await self._jobs.submit(*_submit(request, kinds))
        return _submitted(request, job, created, kinds)

    async def SubmitJobs(
        self, request: jobs_service_pb2.SubmitJobsRequest, context: Context
    ) -> jobs_service_pb2.SubmitJobsResponse:
        if not 1 <= len(request.jobs) <= MAX_BATCH:
            raise errors.InvalidArgument(f"jobs must be 1 to {MAX_BATCH}.", field="jobs")
        kinds = await self._jobs.kinds.get({item.spec.kind for item in request.jobs})
        parsed = await cooperative.convert(lambda item: _parsed(partial(_submit, item, kinds)), request.jobs)
        valid = [item for item in parsed if not isinstance(item, errors.Error)]
        stored = iter(await self._jobs.submit_many(valid) if valid else ())
        response = jobs_service_pb2.SubmitJobsResponse()
        for item, submit in zip(parsed, request.jobs, strict=True):
            result = item if isinstance(item, errors.Error) else next(stored)
            if isinstance(result, errors.Error):
                response.results.add(error=convert.error_to_proto(result))
            else:
                response.results.add(submitted=_submitted(submit, *result, kinds))
        return response

    async def GetJob(
        self, request: jobs_service_pb2.GetJobRequest, context: Context
    ) -> jobs_service_pb2.GetJobResponse:
        job = await self._jobs.get(ids.parse(request.job_id, "job_id"), owner_id=access.visible_owner())
        return jobs_service_pb2.GetJobResponse(job=convert.job_to_proto(job))

    async def ListJobs(
        self, request: jobs_service_pb2.ListJobsRequest, context: Context
    ) -> jobs_service_pb2.ListJobsResponse:
        page = await self._jobs.list_page(
            owner_id=access.owner(request.owner_id),
            states={convert.state_from_proto(state) for state in request.states},
            kinds=_kinds(request.kinds),
            parent_id=ids.parse(request.parent_id, "parent_id") if request.parent_id else None,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return jobs_service_pb2.ListJobsResponse(
            jobs=await cooperative.convert(convert.job_to_proto, page.jobs), next_page_token=page.next_page_token
        )

    async def GetJobHistory(
        self, request: jobs_service_pb2.GetJobHistoryRequest, context: Context
    ) -> jobs_service_pb2.GetJobHistoryResponse:
        job_id = ids.parse(request.job_id, "job_id")
        attempts, transitions = await self._jobs.history(job_id, owner_id=access.visible_owner())
        return jobs_service_pb2.GetJobHistoryResponse(
            attempts=map(convert.attempt_to_proto, attempts), transitions=map(convert.transition_to_proto, transitions)
        )

    async def CancelJob(
        self, request: jobs_service_pb2.CancelJobRequest, context: Context
    ) -> jobs_service_pb2.CancelJobResponse:
        if len(request.reason) > 100 or "\x00" in request.reason:
            raise errors.InvalidArgument("reason must be at most 100 characters, without NUL.", field="reason")
        job_id = ids.parse(request.job_id, "job_id")
        job = await self._jobs.cancel(job_id, owner_id=access.visible_owner(), reason=request.reason or "requested")
        return jobs_service_pb2.CancelJobResponse(job=convert.job_to_proto(job))

    async def RetryJob(
        self, request: jobs_service_pb2.RetryJobRequest, context: Context
    ) -> jobs_service_pb2.RetryJobResponse:
        job = await self._jobs.retry(ids.parse(request.job_id, "job_id"), owner_id=access.visible_owner())
        return jobs_service_pb2.RetryJobResponse(job=convert.job_to_proto(job))

    async def ListJobEvents(
        self, request: jobs_service_pb2.ListJobEventsRequest, context: Context
    ) -> jobs_service_pb2.ListJobEventsResponse:
        owner_id = access.required_owner(request.owner_id)
        if not 0 <= request.page_size <= operations.EVENTS_PAGE:
            message = f"page_size must be between 1 and {operations.EVENTS_PAGE}."
            raise errors.InvalidArgument(message, field="page_size")
        limit = request.page_size or operations.EVENTS_PAGE
        events, latest = await self._jobs.list_events(owner_id, after=request.after_sequence, limit=limit)
        return jobs_service_pb2.ListJobEventsResponse(
            events=map(job_events_pb2.JobEvent.FromString, events), latest_sequence=latest
        )

    async def BatchListJobEvents(
        self, request: jobs_service_pb2.BatchListJobEventsRequest, context: Context
    ) -> jobs_service_pb2.BatchListJobEventsResponse:
        if identity.caller().user:
            raise errors.PermissionDenied("Only services read the events of many owners.")
        if not 1 <= len(request.cursors) <= MAX_CURSORS:
            raise errors.InvalidArgument(f"cursors must be 1 to {MAX_CURSORS}.", field="cursors")
        cursors = [(ids.parse(cursor.owner_id, "cursors"), cursor.after_sequence) for cursor in request.cursors]
        limit = min(MAX_EVENTS // len(cursors), operations.EVENTS_PAGE)
        response = jobs_service_pb2.BatchListJobEventsResponse()
        for page in await self._jobs.pages(cursors, limit=limit):
            if isinstance(page, errors.Error):
                response.results.add(error=convert.error_to_proto(page))
            else:
                events = map(job_events_pb2.JobEvent.FromString, page.events)
                response.results.add(
                    page=jobs_service_pb2.ListJobEventsResponse(events=events, latest_sequence=page.latest)
                )
        return response

    async def BatchGetEventPositions(
        self, request: jobs_service_pb2.BatchGetEventPositionsRequest, context: Context
    ) -> jobs_service_pb2.BatchGetEventPositionsResponse:
        if identity.caller().user:
            raise errors.PermissionDenied("Only services read positions.")
        if len(request.owner_ids) > 10_000:
            raise errors.InvalidArgument("owner_ids must be at most 10,000.", field="owner_ids")
        positions = await self._jobs.positions([ids.parse(owner_id, "owner_ids") for owner_id in request.owner_ids])
        return jobs_service_pb2.BatchGetEventPositionsResponse(
            latest_sequences={str(owner_id): sequence for owner_id, sequence in positions.items()}
        )

    async def WatchJob(
        self, request: jobs_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncGenerator[jobs_service_pb2.WatchJobResponse, None]:
        if request.after_version < 0:
            raise errors.InvalidArgument("after_version must not be below 0.", field="after_version")
        snapshots = self._watches.watch_job(
            ids.parse(request.job_id, "job_id"),
            owner_id=access.visible_owner(),
            after_version=request.after_version,
        )
        async with aclosing(snapshots):
            async for job in snapshots:
                yield jobs_service_pb2.WatchJobResponse(job=convert.job_to_proto(job))

    async def WatchJobs(
        self, request: jobs_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncGenerator[jobs_service_pb2.WatchJobsResponse, None]:
        owner_id = access.required_owner(request.owner_id)
        events = self._watches.watch_owner(owner_id, after=request.after_sequence)
        async with aclosing(events):
            async for event in events:
                yield jobs_service_pb2.WatchJobsResponse(event=job_events_pb2.JobEvent.FromString(event))

    async def ListNotifications(
        self, request: jobs_service_pb2.ListNotificationsRequest, context: Context
    ) -> jobs_service_pb2.ListNotificationsResponse:
        owner_id = access.own_owner(request.owner_id)
        page = await self._notifications.list_page(owner_id, page_size=request.page_size, page_token=request.page_token)
        return jobs_service_pb2.ListNotificationsResponse(
            jobs=await cooperative.convert(convert.job_to_proto, page.jobs),
            next_page_token=page.next_page_token,
            unread_count=page.unread_count,
        )

    async def MarkNotificationsRead(
        self, request: jobs_service_pb2.MarkNotificationsReadRequest, context: Context
    ) -> jobs_service_pb2.MarkNotificationsReadResponse:
        if len(request.job_ids) > MAX_MARKED:
            raise errors.InvalidArgument(f"job_ids must be at most {MAX_MARKED}.", field="job_ids")
        owner_id = access.own_owner(request.owner_id)
        marked = await self._notifications.mark_read(
            owner_id, [ids.parse(job_id, "job_ids") for job_id in request.job_ids]
        )
        return jobs_service_pb2.MarkNotificationsReadResponse(marked_count=marked)

    async def ClaimJobs(
        self, request: jobs_service_pb2.ClaimJobsRequest, context: Context
    ) -> jobs_service_pb2.ClaimJobsResponse:
        if not request.kinds:
            raise errors.InvalidArgument("kinds must name at least one kind.", field="kinds")
        if not 1 <= request.max_jobs <= 100:
            raise errors.InvalidArgument("max_jobs must be between 1 and 100.", field="max_jobs")
        _require_own_kinds(request.kinds)
        kinds = _kinds(request.kinds)
        wait = request.wait.ToTimedelta()
        if not timedelta() <= wait <= long_poll.MAX_WAIT:
            message = f"wait must be between 0 and {long_poll.MAX_WAIT.total_seconds():.0f} s."
            raise errors.InvalidArgument(message, field="wait")
        jobs = await self._jobs.long_poll.claim(
            worker=_worker(request.worker), kinds=kinds, limit=request.max_jobs, wait=wait
        )
        lease = Duration()
        lease.FromTimedelta(self._jobs.lease)
        return jobs_service_pb2.ClaimJobsResponse(jobs=map(convert.claimed_to_proto, jobs), lease=lease)

    async def HeartbeatJobs(
        self, request: jobs_service_pb2.HeartbeatJobsRequest, context: Context
    ) -> jobs_service_pb2.HeartbeatJobsResponse:
        if len(request.attempts) > 1_000:
            raise errors.InvalidArgument("attempts must be at most 1,000.", field="attempts")
        held = [_attempt(attempt) for attempt in request.attempts]
        renewed = await self._jobs.heartbeat(worker=_worker(request.worker), held=held)
        states = {(job_id, attempt): state for job_id, attempt, state in renewed}
        response = jobs_service_pb2.HeartbeatJobsResponse()
        for attempt, key in zip(request.attempts, held, strict=True):
            (response.renewed if key in states else response.lost).append(attempt)
            if states.get(key) is domain.State.CANCELLING:
                response.cancelling.append(attempt)
        return response

    async def ReportProgress(
        self, request: jobs_service_pb2.ReportProgressRequest, context: Context
    ) -> jobs_service_pb2.ReportProgressResponse:
        job_id, attempt = _attempt(request.attempt)
        await self._jobs.report_progress(job_id, attempt, convert.progress_from_proto(request.progress))
        return jobs_service_pb2.ReportProgressResponse()

    async def FinishJob(
        self, request: jobs_service_pb2.FinishJobRequest, context: Context
    ) -> jobs_service_pb2.FinishJobResponse:
        job_id, attempt = _attempt(request.attempt)
        job = await self._jobs.finish(job_id, attempt, convert.outcome_from_proto(request))
        return jobs_service_pb2.FinishJobResponse(job=convert.job_to_proto(job))

    async def FinishJobs(
        self, request: jobs_service_pb2.FinishJobsRequest, context: Context
    ) -> jobs_service_pb2.FinishJobsResponse:
        if not 1 <= len(request.finishes) <= MAX_BATCH:
            raise errors.InvalidArgument(f"finishes must be 1 to {MAX_BATCH}.", field="finishes")
        parsed = await cooperative.convert(lambda item: _parsed(partial(_finish, item)), request.finishes)
        valid = [item for item in parsed if not isinstance(item, errors.Error)]
        if len({job_id for job_id, _, _ in valid}) < len(valid):
            raise errors.InvalidArgument("finishes must each be of another job.", field="finishes")
        ended = iter(await self._jobs.finish_many(valid) if valid else ())
        response = jobs_service_pb2.FinishJobsResponse()
        for item in parsed:
            result = item if isinstance(item, errors.Error) else next(ended)
            response.results.add(error=convert.error_to_proto(result) if isinstance(result, errors.Error) else None)
        return response

    async def SaveCheckpoint(
        self, request: jobs_service_pb2.SaveCheckpointRequest, context: Context
    ) -> jobs_service_pb2.SaveCheckpointResponse:
        job_id, attempt = _attempt(request.attempt)
        value = convert.value_from_proto(request.value, "value")
        await self._jobs.save_checkpoint(job_id, attempt, request.name, value)
        return jobs_service_pb2.SaveCheckpointResponse()

    async def GetCheckpoints(
        self, request: jobs_service_pb2.GetCheckpointsRequest, context: Context
    ) -> jobs_service_pb2.GetCheckpointsResponse:
        values = await self._jobs.get_checkpoints(*_attempt(request.attempt))
        messages = await cooperative.convert(convert.value_to_proto, values.values())
        return jobs_service_pb2.GetCheckpointsResponse(values=dict(zip(values, messages, strict=True)))

    async def RegisterKinds(
        self, request: jobs_service_pb2.RegisterKindsRequest, context: Context
    ) -> jobs_service_pb2.RegisterKindsResponse:
        if not 1 <= len(request.kinds) <= MAX_REGISTERED or len(request.schedules) > MAX_REGISTERED:
            message = f"kinds must be 1 to {MAX_REGISTERED}, schedules at most {MAX_REGISTERED}."
            raise errors.InvalidArgument(message, field="kinds")
        _require_own_kinds([*(kind.kind for kind in request.kinds), *(schedule.kind for schedule in request.schedules)])
        schedules = await cooperative.convert(schedule_convert.schedule_from_proto, request.schedules)
        registrations = {kind.kind: convert.registration_from_proto(kind) for kind in request.kinds}
        await self._jobs.register(_worker(request.worker), list(registrations.values()), schedules)
        return jobs_service_pb2.RegisterKindsResponse()


def _require_own_kinds(kinds: Iterable[str]) -> None:
    """Reject kinds of another service: those of a service begin with its name and a dot."""
    prefix = f"{identity.caller().service}."
    if foreign := [kind for kind in kinds if not kind.startswith(prefix)]:
        message = f"The kinds of this service must begin with {prefix}, unlike {foreign[0][:100]!r}."
        raise errors.PermissionDenied(message, code="kind_not_owned", field="kinds")


def _submit(request: jobs_service_pb2.SubmitJobRequest, registry: Mapping[str, kinds.Kind]) -> tuple[UUID, domain.Spec]:
    job_id = ids.parse_uuid7(request.job_id, "job_id")
    kind = registry.get(request.spec.kind)
    spec = convert.spec_from_proto(request.spec, kind.defaults if kind else None)
    return job_id, spec


def _submitted(
    request: jobs_service_pb2.SubmitJobRequest, job: domain.Job, created: bool, registry: Mapping[str, kinds.Kind]
) -> jobs_service_pb2.SubmitJobResponse:
    has_worker = job.spec.kind in registry and registry[job.spec.kind].has_worker
    return jobs_service_pb2.SubmitJobResponse(
        job=convert.job_to_proto(job, payload=request.spec.payload), created=created, has_worker=has_worker
    )


def _finish(request: jobs_service_pb2.FinishJobRequest) -> tuple[UUID, int, domain.Outcome]:
    return (*_attempt(request.attempt), convert.outcome_from_proto(request))


def _parsed(parse: Callable[[], Item]) -> Item | errors.Error:
    """Return the parsed item, or its error: an invalid item of a batch fails alone."""
    try:
        return parse()
    except errors.Error as error:
        return error


def _kinds(names: Iterable[str]) -> set[str]:
    for name in names:
        domain.require_kind(name, "kinds")
    return set(names)


def _worker(name: str) -> str:
    if not 1 <= len(name) <= 100 or "\x00" in name:
        raise errors.InvalidArgument("worker must be 1 to 100 characters.", field="worker")
    return name


def _attempt(attempt: jobs_service_pb2.JobAttempt) -> tuple[UUID, int]:
    return ids.parse(attempt.job_id, "job_id"), attempt.attempt
