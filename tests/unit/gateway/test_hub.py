"""All streams of a process, whose owners share what it reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from chassis.interest import Interests
from gateway.identity import sessions
from gateway.stream import hub, places
from gateway.stream.sources import Sources
from gateway.stream.sources.jobs import HELD, Jobs
from repruv.auth.v1 import auth_pb2, auth_service_pb2
from repruv.jobs.v1 import job_pb2, jobs_service_pb2


class Auth:
    """Accepts every token; the user is its first letter."""

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        answer = auth_service_pb2.ValidateSessionResponse(user=auth_pb2.User(user_id=token[0]))
        answer.identity_expire_time.FromSeconds(int(time.time()) + 100)
        return answer


class JobsService:
    """Has one running job of each owner; records whose progress is read, and sets `is_done` after the last of `reads`."""

    def __init__(self, *, reads: int) -> None:
        self.list_jobs = self
        self.polled: list[str] = []
        self.is_done = asyncio.Event()
        self._reads = reads

    async def send(self, identity: str, request: jobs_service_pb2.ListJobsRequest) -> jobs_service_pb2.ListJobsResponse:
        if tuple(request.states) == HELD:
            self.polled.append(request.owner_id)
        if len(self.polled) >= self._reads:
            self.is_done.set()
        job = job_pb2.Job(job_id=request.owner_id, state=job_pb2.JOB_STATE_RUNNING, version=1)
        return jobs_service_pb2.ListJobsResponse(jobs=[job])

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(owner_ids, 0)


async def test_without_nats_the_progress_of_every_owner_is_polled_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLLED_OWNERS", 3)
    monkeypatch.setattr(hub, "OFFLINE_CHECK_SECONDS", 0.01)
    owners = "abcdefg"
    service: Any = JobsService(reads=3 * len(owners))
    validator = sessions.Sessions(Auth(), is_live=lambda: False)
    streams = hub.Hub(
        jobs=service,
        sources=Sources(Jobs(service), ()),
        pending_jobs=None,  # type: ignore[arg-type]
        validator=validator,
        interests=Interests(),
    )
    for owner in owners:
        await streams.open(places.Place(places.Places()), await validator.validate(owner * 40), None)
    running = asyncio.create_task(streams.run())
    async with asyncio.timeout(30):
        await service.is_done.wait()
    running.cancel()
    assert service.polled[: 3 * len(owners)] == list(owners) * 3
