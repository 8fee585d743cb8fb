"""The dependencies of all routes: one container for each process, shared by the API and the pages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from chassis import bus, identity
from chassis.rpc import client
from gateway import clients, settings
from gateway.breaks import Breaks
from gateway.clients.data_exports import DataExports
from gateway.clients.exports import Exports
from gateway.clients.launcher import Launcher
from gateway.identity import session_replacement
from gateway.identity.cookies import AnonymousCookie, DeviceCookie, EmailCookie, SessionCookie
from gateway.identity.sessions import Sessions
from gateway.middleware.form_tokens import FormTokens
from gateway.pending_jobs import PendingJobs
from gateway.stream import hub, sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The dependencies of the routes. They need a running event loop."""

    settings: settings.Settings
    auth: clients.Auth
    admin: clients.Admin
    api_tokens: clients.ApiTokens
    connections: clients.Connections
    passkeys: clients.Passkeys
    demo: clients.Demo
    exports: Exports
    data_exports: DataExports
    jobs: clients.Jobs
    engine: clients.Engine
    pending_jobs: PendingJobs
    bus: bus.Bus
    sessions: Sessions
    cookie: SessionCookie
    anonymous_cookie: AnonymousCookie
    device_cookie: DeviceCookie
    email_cookie: EmailCookie
    form_tokens: FormTokens
    streams: hub.Hub
    breaks: Breaks | None
    """Breaks parts for a demonstration; None where nothing may be broken."""

    async def begin_session(self, request: Request, response: Response, signed_in: clients.SignInResponse) -> None:
        """Set the cookies of a new session, cache it, and end the session whose cookie came with the sign-in request."""
        await session_replacement.end_previous(request, auth=self.auth, sessions=self.sessions, cookie=self.cookie)
        await self.sessions.prefetch(signed_in.token)
        self.cookie.keep(response, signed_in.token, signed_in.session)
        self.device_cookie.keep(request, response)

    def rotate_token(self, response: Response, rotated: clients.RotatedToken, *, by_cookie: bool) -> None:
        """Continue a session under its new token."""
        session_replacement.rotate_token(
            self.sessions, self.cookie, response, rotated.token, rotated.session, by_cookie=by_cookie
        )

    async def are_ready(self) -> dict[str, bool]:
        """Return for each service whether it is ready."""
        services = (self.auth, self.demo, self.jobs)
        answers = await asyncio.gather(*(service.is_ready() for service in services))
        return {service.name: answer for service, answer in zip(services, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections to the services."""
        services = (
            self.auth,
            self.admin,
            self.api_tokens,
            self.connections,
            self.passkeys,
            self.demo,
            self.exports,
            self.data_exports,
            self.jobs,
            self.engine,
        )
        await asyncio.gather(*(service.close() for service in services))


def assemble(config: settings.Settings) -> Container:
    """Build the container; nothing is connected yet."""
    certificate = config.certificate
    caller = client.Caller(identity.Signer("gateway", config.identity_key), certificate)
    auth = clients.Auth(config.auth_target, caller)
    connections = clients.Connections(config.auth_target, caller)
    demo = clients.Demo(config.demo_target, caller)
    exports = Exports(config.demo_target, caller)
    jobs = clients.Jobs(config.jobs_target, caller)
    nats = bus.Bus(config.nats_url, name="gateway", certificate=certificate)
    validator = Sessions(auth, is_live=lambda: nats.is_caught_up)
    kinds = sources.build(jobs=jobs, demo=demo, connections=connections, exports=exports)
    pending_jobs = PendingJobs(jobs, kinds)
    streams = hub.Hub(jobs=jobs, kinds=kinds, pending_jobs=pending_jobs, validator=validator, interests=nats.interests)
    validator.subscribe(nats)
    streams.subscribe(nats)
    return Container(
        settings=config,
        auth=auth,
        admin=clients.Admin(config.auth_target, caller),
        api_tokens=clients.ApiTokens(config.auth_target, caller),
        connections=connections,
        passkeys=clients.Passkeys(config.auth_target, caller),
        demo=demo,
        exports=exports,
        data_exports=DataExports(config.auth_target, caller),
        jobs=jobs,
        engine=clients.Engine(config.jobs_target, caller),
        pending_jobs=pending_jobs,
        bus=nats,
        sessions=validator,
        cookie=SessionCookie(secure=config.is_https),
        anonymous_cookie=AnonymousCookie(secure=config.is_https),
        device_cookie=DeviceCookie(secure=config.is_https),
        email_cookie=EmailCookie(secure=config.is_https),
        form_tokens=FormTokens(config.identity_key),
        streams=streams,
        breaks=Breaks(Launcher(config.break_url, config.break_token), demo) if config.break_url else None,
    )
