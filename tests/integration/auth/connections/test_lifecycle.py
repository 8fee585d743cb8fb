"""Actions of users and of jobs on connections, also concurrent ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

import worker
from chassis import errors
from lifecycle import attempts
from lifecycle.machine import JobPhase
from services.auth.connections import schema, secrets, storage
from services.auth.connections.domain import Action, State
from services.auth.connections.handlers import connect, dependencies, disconnect, due
from services.auth.encryption.keyring import Keyring
from tests.integration.auth.connections.owners import Parts
from worker import testing


async def test_youtube_is_connected_with_its_channel_and_videos(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("youtube")
    authorization = await owner.begin()
    assert "access_type=offline" in authorization.authorization_url
    assert "prompt=consent" in authorization.authorization_url
    assert (await owner.connected()).account.name == "Ada's channel"
    connection = await owner.connection()
    assert (connection.item_count, connection.access_expires_at is not None) == (3, True)
    assert await owner.row_exists("connection_items")
    await owner.disconnect()
    assert await owner.take_back() == {"revoked": True}
    assert not await owner.row_exists("connection_items")


async def test_instagram_gets_a_long_lived_token_and_cannot_revoke_it(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("instagram")
    assert (await owner.connected()).item_count == 2
    assert (await owner.tokens()).access_token.startswith("lasting-")
    await owner.disconnect()
    assert await owner.take_back() == {"revoked": False}
    assert (await owner.connection()).state is State.DISCONNECTED


async def test_demo_mode_prevents_connecting(owner: Any) -> None:
    owner.parts.gate.refusal = errors.FailedPrecondition("Demo.", code="demo_mode_active")
    with pytest.raises(errors.FailedPrecondition, match="Demo"):
        await owner.begin()
    owner.parts.gate.refusal = errors.Unavailable()
    with pytest.raises(errors.Unavailable):
        await owner.begin()
    assert (await owner.connection()).generation == 0


async def test_an_unknown_platform_is_not_found(owner: Any) -> None:
    lost = owner.at("myspace")
    for call in (lost.begin, lost.disconnect, lambda: lost.finish(state="s", code="c")):
        with pytest.raises(errors.NotFound) as excinfo:
            await call()
        assert excinfo.value.code == "platform_not_found"


async def test_connected_platform_must_be_disconnected_first(owner: Any) -> None:
    await owner.connected()
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await owner.begin()
    assert excinfo.value.code == "connection_connected"
    await owner.disconnect()
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await owner.begin()
    assert excinfo.value.code == "connection_disconnecting"


async def test_repeated_disconnect_is_no_error(owner: Any) -> None:
    assert (await owner.disconnect()).generation == 0
    await owner.connected()
    first, second = await owner.disconnect(), await owner.disconnect()
    assert first == second
    await owner.take_back()
    assert (await owner.disconnect()).state is State.DISCONNECTED


async def test_disconnect_during_the_exchange_revokes_the_late_tokens(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    context = await owner.context()
    owner.after_response(monkeypatch, "exchange", owner.disconnect)
    with pytest.raises(worker.Cancelled):
        await owner.connect(context)
    [revoked] = await tampering.requests_to("/revoke")
    assert f"token={(await tampering.record())['issued'][0]['refresh_token']}" in revoked["body"]
    assert (await owner.connection()).state is State.DISCONNECTING
    await owner.take_back()
    assert await owner.stored() is None


@pytest.mark.parametrize("step", ["exchange", "account", "between attempts"])
async def test_tokens_of_a_connect_that_is_begun_again_are_revoked_when_the_new_one_is_abandoned(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = await owner.returned()
    context = await owner.context()
    provider = type(owner.parts.dependencies.providers["tampering"])
    perform: Any = getattr(provider, step, None)

    async def begin_after(*arguments: Any) -> Any:
        result = await perform(*arguments)
        await owner.begin()
        return result

    if perform:
        monkeypatch.setattr(provider, step, begin_after)
    else:
        await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
        with pytest.raises(worker.JobFailed):
            await owner.connect(context)
        await owner.begin()
    with pytest.raises(worker.Cancelled):
        await owner.connect(context)
    assert await owner.stored() is None
    with pytest.raises(worker.Snooze):
        await owner.revoke_tokens(first.generation)
    await owner.age("changed_at", "10 minutes")
    connection = await owner.parts.operations.get(owner.user_id, owner.platform)
    assert connection.state is State.DISCONNECTED
    assert (await owner.submitted()).count("auth.revoke-tokens") == 1
    assert await owner.revoke_tokens(first.generation) == {"revoked": True}
    [revoked] = await tampering.requests_to("/revoke")
    assert f"token={(await tampering.record())['issued'][0]['refresh_token']}" in revoked["body"]


async def test_platform_account_stays_with_its_first_user(
    owner: Any, tampering: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    await owner.connected()
    other = await new_owner()
    await other.returned()
    with pytest.raises(worker.JobFailed):
        await other.connect()
    failed = await other.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "account_already_connected")
    assert await other.stored() is None
    assert await tampering.requests_to("/revoke") == [], "revoking would end the access of the other user"
    await owner.disconnect()
    await owner.take_back()
    await other.connected()


@pytest.mark.parametrize(
    ("refusal", "attempts"),
    [({"status": 503, "times": 99}, 4), ({"status": 401, "times": 99}, 4), ({"status": 400, "times": 99}, 1)],
    ids=str,
)
async def test_secrets_are_deleted_even_if_the_platform_revokes_nothing(
    owner: Any, tampering: Any, refusal: dict[str, Any], attempts: int
) -> None:
    await owner.connected()
    await owner.disconnect()
    await tampering.misbehave(refuse=[{"path": "/revoke", **refusal}])
    for attempt in range(1, attempts):
        with pytest.raises(worker.JobFailed):
            await owner.take_back(await owner.context(attempt=attempt))
        assert await owner.stored()
    assert await owner.take_back(await owner.context(attempt=attempts)) == {"revoked": False}
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.stored() is None


@pytest.mark.parametrize("status", [503, 401], ids=["unavailable", "client refused"])
async def test_disconnect_from_a_platform_that_does_not_revoke_now_is_revoked_later(
    owner: Any, tampering: Any, status: int
) -> None:
    await owner.connected()
    await owner.disconnect()
    await tampering.misbehave(refuse=[{"path": "/revoke", "status": status, "times": 1}])
    context = await owner.context(attempt=disconnect.LAST_ATTEMPT)
    assert await owner.take_back(context) == {"revoked": False}
    assert (await owner.connection()).state is State.DISCONNECTED
    assert (await owner.submitted())[-1] == "auth.revoke-tokens"
    assert await owner.revoke_tokens() == {"revoked": True}


async def test_cancelled_job_revokes_its_tokens(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    context = await owner.context(attempt=2)
    context.cancelled.set()
    with pytest.raises(worker.Cancelled):
        await owner.connect(context)
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.stored() is None
    assert await owner.revoke_tokens() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 1


@pytest.mark.parametrize(
    ("phase", "state"), [(JobPhase.CANCELLED, State.DISCONNECTED), (JobPhase.FAILED, State.FAILED)]
)
async def test_connection_whose_last_write_was_not_reported_follows_its_job_and_revokes_its_tokens(
    owner: Any, tampering: Any, phase: JobPhase, state: State
) -> None:
    await owner.connected()
    settled = await owner.settle(await owner.update(phase))
    assert (settled.state, settled.connected_at, settled.refresh_at) == (state, None, None)
    assert await owner.stored() is None
    assert await owner.revoke_tokens() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 1


async def test_later_attempt_resumes_with_stored_tokens(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).state is State.CONNECTED
    assert len(await tampering.requests_to("/token")) == 1


async def test_lost_reply_of_the_commit_before_the_code_is_sent_costs_no_consent(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fenced, lost = attempts.FencedAttempt.fenced, 0

    @asynccontextmanager
    async def lose_reply(attempt: Any) -> AsyncIterator[Any]:
        nonlocal lost
        async with fenced(attempt) as tx:
            yield tx
        if not lost:
            lost += 1
            raise sa.exc.OperationalError("COMMIT", None, psycopg.OperationalError("the connection is lost"))

    monkeypatch.setattr(attempts.FencedAttempt, "fenced", lose_reply)
    monkeypatch.setattr(dependencies, "STORE_PAUSE", 0.0)
    await owner.connected()
    assert lost == 1
    assert (await owner.connection()).state is State.CONNECTED
    assert len(await tampering.requests_to("/token")) == 1


@pytest.mark.parametrize("operation", ["connect", "refresh"])
async def test_lost_reply_of_the_commit_that_stores_tokens_revokes_nothing(
    owner: Any, tampering: Any, parts: Parts, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The commit took effect, but the client does not learn it and stores the tokens again."""
    dialect, vault = parts.engine.sync_engine.dialect, parts.dependencies.vault
    commit, store_tokens = dialect.do_commit, vault.store_tokens
    lost = 0

    def lose_reply(connection: Any) -> None:
        nonlocal lost
        commit(connection)
        monkeypatch.setattr(dialect, "do_commit", commit)
        lost += 1
        raise sa.exc.OperationalError("COMMIT", None, psycopg.OperationalError("the connection is lost"))

    async def arm(*arguments: Any, **options: Any) -> Any:
        issued_at = await store_tokens(*arguments, **options)
        if not lost:
            monkeypatch.setattr(dialect, "do_commit", lose_reply)
        return issued_at

    monkeypatch.setattr(dependencies, "STORE_PAUSE", 0.0)
    if operation == "refresh":
        await owner.connected()
        before = await owner.tokens()
        await owner.age("refresh_at", "1 year")
    monkeypatch.setattr(vault, "store_tokens", arm)
    if operation == "refresh":
        assert await owner.refresh() == {"refreshed": True}
        assert await owner.tokens() != before
    else:
        await owner.connected()
    assert lost == 1
    assert (await owner.connection()).state is State.CONNECTED
    assert await tampering.requests_to("/revoke") == []


