"""Model-based test of connections on the real database, with actions in any order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import worker
from chassis import errors
from lifecycle.machine import JobPhase, JobUpdate
from services.auth.connections import domain
from services.auth.connections.domain import State, Tokens
from services.auth.connections.platforms import Platform
from services.auth.connections.providers.outbound import PlatformRefused, PlatformUnavailable, ResponseLost
from services.auth.connections.providers.provider import AuthorizationRequest
from tests.integration.conftest import GENEROUS_SECONDS
from worker import testing

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "16"))
OUTCOMES = st.sampled_from(["good", "good", "unavailable", "lost", "refused", "dies"])


class Died(Exception):
    """The worker died."""


_REFUSED = (worker.JobFailed, worker.Cancelled, worker.Snooze, Died)


class Scripted:
    """A platform in memory: answers as the machine configures, and tracks live tokens."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.outcome = "good"
        self.meanwhile: Callable[[], Any] | None = None
        self.issued: list[str] = []
        self.revoked: set[str] = set()
        self.codes: list[str] = []

    async def authorization_request(self, transaction: Any) -> AuthorizationRequest:
        return AuthorizationRequest(url=transaction.state, issuer="", is_issuer_required=False)

    async def exchange(self, code: str, transaction: Any) -> Tokens:
        await self._happen()
        if code in self.codes:
            raise AssertionError("a code that counted was sent again")
        self.codes.append(code)
        self._vanish()
        return self._tokens()

    def is_renewable(self, tokens: Tokens) -> bool:
        return True

    async def refresh(self, tokens: Tokens, *_: Any) -> Tokens:
        await self._happen()
        self._vanish()
        return self._tokens()

    async def revoke(self, tokens: Tokens) -> bool:
        if self.outcome == "unavailable":
            raise PlatformUnavailable("down")
        self.revoked.add(tokens.access_token)
        return True

    async def account(self, tokens: Tokens) -> domain.Account:
        assert tokens.access_token in self.issued
        return domain.Account(external_id=self.platform.name)

    async def items(self, tokens: Tokens) -> list[domain.Item]:
        return []

    async def _happen(self) -> None:
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        if self.outcome == "unavailable":
            raise PlatformUnavailable("down")
        if self.outcome == "refused":
            raise PlatformRefused("no", code="invalid_grant")

    def _vanish(self) -> None:
        if self.outcome == "lost":
            raise ResponseLost("lost")
        if self.outcome == "dies":
            raise Died

    def _tokens(self) -> Tokens:
        self.issued.append(f"token-{len(self.issued)}")
        return Tokens(access_token=self.issued[-1], refresh_token=f"refresh-{len(self.issued)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The objects that the machine acts on from its own thread."""

    loop: asyncio.AbstractEventLoop
    new_owner: Any

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=GENEROUS_SECONDS)


