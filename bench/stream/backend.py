"""The gateway's backend while its streams are measured: auth, jobs and demo that answer from memory, and events.

Sign-in, the databases and the job engine have separate benchmarks, so they are not part of these figures. Commands arrive
as JSON lines on stdin, answers leave as JSON lines on stdout: `python -m bench.stream.backend NATS_URL`.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import grpc
import nats
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from nats.aio.client import Client

from chassis.rpc import server as rpc
from gateway import views
from repruv.auth.v1 import (
    auth_events_pb2,
    auth_pb2,
    auth_service_pb2,
    auth_service_pb2_grpc,
    connections_service_pb2,
    connections_service_pb2_grpc,
)
from repruv.demo.v1 import demo_pb2, demo_service_pb2, demo_service_pb2_grpc
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2, jobs_service_pb2_grpc

KEPT = 1_000
TICK_SECONDS = 0.001
DAY = 86_400
KIND = "report.build"
"""Not a kind of demo mode: its transitions would make streams call the demo service too."""
SERVICES = ("auth.v1.AuthService", "jobs.v1.JobsService", "demo.v1.DemoService")


def owner(number: int) -> str:
    """Return the id of a user."""
    return str(UUID(int=number + 1))


def token(number: int) -> str:
    """Return the session token of a user."""
    return f"session-of-user-{number:08d}"


class Memory:
    """The events of every owner, and the counted calls."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}
        self.events: dict[str, collections.deque[job_events_pb2.JobEvent]] = {}
        self.calls: collections.Counter[str] = collections.Counter()
        self.revoked: set[int] = set()

    def next_event(self, owner_id: str) -> job_events_pb2.JobEvent:
        """Create the next event of an owner, with its time."""
        sequence = self.latest[owner_id] = self.latest.get(owner_id, 0) + 1
        job = job_pb2.Job(
            job_id=owner_id,
            spec=job_pb2.JobSpec(kind=KIND, owner_id=owner_id),
            state=job_pb2.JOB_STATE_RUNNING,
            attempt=1,
            max_attempts=5,
            version=sequence,
            progress=job_pb2.JobProgress(done=sequence, total=100, message=str(time.monotonic_ns())),
        )
        job.create_time.GetCurrentTime()
        event = job_events_pb2.JobEvent(owner_id=owner_id, sequence=sequence, job=job)
        self.events.setdefault(owner_id, collections.deque(maxlen=KEPT)).append(event)
        return event


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    """An auth service in which every session is valid."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def ValidateSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["ValidateSession"] += 1
        if (answer := self._session(request)) is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED)
        return answer

    async def ValidateSessions(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["ValidateSessions"] += 1
        results = [auth_service_pb2.ValidateSessionsResult(validated=self._session(each)) for each in request.sessions]
        return auth_service_pb2.ValidateSessionsResponse(results=results)

    def _session(self, request: Any) -> auth_service_pb2.ValidateSessionResponse | None:
        number = int(request.token.rpartition("-")[2])
        if number in self._memory.revoked:
            return None
        end = int(time.time()) + DAY
        answer = auth_service_pb2.ValidateSessionResponse(
            user=auth_pb2.User(user_id=owner(number), email=f"user{number}@example.com"),
            session=auth_pb2.Session(session_id=str(UUID(int=number + 1))),
            identity="i" * 300,
        )
        for moment in (
            answer.identity_expire_time,
            answer.session.idle_expire_time,
            answer.session.absolute_expire_time,
        ):
            moment.FromSeconds(end)
        return answer


class Connections(connections_service_pb2_grpc.ConnectionsServiceServicer):
    """A connections service without platforms."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def ListConnections(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["ListConnections"] += 1
        return connections_service_pb2.ListConnectionsResponse()


