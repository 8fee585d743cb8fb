"""The dependencies of all routes: one container for each process, shared by the API and the pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from chassis import bus, errors, identity
from chassis.rpc import client
from gateway import clients, settings
from gateway.breaks import Breaks
from gateway.clients.exports import DataExports, Exports
from gateway.clients.launcher import Launcher
from gateway.clients.service import Peer
from gateway.downloads import Downloads
from gateway.identity.cookies import AnonymousCookie, DeviceCookie, EmailCookie, SessionCookie
from gateway.identity.sessions import Sessions
from gateway.middleware.form_tokens import FormTokens
from gateway.stream import hub, sources
from gateway.stream.pending_jobs import PendingJobs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The dependencies of the routes. They need a running event loop."""

    settings: settings.Settings
    peers: Sequence[Peer]
    auth: clients.Auth
    admin: clients.Admin
    api_tokens: clients.ApiTokens
    connections: clients.Connections
    passkeys: clients.Passkeys
    demo: clients.Demo
    exports: Exports
    data_exports: DataExports
    downloads: Downloads
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
        await self._end_previous_session(request)
        await self.sessions.prefetch(signed_in.token)
        self.cookie.keep(response, signed_in.token, signed_in.session)
        self.device_cookie.keep(request, response)

    def rotate_token(self, response: Response, rotated: clients.RotatedToken, *, by_cookie: bool) -> None:
        """Forget the session's old token in this replica, and set the cookie if the request came by cookie.

        Other replicas forget the old token on the revocation event.
        """
        self.sessions.forget_refreshed(rotated.session.user_id, {rotated.session.session_id})
        if by_cookie:
            self.cookie.keep(response, rotated.token, rotated.session)

    async def _end_previous_session(self, request: Request) -> None:
        """End the session whose cookie a sign-in request carries. Most sign-ins carry none."""
        if not (token := self.cookie.read(request)):
            return
        try:
            previous = await self.sessions.validate(token)
            await self.auth.revoke_session(previous.identity, session_id=previous.session_id, reason="logout")
        except errors.Unauthenticated:
            return
        except (errors.Unavailable, errors.DeadlineExceeded) as error:
            # The sign-in still succeeds. The previous session stays in the user's list and expires.
            logger.warning("previous session was not revoked", extra={"cause": error.code})
            return
        self.sessions.forget_revoked(previous.user_id, {previous.session_id})

    async def are_ready(self) -> dict[str, bool]:
        """Return for each service whether it is ready."""
        answers = await asyncio.gather(*(peer.is_ready() for peer in self.peers))
        return {peer.name: answer for peer, answer in zip(self.peers, answers, strict=True)}

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers))


def assemble(config: settings.Settings) -> Container:
    """Build the container; nothing is connected yet."""
    certificate = config.certificate
    caller = client.Caller(identity.Signer("gateway", config.identity_key), certificate)
    auth_peer = Peer("auth", config.auth_target, caller)
    demo_peer = Peer("demo", config.demo_target, caller)
    jobs_peer = Peer("jobs", config.jobs_target, caller)
    auth = clients.Auth(auth_peer)
    connections = clients.Connections(auth_peer)
    demo = clients.Demo(demo_peer)
    exports = Exports(demo_peer)
    jobs = clients.Jobs(jobs_peer)
    nats = bus.Bus(config.nats_url, name="gateway", certificate=certificate)
    validator = Sessions(auth, is_live=lambda: nats.is_caught_up)
    event_sources = sources.build(jobs=jobs, demo=demo, connections=connections, exports=exports)
    pending_jobs = PendingJobs(jobs, event_sources)
    streams = hub.Hub(
        jobs=jobs, sources=event_sources, pending_jobs=pending_jobs, validator=validator, interests=nats.interests
    )
    validator.subscribe(nats)
    streams.subscribe(nats)
    return Container(
        settings=config,
        peers=(auth_peer, demo_peer, jobs_peer),
        auth=auth,
        admin=clients.Admin(auth_peer),
        api_tokens=clients.ApiTokens(auth_peer),
        connections=connections,
        passkeys=clients.Passkeys(auth_peer),
        demo=demo,
        exports=exports,
        data_exports=DataExports(auth_peer),
        downloads=Downloads(),
        jobs=jobs,
        engine=clients.Engine(jobs_peer),
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