async def test_lease_that_is_lost_with_the_database_revokes_the_new_tokens(
    owner: Any, tampering: Any, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    is_storing = asyncio.Event()

    async def fail(*_: Any, **__: Any) -> None:
        is_storing.set()
        raise sa.exc.OperationalError("UPDATE", None, psycopg.OperationalError("the connection is lost"))

    monkeypatch.setattr(parts.dependencies.vault, "store_tokens", fail)
    connecting = asyncio.create_task(owner.connect())
    await is_storing.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert len(await tampering.requests_to("/revoke")) == 1


async def test_key_that_one_worker_lacks_fails_no_connection(owner: Any, parts: Parts) -> None:
    """During a rolling restart other replicas encrypt with a newer key."""
    await owner.returned()
    old = replace(parts.dependencies, vault=secrets.Vault(Keyring({"old": b"o" * 32})))
    context = await owner.context()
    with pytest.raises(worker.Snooze):
        await connect.connect(old, context)
    await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).state is State.CONNECTED
    await owner.disconnect()
    with pytest.raises(worker.Snooze):
        await disconnect.disconnect(old, await owner.context())
    await disconnect.disconnect(old, await owner.context(attempt=dependencies.KEY_ATTEMPTS))
    assert (await owner.connection()).state is State.DISCONNECTED, "a lost key keeps nobody connected"


