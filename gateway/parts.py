"""What the routes work with: made once a process, handed to the API and to the pages alike."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chassis import bus, identity
from chassis.rpc import client
from gateway import clients, settings
from gateway.arrivals import Arrivals
from gateway.sessions import Cookie, Sessions
from gateway.stream import hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a gateway. They need a running event loop."""

    settings: settings.Settings
    auth: clients.Auth
    demo: clients.Demo
    jobs: clients.Jobs
    arrivals: Arrivals
    bus: bus.Bus
    sessions: Sessions
    cookie: Cookie
    streams: hub.Hub

    async def are_ready(self) -> dict[str, bool]:
        """Say for each service whether it serves."""
        services = (self.auth, self.demo, self.jobs)
        answers = await asyncio.gather(*(service.is_ready() for service in services))
        return {service.name: answer for service, answer in zip(services, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections to the services."""
        await asyncio.gather(self.auth.close(), self.demo.close(), self.jobs.close())


def assemble(told: settings.Settings) -> Parts:
    """Put the parts together; nothing is connected yet."""
    own = told.own
    caller = client.Caller(identity.Signer("gateway", told.identity_key), own)
    auth = clients.Auth(told.auth_target, caller)
    demo = clients.Demo(told.demo_target, caller)
    jobs = clients.Jobs(told.jobs_target, caller)
    nats = bus.Bus(told.nats_url, name="gateway", own=own)
    validator = Sessions(auth, hears=lambda: nats.is_connected)
    arrivals = Arrivals(jobs, demo)
    streams = hub.Hub(jobs=jobs, demo=demo, arrivals=arrivals, validator=validator)
    validator.listen(nats)
    streams.listen(nats)
    return Parts(
        settings=told,
        auth=auth,
        demo=demo,
        jobs=jobs,
        arrivals=arrivals,
        bus=nats,
        sessions=validator,
        cookie=Cookie(secure=told.is_https),
        streams=streams,
    )
