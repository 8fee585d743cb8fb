"""What the routes work with: made once a process, handed to the API and to the pages alike."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chassis import bus, identity
from chassis.rpc import client
from gateway import clients, settings
from gateway.arrivals import Arrivals
from gateway.cookies import Cookie, Visit
from gateway.forgery import FormTokens
from gateway.sessions import Sessions
from gateway.stream import hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a gateway. They need a running event loop."""

    settings: settings.Settings
    auth: clients.Auth
    admin: clients.Admin
    connections: clients.Connections
    passkeys: clients.Passkeys
    demo: clients.Demo
    jobs: clients.Jobs
    engine: clients.Engine
    arrivals: Arrivals
    bus: bus.Bus
    sessions: Sessions
    cookie: Cookie
    visit: Visit
    form_tokens: FormTokens
    streams: hub.Hub

    async def are_ready(self) -> dict[str, bool]:
        """Say for each service whether it serves."""
        services = (self.auth, self.demo, self.jobs)
        answers = await asyncio.gather(*(service.is_ready() for service in services))
        return {service.name: answer for service, answer in zip(services, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections to the services."""
        services = (self.auth, self.admin, self.connections, self.passkeys, self.demo, self.jobs, self.engine)
        await asyncio.gather(*(service.close() for service in services))


def assemble(told: settings.Settings) -> Parts:
    """Put the parts together; nothing is connected yet."""
    certificate = told.certificate
    caller = client.Caller(identity.Signer("gateway", told.identity_key), certificate)
    auth = clients.Auth(told.auth_target, caller)
    connections = clients.Connections(told.auth_target, caller)
    demo = clients.Demo(told.demo_target, caller)
    jobs = clients.Jobs(told.jobs_target, caller)
    nats = bus.Bus(told.nats_url, name="gateway", certificate=certificate)
    validator = Sessions(auth, hears=lambda: nats.is_caught_up)
    arrivals = Arrivals(jobs, demo)
    streams = hub.Hub(jobs=jobs, demo=demo, connections=connections, arrivals=arrivals, validator=validator)
    validator.subscribe(nats)
    streams.subscribe(nats)
    return Parts(
        settings=told,
        auth=auth,
        admin=clients.Admin(told.auth_target, caller),
        connections=connections,
        passkeys=clients.Passkeys(told.auth_target, caller),
        demo=demo,
        jobs=jobs,
        engine=clients.Engine(told.jobs_target, caller),
        arrivals=arrivals,
        bus=nats,
        sessions=validator,
        cookie=Cookie(secure=told.is_https),
        visit=Visit(secure=told.is_https),
        form_tokens=FormTokens(told.identity_key),
        streams=streams,
    )