async def test_code_is_not_sent_again_after_a_worker_died(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    provider = owner.parts.dependencies.providers["tampering"]
    exchange = type(provider).exchange

    async def dies(self: Any, *arguments: Any) -> Any:
        await exchange(self, *arguments)
        raise RuntimeError("the worker dies here")

    monkeypatch.setattr(type(provider), "exchange", dies)
    with pytest.raises(RuntimeError):
        await owner.connect()
    monkeypatch.setattr(type(provider), "exchange", exchange)
    with pytest.raises(worker.JobFailed):
        await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).error.code == "consent_expired"
    assert len(await tampering.requests_to("/token")) == 1


async def test_attempt_superseded_within_the_exchange_stores_nothing(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    first, second = await owner.context(attempt=1), await owner.context(attempt=2)

    async def begin_second() -> None:
        async with owner.parts.engine.begin() as conn:
            await storage.CONNECTIONS.begin_attempt(conn, owner.parts.dependencies.attempt(second).fence)

    owner.after_response(monkeypatch, "exchange", begin_second)
    with pytest.raises(worker.Cancelled):
        await owner.connect(first)
    assert (await owner.stored()).tokens is None
    assert len(await tampering.requests_to("/revoke")) == 1


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (JobPhase.FAILED, State.FAILED),
        (JobPhase.CANCELLED, State.DISCONNECTED),
        (JobPhase.COMPLETED, State.FAILED),
        (JobPhase.UNCLAIMED, State.CONNECTING),
        (JobPhase.HELD, State.CONNECTING),
    ],
)
async def test_the_end_of_a_connect_job_is_settled_once(owner: Any, phase: JobPhase, state: State) -> None:
    await owner.returned()
    update = await owner.update(phase)
    settled = await owner.settle(update)
    assert settled.state is state
    assert await owner.settle(update) == settled
    assert (await owner.stored() is None) == (state is not State.CONNECTING)


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED, JobPhase.COMPLETED])
async def test_every_end_of_a_disconnect_job_deletes_the_secrets(owner: Any, phase: JobPhase) -> None:
    await owner.connected()
    await owner.disconnect()
    assert (await owner.settle(await owner.update(phase))).state is State.DISCONNECTED
    assert await owner.stored() is None


