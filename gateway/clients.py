"""What the gateway asks of the services: one client a service, every call with a deadline and for a named user.

`user` is the signed identity that auth minted for the user; empty where the gateway asks for itself. `quick` gives up at once
when nobody is there, and soon when somebody is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import errors
from chassis.rpc import client
from repruv.auth.v1 import auth_pb2, auth_service_pb2, auth_service_pb2_grpc
from repruv.demo.v1 import demo_service_pb2, demo_service_pb2_grpc
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc

TIMEOUT = 3.0
QUICK_TIMEOUT = 1.0
HEALTH_TIMEOUT = 1.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class _Client:
    def __init__(self, name: str, target: str, caller: client.Caller, idempotent: Sequence[str]) -> None:
        self.name = name
        service = f"repruv.{name}.v1.{name.capitalize()}Service"
        self._channel = client.channel(target, service=service, idempotent=idempotent, own=caller.own)
        self._caller = caller

    async def close(self) -> None:
        """Close the channel; calls under way get a second."""
        await self._channel.close(grace=1.0)

    async def is_ready(self) -> bool:
        """Whether the service says that it serves."""
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        user: str,
        *,
        quick: bool = False,
    ) -> Response:
        timeout = QUICK_TIMEOUT if quick else TIMEOUT
        try:
            return await self._caller(method, request, timeout=timeout, user_token=user, wait_for_ready=not quick)
        except errors.DeadlineExceeded as error:
            if self._channel.get_state() is grpc.ChannelConnectivity.READY:
                raise
            # The time went by waiting for somebody to send it to: nothing has happened.
            raise errors.Unavailable(f"The {self.name} service does not answer; try again.") from error


class Auth(_Client):
    """The auth service."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        idempotent = ("ValidateSession", "ListSessions", "RevokeSession", "RevokeAllSessions")
        super().__init__("auth", target, caller, idempotent)
        self._stub = auth_service_pb2_grpc.AuthServiceStub(self._channel)

    async def register(
        self, *, email: str, password: str, name: str, client: auth_pb2.Client
    ) -> auth_service_pb2.RegisterResponse:
        """Make an account and its first session."""
        request = auth_service_pb2.RegisterRequest(email=email, password=password, name=name, client=client)
        return await self._call(self._stub.Register, request, "")

    async def login(self, *, email: str, password: str, client: auth_pb2.Client) -> auth_service_pb2.LoginResponse:
        """Begin a session."""
        request = auth_service_pb2.LoginRequest(email=email, password=password, client=client)
        return await self._call(self._stub.Login, request, "")

    async def validate_session(self, token: str) -> auth_service_pb2.ValidateSessionResponse:
        """Answer whose session a token is."""
        request = auth_service_pb2.ValidateSessionRequest(token=token)
        return await self._call(self._stub.ValidateSession, request, "")

    async def list_sessions(self, *, user: str) -> Sequence[auth_pb2.Session]:
        """Give the user's living sessions."""
        answer = await self._call(self._stub.ListSessions, auth_service_pb2.ListSessionsRequest(), user)
        return answer.sessions

    async def revoke_session(self, session_id: str, *, reason: str = "", user: str) -> None:
        """End one session of the user."""
        request = auth_service_pb2.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self._call(self._stub.RevokeSession, request, user)

    async def revoke_all_sessions(self, *, except_session_id: str = "", user: str) -> int:
        """End the user's sessions; gives how many ended."""
        request = auth_service_pb2.RevokeAllSessionsRequest(except_session_id=except_session_id)
        return (await self._call(self._stub.RevokeAllSessions, request, user)).revoked_count


