"""gRPC in, the rpcs by which jobs are followed: events of many owners, watches and notifications."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc import aio

from chassis import errors, identity, ids
from repruv.jobs.v1 import job_events_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from services.jobs import convert, notifications, operations, visibility, watching

MAX_MARKED = 100
MAX_CURSORS = 500
MAX_EVENTS = 5_000

Context = aio.ServicerContext[Any, Any]


class ReadingServicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Serves a part of `repruv.jobs.v1.JobsService`; the protos say what each rpc means."""

    def __init__(
        self, jobs: operations.Operations, watches: watching.Watches, unread: notifications.Notifications
    ) -> None:
        self._jobs = jobs
        self._watches = watches
        self._unread = unread

    async def BatchListJobEvents(
        self, request: jobs_service_pb2.BatchListJobEventsRequest, context: Context
    ) -> jobs_service_pb2.BatchListJobEventsResponse:
        """See the proto."""
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

    async def WatchJob(
        self, request: jobs_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncGenerator[jobs_service_pb2.WatchJobResponse, None]:
        """See the proto."""
        if request.after_version < 0:
            raise errors.InvalidArgument("after_version must not be below 0.", field="after_version")
        snapshots = self._watches.watch_job(
            ids.parse(request.job_id, "job_id"),
            owner_id=visibility.visible_owner(),
            after_version=request.after_version,
        )
        async with aclosing(snapshots):
            async for job in snapshots:
                yield jobs_service_pb2.WatchJobResponse(job=convert.job_to_proto(job))

    async def WatchJobs(
        self, request: jobs_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncGenerator[jobs_service_pb2.WatchJobsResponse, None]:
        """See the proto."""
        owner_id = visibility.required_owner(request.owner_id)
        events = self._watches.watch_owner(owner_id, after=request.after_sequence)
        async with aclosing(events):
            async for event in events:
                yield jobs_service_pb2.WatchJobsResponse(event=job_events_pb2.JobEvent.FromString(event))

    async def ListNotifications(
        self, request: jobs_service_pb2.ListNotificationsRequest, context: Context
    ) -> jobs_service_pb2.ListNotificationsResponse:
        """See the proto."""
        owner_id = visibility.own_owner(request.owner_id)
        page = await self._unread.list_page(owner_id, page_size=request.page_size, page_token=request.page_token)
        return jobs_service_pb2.ListNotificationsResponse(
            jobs=map(convert.job_to_proto, page.jobs),
            next_page_token=page.next_page_token,
            unread_count=page.unread_count,
        )

    async def MarkNotificationsRead(
        self, request: jobs_service_pb2.MarkNotificationsReadRequest, context: Context
    ) -> jobs_service_pb2.MarkNotificationsReadResponse:
        """See the proto."""
        if len(request.job_ids) > MAX_MARKED:
            raise errors.InvalidArgument(f"job_ids must be at most {MAX_MARKED}.", field="job_ids")
        owner_id = visibility.own_owner(request.owner_id)
        marked = await self._unread.mark_read(owner_id, [ids.parse(job_id, "job_ids") for job_id in request.job_ids])
        return jobs_service_pb2.MarkNotificationsReadResponse(marked_count=marked)