async def test_update_applies_only_to_its_own_generation(owner: Any) -> None:
    older = await owner.returned()
    newer = await owner.returned()
    dependencies = owner.parts.dependencies
    async with dependencies.transaction() as tx:
        for connection, is_moved in ((older, False), (newer, True)):
            moved = await dependencies.lifecycle.move(
                tx, connection.key, Action.CANCEL_CONNECT, of_generation=connection.generation
            )
            assert (moved is not None) == is_moved


async def test_abandoned_consent_is_disconnected_by_a_read_or_the_schedule(
    owner: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    other = await new_owner()
    for user in (owner, other):
        await user.begin()
        assert (await user.parts.operations.get(user.user_id, user.platform)).awaits_consent
        await user.age("changed_at", "10 minutes")
    assert (await owner.parts.operations.get(owner.user_id, owner.platform)).state is State.DISCONNECTED
    await due.abandon(other.parts.dependencies, other.parts.settler, testing.RecordingContext())
    assert (await other.connection()).state is State.DISCONNECTED
    for user in (owner, other):
        assert [reason for reason, _ in await user.published_events()] == ["connect_begun", "abandoned"]
        assert not await user.row_exists("connection_authorizations")


async def test_wait_whose_row_is_locked_keeps_no_other_from_its_end(
    owner: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    locked = await new_owner()
    for user, age in ((locked, "20 minutes"), (owner, "10 minutes")):
        await user.begin()
        await user.age("changed_at", age)
    dependencies = owner.parts.dependencies
    async with dependencies.engine.connect() as conn:
        row = sa.select(schema.connections).where(schema.connections.c.user_id == locked.user_id).with_for_update()
        await conn.execute(row)
        await due.abandon(dependencies, owner.parts.settler, testing.RecordingContext())
        assert (await owner.connection()).state is State.DISCONNECTED
    await due.abandon(dependencies, owner.parts.settler, testing.RecordingContext())
    assert (await locked.connection()).state is State.DISCONNECTED


async def test_waits_that_cannot_end_keep_no_other_from_its_end(
    owner: Any, new_owner: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "BATCH", 1)
    refused = await new_owner()
    for user, age in ((refused, "20 minutes"), (owner, "10 minutes")):
        await user.begin()
        await user.age("changed_at", age)
    dependencies = owner.parts.dependencies
    rule = f"CHECK (user_id <> '{refused.user_id}' OR state <> 'disconnected') NOT VALID"
    async with dependencies.engine.begin() as conn:
        await conn.execute(sa.text(f"ALTER TABLE auth.connections ADD CONSTRAINT poison {rule}"))
    try:
        await due.abandon(dependencies, owner.parts.settler, testing.RecordingContext())
    finally:
        async with dependencies.engine.begin() as conn:
            await conn.execute(sa.text("ALTER TABLE auth.connections DROP CONSTRAINT poison"))
    states = [(await user.connection()).state for user in (refused, owner)]
    assert states == [State.CONNECTING, State.DISCONNECTED]


async def test_list_has_every_platform_in_the_order_of_the_settings(owner: Any) -> None:
    await owner.connected()
    connections = await owner.parts.operations.list(owner.user_id)
    assert [(connection.platform, connection.state is State.CONNECTED) for connection in connections] == [
        ("honest", False),
        ("tampering", True),
        ("youtube", False),
        ("instagram", False),
    ]