class Machine(RuleBasedStateMachine):
    """One user's connection, and all actions on it."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.owner: Any = self.world.run(self.world.new_owner("tampering"))
        # A separate platform: no other user has its account.
        arguments = Platform(
            name=f"p-{self.owner.user_id.hex[:20]}",
            title="P",
            kind="oidc",
            client_id="c",
            client_secret="s",
            scopes=(),
        )
        self.platform = Scripted(arguments)
        name = arguments.name
        self.owner = self.world.run(self._over(name))
        self.authorizations: list[tuple[str, int]] = []
        self.contexts: list[worker.Context] = []
        self.updates: list[JobUpdate] = []
        self.generations: list[int] = []
        self.latest = domain.Connection(user_id=self.owner.user_id, platform=name)

    async def _over(self, name: str) -> Any:
        parts = self.owner.parts
        parts.operations._providers = {name: self.platform}
        changed = replace(parts, dependencies=replace(parts.dependencies, providers={name: self.platform}))
        return replace(self.owner, parts=changed, platform=name)

    def act(self, work: Any, *, allowed: tuple[type[Exception], ...] = ()) -> Any:
        with contextlib.suppress(*allowed):
            return self.world.run(work)
        return None

    def now(self) -> domain.Connection:
        connection: domain.Connection = self.world.run(self.owner.connection())
        return connection

    @rule()
    def begin(self) -> None:
        before = self.now()
        self.act(self._clear_throttle())
        authorization = self.act(self.owner.begin(), allowed=(errors.FailedPrecondition,))
        assert (authorization is None) == (before.state in {State.CONNECTED, State.DISCONNECTING})
        if authorization:
            self.authorizations.append((authorization.authorization_url, authorization.connection.generation))
            self.generations.append(authorization.connection.generation)

    async def _clear_throttle(self) -> None:
        async with self.owner.parts.engine.begin() as conn:
            await conn.execute(
                sa.text("DELETE FROM auth.login_failures WHERE key = :key"),
                {"key": f"connections:{self.owner.user_id}"},
            )

    @precondition(lambda self: self.authorizations)
    @rule(data=st.data(), error=st.sampled_from(["", "", "", "access_denied", "server_error"]), is_other=st.booleans())
    def finish(self, data: st.DataObject, error: str, is_other: bool) -> None:
        state, generation = data.draw(st.sampled_from(self.authorizations[-3:]))
        before = self.now()
        caller = self.owner.in_another_session() if is_other else self.owner
        counts = not is_other and before.awaits_consent and before.generation == generation
        code = "" if error else f"code-{generation}"
        finished = self.act(caller.finish(state=state, code=code, error=error), allowed=(domain.StateInvalid,))
        assert (finished is not None) == counts
        if finished is None:
            assert self.now() == before
        elif finished.has_pending_job:
            self._job()

    def _job(self) -> None:
        self.contexts.append(self.world.run(self.owner.context(1)))

    @precondition(lambda self: self.contexts)
    @rule(data=st.data(), outcome=OUTCOMES, meanwhile=st.sampled_from(["", "", "disconnect", "begin"]))
    def run_job(self, data: st.DataObject, outcome: str, meanwhile: str) -> None:
        """Run any attempt of any job, stale ones included."""
        context = data.draw(st.sampled_from(self.contexts[-4:]))
        is_again = data.draw(st.booleans())
        if is_again:
            context = testing.RecordingContext(
                context.payload,
                job_id=context.job_id,
                owner_id=context.owner_id,
                kind=context.kind,
                attempt=context.attempt + 1,
            )
            self.contexts.append(context)
        self.platform.outcome = outcome
        acts = {"disconnect": self.owner.disconnect, "begin": self._begin_quietly}
        self.platform.meanwhile = acts.get(meanwhile)
        before = self.now()
        work = self.owner.connect if context.kind == "auth.connect" else self.owner.take_back
        self.act(work(context), allowed=_REFUSED)
        self.platform.meanwhile, self.platform.outcome = None, "good"
        after = self.now()
        if context.job_id != str(before.job_id):
            assert after == before, "an older job changes nothing"
        if after.has_pending_job and after.job_id != before.job_id:
            self._job()

    async def _begin_quietly(self) -> None:
        await self._clear_throttle()
        with contextlib.suppress(errors.FailedPrecondition):
            authorization = await self.owner.begin()
            self.authorizations.append((authorization.authorization_url, authorization.connection.generation))
            self.generations.append(authorization.connection.generation)

    @rule()
    def disconnect(self) -> None:
        before = self.now()
        after = self.act(self.owner.disconnect())
        if before.state in {State.DISCONNECTED, State.DISCONNECTING}:
            assert after == before
        else:
            assert after.state is State.DISCONNECTING
            self._job()

    @precondition(lambda self: self.generations)
    @rule(data=st.data(), outcome=OUTCOMES, meanwhile=st.sampled_from(["", "", "disconnect"]))
    def refresh(self, data: st.DataObject, outcome: str, meanwhile: str) -> None:
        generation = data.draw(st.sampled_from(self.generations[-3:]))
        before = self.now()
        self.act(self._make_due())
        self.platform.outcome = outcome
        self.platform.meanwhile = self.owner.disconnect if meanwhile else None
        self.act(self.owner.refresh(generation), allowed=_REFUSED)
        self.platform.meanwhile, self.platform.outcome = None, "good"
        after = self.now()
        if before.state is not State.CONNECTED or before.generation != generation:
            assert after == before
        if after.has_pending_job and after.job_id != before.job_id:
            self._job()

    async def _make_due(self) -> None:
        statement = "UPDATE auth.connections SET refresh_at = now() WHERE user_id = :user AND state = 'connected'"
        async with self.owner.parts.engine.begin() as conn:
            await conn.execute(sa.text(statement), {"user": self.owner.user_id})

    @precondition(lambda self: self.contexts)
    @rule(phase=st.sampled_from(JobPhase), version=st.integers(1, 20))
    def deliver_update(self, phase: JobPhase, version: int) -> None:
        """Deliver an update of the current job."""
        before = self.now()
        if before.job_id is None:
            return
        update = self.world.run(self.owner.update(phase, attempt=before.attempt, version=version))
        self.updates.append(update)
        self.act(self.owner.settle(update))
        is_unreported_end = before.state is State.CONNECTED and phase is not JobPhase.COMPLETED
        if phase in {JobPhase.UNCLAIMED, JobPhase.HELD} or not (before.has_pending_job or is_unreported_end):
            assert self.now() == before

    @precondition(lambda self: self.updates)
    @rule(data=st.data())
    def deliver_old_update(self, data: st.DataObject) -> None:
        """Deliver an old update again."""
        update = data.draw(st.sampled_from(self.updates))
        before = self.now()
        self.act(self.owner.settle(update))
        if update.job_id != before.job_id:
            assert self.now() == before

    @rule()
    def ten_minutes_pass(self) -> None:
        if self.now().generation == 0:
            return
        self.act(self.owner.age("changed_at", "10 minutes"))
        self.act(self.owner.age("expires_at", "10 minutes"))
        self.authorizations.clear()
        connection = self.act(self.owner.parts.operations.get(self.owner.user_id, self.owner.platform))
        assert not connection.awaits_consent, "nobody is away for ever"

    @invariant()
    def the_rules_hold(self) -> None:
        present, secrets, waits, published_events = self.world.run(self._probe())
        if secrets:
            assert present.state in domain.KEEPS_SECRETS
            if secrets.tokens:
                assert present.state is not State.CONNECTED or secrets.generation == present.generation
        assert (present.state is State.CONNECTED) <= bool(secrets and secrets.tokens), "connected is to have access"
        assert waits <= (present.state is State.CONNECTING or present.state is State.DISCONNECTING)
        assert present.version >= self.latest.version
        assert present.generation >= self.latest.generation
        assert (present.version == self.latest.version) <= (present.state is self.latest.state)
        assert [version for _, version in published_events] == list(range(1, present.version + 1)), (
            "each change is published_events, once"
        )
        self.latest = present

    async def _probe(self) -> Any:
        waits = await self.owner.row_exists("connection_authorizations")
        return await self.owner.connection(), await self.owner.stored(), waits, await self.owner.published_events()

    def teardown(self) -> None:
        """Disconnect. Afterwards the platform has revoked every token."""
        if self.now().generation and self.now().state not in {State.DISCONNECTING, State.DISCONNECTED}:
            self.act(self.owner.disconnect())
        if self.now().state is State.DISCONNECTING:
            self.act(self.owner.take_back(self.world.run(self.owner.context(99))))
        assert self.now().state is State.DISCONNECTED
        assert self.world.run(self.owner.stored()) is None


@pytest.fixture
async def world(new_owner: Any) -> AsyncIterator[World]:
    yield World(loop=asyncio.get_running_loop(), new_owner=new_owner)


@pytest.mark.timeout(1_200)
async def test_connections_match_the_rules_in_any_order(world: World) -> None:
    machine = type("Bound", (Machine,), {"world": world})
    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=bounds)