class Demo(demo_service_pb2_grpc.DemoServiceServicer):
    """A demo service in which demo mode is always disabled."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def GetDemo(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["GetDemo"] += 1
        return demo_service_pb2.GetDemoResponse(demo=demo_pb2.Demo(version=1, state=demo_pb2.DEMO_STATE_DISABLED))


class Jobs(jobs_service_pb2_grpc.JobsServiceServicer):
    """A jobs service that returns the events."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def BatchGetEventPositions(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["BatchGetEventPositions"] += 1
        latest = {owner_id: self._memory.latest.get(owner_id, 0) for owner_id in request.owner_ids}
        return jobs_service_pb2.BatchGetEventPositionsResponse(latest_sequences=latest)

    async def BatchListJobEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["BatchListJobEvents"] += 1
        response = jobs_service_pb2.BatchListJobEventsResponse()
        for cursor in request.cursors:
            stored_events = self._memory.events.get(cursor.owner_id, ())
            events = [event for event in stored_events if event.sequence > cursor.after_sequence]
            latest = self._memory.latest.get(cursor.owner_id, 0)
            page = jobs_service_pb2.ListJobEventsResponse(events=events[:10], latest_sequence=latest)
            response.results.add(page=page)
        return response

    async def ListJobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._memory.calls["ListJobs"] += 1
        return jobs_service_pb2.ListJobsResponse()


class Publisher:
    """Creates events and publishes them as the jobs service does, for the peers also as ready JSON."""

    def __init__(self, memory: Memory, client: Client) -> None:
        self._memory = memory
        self._client = client

    async def each(self, numbers: Sequence[int], times: int) -> None:
        """Create an event for each of these owners."""
        for _ in range(times):
            for count, number in enumerate(numbers):
                await self._tell(owner(number), peers=False)
                if count % 100 == 0:
                    await asyncio.sleep(0)
        await self._client.flush(timeout=10)

    async def revoke(self, numbers: Sequence[int]) -> None:
        """End the sessions of these owners only."""
        self._memory.revoked = set(numbers)
        for number in numbers:
            event = auth_events_pb2.SessionsRevoked(
                user_id=owner(number), session_ids=[owner(number)], reason="revoked"
            )
            await self._client.publish(f"auth.events.{owner(number)}", event.SerializeToString())
        await self._client.flush(timeout=10)

    async def flow(self, owners: int, *, rate: float, seconds: float, peers: bool) -> int:
        """Create `rate` events per second for random owners, for a number of seconds. Return their count."""
        chance = random.Random(1)
        began = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * rate:
                await self._tell(owner(chance.randrange(owners)), peers=peers)
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        return sent

    async def _tell(self, owner_id: str, *, peers: bool) -> None:
        event = self._memory.next_event(owner_id)
        if peers:
            text = json.dumps(views.job(event.job), separators=(",", ":"))
            await self._client.publish(f"peers.events.{owner_id}", text.encode())
        else:
            payload = job_events_pb2.JobEvents(events=[event]).SerializeToString()
            await self._client.publish(f"jobs.live_events.{owner_id}", payload)


async def serve(nats_url: str) -> None:
    """Serve until stdin ends."""
    memory = Memory()
    server = grpc.aio.server(options=rpc.OPTIONS)
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(Auth(memory), server)  # type: ignore[abstract]
    connections_service_pb2_grpc.add_ConnectionsServiceServicer_to_server(Connections(memory), server)  # type: ignore[abstract]
    demo_service_pb2_grpc.add_DemoServiceServicer_to_server(Demo(memory), server)  # type: ignore[abstract]
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(Jobs(memory), server)  # type: ignore[abstract]
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in SERVICES:
        await healthy.set(f"repruv.{name}", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = await nats.connect(nats_url, connect_timeout=5, pending_size=64 << 20)
    publisher = Publisher(memory, client)
    reply(port=port)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            match command.pop("do"):
                case "each":
                    await publisher.each(**command)
                    reply()
                case "revoke":
                    await publisher.revoke(**command)
                    reply()
                case "flow":
                    reply(sent=await publisher.flow(**command))
                case "calls":
                    reply(calls=dict(memory.calls))
                    memory.calls.clear()
                case "latest":
                    reply(latest=memory.latest)
    finally:
        await client.close()
        await server.stop(0.1)


def reply(**answer: object) -> None:
    """Run a command and return its answer."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