class Demo(_Client):
    """The demo service."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        # Enable and disable can be repeated since the gateway never sends them without an idempotency key.
        reads = ("GetDemo", "GetDashboard", "ListContent", "ListInteractions")
        super().__init__("demo", target, caller, (*reads, "EnableDemo", "DisableDemo", "DismissDemo"))
        self._stub = demo_service_pb2_grpc.DemoServiceStub(self._channel)

    async def enable_demo(
        self, request: demo_service_pb2.EnableDemoRequest, *, user: str
    ) -> demo_service_pb2.EnableDemoResponse:
        """Ask for demo data."""
        return await self._call(self._stub.EnableDemo, request, user)

    async def disable_demo(self, *, idempotency_key: str, user: str) -> demo_service_pb2.DisableDemoResponse:
        """Ask to remove the demo data."""
        request = demo_service_pb2.DisableDemoRequest(idempotency_key=idempotency_key)
        return await self._call(self._stub.DisableDemo, request, user)

    async def dismiss_demo(self, *, user: str) -> demo_service_pb2.DismissDemoResponse:
        """Set a failed demo mode back to disabled."""
        return await self._call(self._stub.DismissDemo, demo_service_pb2.DismissDemoRequest(), user)

    async def get_demo(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDemoResponse:
        """Answer how demo mode stands."""
        return await self._call(self._stub.GetDemo, demo_service_pb2.GetDemoRequest(), user, quick=quick)

    async def get_dashboard(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDashboardResponse:
        """Answer the dashboard's numbers."""
        return await self._call(self._stub.GetDashboard, demo_service_pb2.GetDashboardRequest(), user, quick=quick)

    async def list_content(
        self, request: demo_service_pb2.ListContentRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListContentResponse:
        """Give a page of content items."""
        return await self._call(self._stub.ListContent, request, user, quick=quick)

    async def list_interactions(
        self, request: demo_service_pb2.ListInteractionsRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListInteractionsResponse:
        """Give a page of interactions."""
        return await self._call(self._stub.ListInteractions, request, user, quick=quick)


class Jobs(_Client):
    """The jobs service."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        reads = ("GetJob", "ListJobs", "GetJobHistory", "ListJobEvents", "GetEventPositions", "ListNotifications")
        super().__init__("jobs", target, caller, (*reads, "CancelJob", "MarkNotificationsRead"))
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(self._channel)

    async def get_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Give one job that the user may see."""
        return (await self._call(self._stub.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id), user)).job

    async def list_jobs(
        self, request: jobs_service_pb2.ListJobsRequest, *, user: str
    ) -> jobs_service_pb2.ListJobsResponse:
        """Give a page of jobs, newest first."""
        return await self._call(self._stub.ListJobs, request, user)

    async def get_job_history(self, job_id: str, *, user: str) -> jobs_service_pb2.GetJobHistoryResponse:
        """Give a job's attempts and transitions."""
        request = jobs_service_pb2.GetJobHistoryRequest(job_id=job_id)
        return await self._call(self._stub.GetJobHistory, request, user)

    async def cancel_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Stop a job."""
        return (await self._call(self._stub.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=job_id), user)).job

    async def retry_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Reopen a failed or cancelled job."""
        return (await self._call(self._stub.RetryJob, jobs_service_pb2.RetryJobRequest(job_id=job_id), user)).job

    async def list_notifications(
        self, *, page_size: int, page_token: str, user: str
    ) -> jobs_service_pb2.ListNotificationsResponse:
        """Give a page of the jobs that ended and that the user has not read of yet, the latest first."""
        request = jobs_service_pb2.ListNotificationsRequest(page_size=page_size, page_token=page_token)
        return await self._call(self._stub.ListNotifications, request, user)

    async def mark_notifications_read(self, job_ids: Sequence[str], *, user: str) -> None:
        """Note that the user has read of jobs; of all that ended if none is named."""
        request = jobs_service_pb2.MarkNotificationsReadRequest(job_ids=job_ids)
        await self._call(self._stub.MarkNotificationsRead, request, user)

    async def list_job_events(self, owner_id: str, *, after: int) -> jobs_service_pb2.ListJobEventsResponse:
        """Give an owner's events after a sequence, up to 500. Raises `OutOfRange` when it is not one that is kept."""
        request = jobs_service_pb2.ListJobEventsRequest(owner_id=owner_id, after_sequence=after)
        return await self._call(self._stub.ListJobEvents, request, "")

    async def get_event_positions(self, owner_ids: Sequence[str], *, quick: bool = False) -> dict[str, int]:
        """Give the newest sequence of each of up to 10,000 owners; 0 for those without events."""
        request = jobs_service_pb2.GetEventPositionsRequest(owner_ids=owner_ids)
        found = (await self._call(self._stub.GetEventPositions, request, "", quick=quick)).latest_sequences
        return {owner_id: found.get(owner_id, 0) for owner_id in owner_ids}
