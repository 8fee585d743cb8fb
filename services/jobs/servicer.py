"""JobsService: converts each request, checks its caller, calls one operation, and converts the result."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from chassis import cooperative, errors, identity, ids, protobuf
from chassis.owner_rows import OwnerRows
from chassis.rpc import admission
from chassis.rpc.admission import Context
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2_grpc
from repruv.jobs.v1 import jobs_service_pb2 as pb
from services.jobs import (
    access,
    convert,
    domain,
    erasure,
    notifications,
    operations,
    requests,
    watches,
)
from services.jobs.claims import long_poll
from services.jobs.schedules import convert as schedule_convert

_SERVICE = pb.DESCRIPTOR.services_by_name["JobsService"]
SERVICE = _SERVICE.full_name

_WORKERS = admission.AllExcept("gateway")
"""ClaimJobs and RegisterKinds accept only kinds with the prefix of the caller."""
_READERS = admission.AllExcept()
_READ = (
    *("GetJob", "ListJobs", "GetJobHistory", "CancelJob", "RetryJob", "ListJobEvents", "BatchListJobEvents"),
    *("BatchGetEventPositions", "WatchJob", "WatchJobs", "ListNotifications", "MarkNotificationsRead"),
)
"""Rpcs for everyone who shows jobs to their owners; the others are for services that run jobs."""
CALLERS: dict[str, admission.AllExcept | frozenset[str]] = {
    **dict.fromkeys(_SERVICE.methods_by_name, _WORKERS),
    **dict.fromkeys(_READ, _READERS),
    **dict.fromkeys(("EraseOwner", "StreamOwnerRows"), frozenset({"auth"})),
}
"""Services allowed to call each rpc; jobs is the admin command line, and the worker of the kinds `jobs.*`."""
SCOPES = {
    **dict.fromkeys(("GetJob", "ListJobs", "GetJobHistory", "ListNotifications"), "read"),
    **dict.fromkeys(("CancelJob", "RetryJob", "MarkNotificationsRead"), "write"),
}
"""The scope with which an API token may make each rpc."""

MAX_BATCH = 1_000
MAX_REGISTERED = 100
MAX_MARKED = 100
MAX_CURSORS = 500
MAX_EVENTS = 5_000
MAX_TEXTS = 10
_SYSTEM = UUID(int=0)


@dataclasses.dataclass(frozen=True, eq=False)
class JobsServicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Implements `repruv.jobs.v1.JobsService`; the protos document each rpc."""

    jobs: operations.Operations
    watches: watches.Watches
    notifications: notifications.Notifications
    owner_rows: OwnerRows

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:
        kinds = await self.jobs.kinds.get([request.spec.kind])
        job, created = await self.jobs.submit(*requests.parse_submit(request, kinds))
        return requests.submit_response(request, job, created, kinds)

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, context: Context) -> pb.SubmitJobsResponse:
        if not 1 <= len(request.jobs) <= MAX_BATCH:
            raise errors.InvalidArgument(f"jobs must be 1 to {MAX_BATCH}.", field="jobs")
        kinds = await self.jobs.kinds.get({item.spec.kind for item in request.jobs})
        specs = await cooperative.convert(
            lambda item: requests.or_error(requests.parse_submit, item, kinds), request.jobs
        )
        valid = [item for item in specs if not isinstance(item, errors.Error)]
        stored = iter(await self.jobs.submit_many(valid) if valid else ())
        response = pb.SubmitJobsResponse()
        for item, submit in zip(specs, request.jobs, strict=True):
            result = item if isinstance(item, errors.Error) else next(stored)
            if isinstance(result, errors.Error):
                response.results.add(error=convert.error_to_proto(result))
            else:
                response.results.add(submitted=requests.submit_response(submit, *result, kinds))
        return response

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        job = await self.jobs.get(ids.parse(request.job_id, "job_id"), owner_id=access.visible_owner())
        return pb.GetJobResponse(job=await self._to_proto(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        page = await self.jobs.lists.page(
            owner_id=access.owner(request.owner_id),
            states=set(map(convert.STATES.from_proto, request.states)),
            kinds=requests.check_kinds(request.kinds),
            parent_id=ids.parse(request.parent_id, "parent_id") if request.parent_id else None,
            page_size=request.page_size,
            page_token=request.page_token,
            oldest_first=request.oldest_first,
            max_count=request.max_count,
            include_kinds=request.include_kinds,
        )
        jobs = await self._masked(page.jobs)
        return pb.ListJobsResponse(
            jobs=await cooperative.convert(convert.job_to_proto, jobs),
            next_page_token=page.next_page_token,
            previous_page_token=page.previous_page_token,
            count=page.count,
            kinds=page.kinds,
        )

    async def GetJobHistory(self, request: pb.GetJobHistoryRequest, context: Context) -> pb.GetJobHistoryResponse:
        job_id = ids.parse(request.job_id, "job_id")
        history = await self.jobs.history(job_id, owner_id=access.visible_owner())
        is_operator = access.is_operator()
        return pb.GetJobHistoryResponse(
            attempts=[convert.attempt_to_proto(row, is_operator=is_operator) for row in history.attempts],
            transitions=map(convert.transition_to_proto, history.transitions),
            checkpoints=[convert.checkpoint_to_proto(row, is_operator=is_operator) for row in history.checkpoints],
            is_paused=history.is_paused,
            jobs_ahead=history.jobs_ahead,
            lacks_worker=history.lacks_worker,
            awaits_slot=history.awaits_slot,
            on_hold=history.is_on_hold,
            changes=map(convert.change_to_proto, history.changes),
        )

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        if len(request.reason) > 100 or "\x00" in request.reason:
            raise errors.InvalidArgument("reason must be at most 100 characters, without NUL.", field="reason")
        job_id = ids.parse(request.job_id, "job_id")
        job = await self.jobs.cancel(job_id, owner_id=access.visible_owner(), reason=request.reason or "requested")
        return pb.CancelJobResponse(job=await self._to_proto(job))

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        job = await self.jobs.retry(ids.parse(request.job_id, "job_id"), owner_id=access.visible_owner())
        return pb.RetryJobResponse(job=await self._to_proto(job))

    async def ListJobEvents(self, request: pb.ListJobEventsRequest, context: Context) -> pb.ListJobEventsResponse:
        owner_id = access.log_owner(request.owner_id)
        if not 0 <= request.page_size <= operations.EVENTS_PAGE:
            message = f"page_size must be between 1 and {operations.EVENTS_PAGE}."
            raise errors.InvalidArgument(message, field="page_size")
        limit = request.page_size or operations.EVENTS_PAGE
        events, latest = await self.jobs.list_events(owner_id, after=request.after_sequence, limit=limit)
        return pb.ListJobEventsResponse(events=map(job_events_pb2.JobEvent.FromString, events), latest_sequence=latest)

    async def BatchListJobEvents(
        self, request: pb.BatchListJobEventsRequest, context: Context
    ) -> pb.BatchListJobEventsResponse:
        if identity.caller().user:
            raise errors.PermissionDenied("Only services read the events of many owners.")
        if not 1 <= len(request.cursors) <= MAX_CURSORS:
            raise errors.InvalidArgument(f"cursors must be 1 to {MAX_CURSORS}.", field="cursors")
        cursors = [
            (access.require_log(ids.parse(cursor.owner_id, "cursors"), "cursors"), cursor.after_sequence)
            for cursor in request.cursors
        ]
        limit = min(MAX_EVENTS // len(cursors), operations.EVENTS_PAGE)
        response = pb.BatchListJobEventsResponse()
        for page in await self.jobs.pages(cursors, limit=limit):
            if isinstance(page, errors.Error):
                response.results.add(error=convert.error_to_proto(page))
            else:
                events = map(job_events_pb2.JobEvent.FromString, page.events)
                response.results.add(page=pb.ListJobEventsResponse(events=events, latest_sequence=page.latest))
        return response

    async def BatchGetEventPositions(
        self, request: pb.BatchGetEventPositionsRequest, context: Context
    ) -> pb.BatchGetEventPositionsResponse:
        if identity.caller().user:
            raise errors.PermissionDenied("Only services read last sequences.")
        if len(request.owner_ids) > 10_000:
            raise errors.InvalidArgument("owner_ids must be at most 10,000.", field="owner_ids")
        owner_ids = [
            access.require_log(ids.parse(owner_id, "owner_ids"), "owner_ids") for owner_id in request.owner_ids
        ]
        last_sequences = await self.jobs.last_sequences(owner_ids)
        return pb.BatchGetEventPositionsResponse(
            latest_sequences={str(owner_id): sequence for owner_id, sequence in last_sequences.items()}
        )

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        if request.after_version < 0:
            raise errors.InvalidArgument("after_version must not be below 0.", field="after_version")
        snapshots = self.watches.watch_job(
            ids.parse(request.job_id, "job_id"),
            owner_id=access.visible_owner(),
            after_version=request.after_version,
        )
        async with aclosing(snapshots):
            async for job in snapshots:
                yield pb.WatchJobResponse(job=await self._to_proto(job))

    async def WatchJobs(
        self, request: pb.WatchJobsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJobsResponse, None]:
        owner_id = access.log_owner(request.owner_id)
        events = self.watches.watch_owner(owner_id, after=request.after_sequence)
        async with aclosing(events):
            async for event in events:
                yield pb.WatchJobsResponse(event=job_events_pb2.JobEvent.FromString(event))

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        owner_id = access.own_owner(request.owner_id)
        page = await self.notifications.list_page(
            owner_id,
            kinds=requests.check_kinds(request.kinds),
            excluded_kinds=requests.check_kinds(request.excluded_kinds, "excluded_kinds"),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListNotificationsResponse(
            jobs=await cooperative.convert(convert.job_to_proto, page.jobs),
            next_page_token=page.next_page_token,
            unread_count=page.unread_count,
        )

    async def MarkNotificationsRead(
        self, request: pb.MarkNotificationsReadRequest, context: Context
    ) -> pb.MarkNotificationsReadResponse:
        if len(request.job_ids) > MAX_MARKED:
            raise errors.InvalidArgument(f"job_ids must be at most {MAX_MARKED}.", field="job_ids")
        owner_id = access.own_owner(request.owner_id)
        marked = await self.notifications.mark_read(
            owner_id, [ids.parse(job_id, "job_ids") for job_id in request.job_ids]
        )
        return pb.MarkNotificationsReadResponse(marked_count=marked)

    async def ClaimJobs(self, request: pb.ClaimJobsRequest, context: Context) -> pb.ClaimJobsResponse:
        if not request.kinds:
            raise errors.InvalidArgument("kinds must name at least one kind.", field="kinds")
        if not 1 <= request.max_jobs <= 100:
            raise errors.InvalidArgument("max_jobs must be between 1 and 100.", field="max_jobs")
        requests.require_own_kinds(request.kinds)
        kinds = requests.check_kinds(request.kinds)
        wait = protobuf.from_duration(request.wait, "wait")
        if not timedelta() <= wait <= long_poll.MAX_WAIT:
            message = f"wait must be between 0 and {long_poll.MAX_WAIT.total_seconds():.0f} s."
            raise errors.InvalidArgument(message, field="wait")
        jobs = await self.jobs.long_poll.claim(
            worker=requests.check_worker(request.worker), kinds=kinds, limit=request.max_jobs, wait=wait
        )
        lease = Duration()
        lease.FromTimedelta(self.jobs.lease)
        return pb.ClaimJobsResponse(jobs=map(convert.claimed_to_proto, jobs), lease=lease)

    async def HeartbeatJobs(self, request: pb.HeartbeatJobsRequest, context: Context) -> pb.HeartbeatJobsResponse:
        if len(request.attempts) > 1_000:
            raise errors.InvalidArgument("attempts must be at most 1,000.", field="attempts")
        held = [requests.parse_attempt(attempt) for attempt in request.attempts]
        renewed = await self.jobs.heartbeat(
            worker=requests.check_worker(request.worker), held=held, kind_prefix=access.kind_prefix()
        )
        states = {(job_id, attempt): state for job_id, attempt, state in renewed}
        response = pb.HeartbeatJobsResponse()
        for attempt, key in zip(request.attempts, held, strict=True):
            (response.renewed if key in states else response.lost).append(attempt)
            if states.get(key) is domain.State.CANCELLING:
                response.cancelling.append(attempt)
        return response

    async def ReportProgress(self, request: pb.ReportProgressRequest, context: Context) -> pb.ReportProgressResponse:
        job_id, attempt = requests.parse_attempt(request.attempt)
        # Lines may come alone. Without them the call reports progress, and so its lease is always checked.
        has_progress = request.HasField("progress") or not request.lines
        progress = convert.progress_from_proto(request.progress) if has_progress else None
        lines = convert.lines_from_proto(request.lines)
        await self.jobs.reports.report_progress(job_id, attempt, progress, lines, kind_prefix=access.kind_prefix())
        return pb.ReportProgressResponse()

    async def FinishJob(self, request: pb.FinishJobRequest, context: Context) -> pb.FinishJobResponse:
        job_id, attempt = requests.parse_attempt(request.attempt)
        outcome = convert.outcome_from_proto(request, access.kind_prefix())
        job = await self.jobs.finish(job_id, attempt, outcome)
        return pb.FinishJobResponse(job=convert.job_to_proto(job))

    async def FinishJobs(self, request: pb.FinishJobsRequest, context: Context) -> pb.FinishJobsResponse:
        if not 1 <= len(request.finishes) <= MAX_BATCH:
            raise errors.InvalidArgument(f"finishes must be 1 to {MAX_BATCH}.", field="finishes")
        kind_prefix = access.kind_prefix()
        finishes = await cooperative.convert(
            lambda item: requests.or_error(requests.parse_finish, item, kind_prefix), request.finishes
        )
        valid = [item for item in finishes if not isinstance(item, errors.Error)]
        results = iter(await self.jobs.finish_many(valid) if valid else ())
        response = pb.FinishJobsResponse()
        for item in finishes:
            result = item if isinstance(item, errors.Error) else next(results)
            response.results.add(error=convert.error_to_proto(result) if isinstance(result, errors.Error) else None)
        return response

    async def SaveCheckpoint(self, request: pb.SaveCheckpointRequest, context: Context) -> pb.SaveCheckpointResponse:
        job_id, attempt = requests.parse_attempt(request.attempt)
        value = convert.value_from_proto(request.value, "value")
        duration = protobuf.from_duration(request.duration, "duration") if request.HasField("duration") else None
        await self.jobs.reports.save_checkpoint(
            job_id,
            attempt,
            request.name,
            value,
            duration,
            number=request.number,
            kind_prefix=access.kind_prefix(),
        )
        return pb.SaveCheckpointResponse()

    async def GetCheckpoints(self, request: pb.GetCheckpointsRequest, context: Context) -> pb.GetCheckpointsResponse:
        values = await self.jobs.reports.get_checkpoints(
            *requests.parse_attempt(request.attempt), kind_prefix=access.kind_prefix()
        )
        messages = await cooperative.convert(convert.value_to_proto, values.values())
        return pb.GetCheckpointsResponse(values=dict(zip(values, messages, strict=True)))

    async def RegisterKinds(self, request: pb.RegisterKindsRequest, context: Context) -> pb.RegisterKindsResponse:
        if not 1 <= len(request.kinds) <= MAX_REGISTERED or len(request.schedules) > MAX_REGISTERED:
            message = f"kinds must be 1 to {MAX_REGISTERED}, schedules at most {MAX_REGISTERED}."
            raise errors.InvalidArgument(message, field="kinds")
        requests.require_own_kinds(
            [*(kind.kind for kind in request.kinds), *(schedule.kind for schedule in request.schedules)]
        )
        schedules = await cooperative.convert(schedule_convert.schedule_from_proto, request.schedules)
        registrations = {kind.kind: convert.registration_from_proto(kind) for kind in request.kinds}
        info = convert.info_from_proto(request.info)
        await self.jobs.register(requests.check_worker(request.worker), list(registrations.values()), schedules, info)
        return pb.RegisterKindsResponse()

    async def _to_proto(self, job: domain.Job) -> job_pb2.Job:
        return convert.job_to_proto((await self._masked([job]))[0])

    async def _masked(self, jobs: Sequence[domain.Job]) -> Sequence[domain.Job]:
        """Return jobs as the caller may read them: operators do not read sensitive fields of payloads."""
        if not access.masks_payloads():
            return jobs
        return await convert.masked_jobs(jobs, self.jobs.kinds)

    async def EraseOwner(self, request: pb.EraseOwnerRequest, context: Context) -> pb.EraseOwnerResponse:
        owner_id = ids.parse(request.owner_id, "owner_id")
        if owner_id == _SYSTEM:
            raise errors.InvalidArgument("The system cannot be erased.", field="owner_id")
        if len(request.texts) > MAX_TEXTS or not all(3 <= len(text) <= 300 for text in request.texts):
            raise errors.InvalidArgument(f"texts must be at most {MAX_TEXTS}, of 3 to 300 characters.", field="texts")
        after = ids.parse(request.after_job_id, "after_job_id") if request.after_job_id else None
        erased = await erasure.erase_owner(self.jobs, owner_id, list(request.texts), after=after)
        next_job_id = str(erased.next_job_id) if erased.next_job_id else ""
        return pb.EraseOwnerResponse(
            deleted_count=erased.deleted, is_complete=erased.is_complete, next_job_id=next_job_id
        )

    async def StreamOwnerRows(
        self, request: pb.StreamOwnerRowsRequest, context: Context
    ) -> AsyncGenerator[pb.StreamOwnerRowsResponse, None]:
        async with aclosing(self.owner_rows.stream(ids.parse(request.owner_id, "owner_id"))) as parts:
            async for part in parts:
                yield pb.StreamOwnerRowsResponse(table=part.table, rows=part.rows, reason=part.reason)
