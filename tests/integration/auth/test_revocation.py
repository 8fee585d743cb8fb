"""Revocation of sessions, and the events that it publishes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, outbox
from repruv.auth.v1 import auth_events_pb2
from services.auth import domain
from services.auth.context import Context
from services.auth.sessions import storage as session_storage
from services.auth.sessions.operations import Sessions
from tests.integration.auth.client import PASSWORD, Account, Gateway
from tests.integration.auth.mailbox import Mailbox


@pytest.fixture
async def jetstream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(nats_url)
    yield connection.jetstream()
    await connection.close()


async def published_events(
    jetstream: JetStreamContext, account: Account, count: int
) -> list[auth_events_pb2.SessionsRevoked]:
    """Wait for the first `count` events about a user."""
    subscription = await jetstream.subscribe(f"auth.events.{account.user_id}", ordered_consumer=True)
    messages = [await subscription.next_msg(timeout=60) for _ in range(count)]
    await subscription.unsubscribe()
    assert all(uuid.UUID((message.headers or {})["Nats-Msg-Id"]) for message in messages)
    return [auth_events_pb2.SessionsRevoked.FromString(message.data) for message in messages]


async def test_logout_ends_the_session_and_publishes_it(gateway: Gateway, jetstream: JetStreamContext) -> None:
    account = await gateway.account()
    await gateway.revoke(account.session_id, user=account.identity, reason="logout")
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await gateway.validate(account.token)
    assert excinfo.value.code == "session_invalid"
    [event] = await published_events(jetstream, account, 1)
    assert (event.user_id, list(event.session_ids), event.reason) == (account.user_id, [account.session_id], "logout")
    assert event.occur_time.ToSeconds() > 0


async def test_ending_a_session_twice_succeeds_and_publishes_once(
    gateway: Gateway, jetstream: JetStreamContext
) -> None:
    account = await gateway.account()
    for reason in ("", "logout", ""):
        await gateway.revoke(account.session_id, user=account.identity, reason=reason)
    again = await gateway.sign_in_again(account)
    await gateway.revoke(again.session_id, user=again.identity)
    first, second = await published_events(jetstream, account, 2)
    assert (list(first.session_ids), first.reason) == ([account.session_id], "revoked")
    assert list(second.session_ids) == [again.session_id]


async def test_a_session_of_another_user_cannot_be_ended(gateway: Gateway) -> None:
    account, other = await gateway.account(), await gateway.account()
    published = []
    for session_id in (account.session_id, str(uuid.uuid4())):
        with pytest.raises(errors.NotFound) as excinfo:
            await gateway.revoke(session_id, user=other.identity)
        published.append((excinfo.value.code, excinfo.value.message))
    assert published == [("session_not_found", published[0][1])] * 2
    assert await gateway.revoke_all(user=other.identity, keep=account.session_id) == 1
    assert (await gateway.validate(account.token)).user.user_id == account.user_id
    assert [session.session_id for session in await gateway.sessions(account.identity)] == [account.session_id]


async def test_all_sessions_end_but_the_one_to_keep(gateway: Gateway, jetstream: JetStreamContext) -> None:
    account = await gateway.account()
    others = [await gateway.login(account.email, ip_address=account.ip_address) for _ in range(3)]
    assert await gateway.revoke_all(user=account.identity, keep=account.session_id) == 3
    assert [session.session_id for session in await gateway.sessions(account.identity)] == [account.session_id]
    assert (await gateway.validate(account.token)).session.session_id == account.session_id
    for other in others:
        with pytest.raises(errors.Unauthenticated):
            await gateway.validate(other.token)
    [event] = await published_events(jetstream, account, 1)
    assert set(event.session_ids) == {other.session.session_id for other in others}
    assert event.reason == "revoked_all"
    assert await gateway.revoke_all(user=account.identity, keep=account.session_id) == 0


async def test_all_sessions_end(gateway: Gateway) -> None:
    account = await gateway.account()
    await gateway.login(account.email, ip_address=account.ip_address)
    assert await gateway.revoke_all(user=account.identity) == 2
    assert await gateway.sessions(account.identity) == []
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await gateway.revoke_all(user=account.identity)
    assert excinfo.value.code == "session_invalid"


async def test_a_new_token_and_a_verified_address_invalidate_caches(
    gateway: Gateway, jetstream: JetStreamContext, mailbox: Mailbox
) -> None:
    account = await gateway.account()
    other = await gateway.sign_in_again(account)
    await gateway.auth("Reauthenticate", user=account.identity, password=PASSWORD, ip_address=account.ip_address)
    await gateway.auth("VerifyEmail", token=await mailbox.link(account, "verify"))
    published = await published_events(jetstream, account, 2)
    assert sorted((event.reason, sorted(event.session_ids)) for event in published) == sorted(
        [("refreshed", [account.session_id]), ("refreshed", sorted([account.session_id, other.session_id]))]
    )


async def test_a_password_change_is_published_as_the_reason(gateway: Gateway, jetstream: JetStreamContext) -> None:
    account = await gateway.account()
    other = await gateway.sign_in_again(account)
    await gateway.auth(
        "ChangePassword",
        user=account.identity,
        ip_address=account.ip_address,
        current_password=PASSWORD,
        new_password="orchid-lantern-gravel",
    )
    published = {event.reason: list(event.session_ids) for event in await published_events(jetstream, account, 2)}
    assert published == {"refreshed": [account.session_id], "password_changed": [other.session_id]}


async def test_sessions_beyond_the_limit_are_published(gateway: Gateway, jetstream: JetStreamContext) -> None:
    account = await gateway.account()
    for _ in range(domain.SESSIONS_PER_USER):
        await gateway.login(account.email, ip_address=account.ip_address)
    [event] = await published_events(jetstream, account, 1)
    assert (list(event.session_ids), event.reason) == ([account.session_id], "revoked")


async def test_only_changes_are_published(gateway: Gateway, context: Context) -> None:
    account = await gateway.account()
    sent: list[int] = []

    class CountingRelay(outbox.Sender):
        def send(self, messages: Iterable[outbox.Message]) -> None:
            sent.append(len(list(messages)))

    watched = Sessions(replace(context, relay=CountingRelay()))
    actor = domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))
    assert await watched.revoke_all_sessions(actor, keep=actor.session_id) == 0
    await watched.revoke_session(actor, actor.session_id, domain.RevokeReason.LOGOUT)
    await watched.revoke_session(actor, actor.session_id, domain.RevokeReason.LOGOUT)
    assert sent == [1]


async def test_a_revocation_whose_event_fails_is_rolled_back(gateway: Gateway, context: Context, sql: Any) -> None:
    account = await gateway.account()
    actor = domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))
    await sql("ALTER TABLE auth.outbox ADD CONSTRAINT no_news CHECK (false) NOT VALID")
    try:
        with pytest.raises(exc.IntegrityError, match="no_news"):
            await Sessions(context).revoke_all_sessions(actor, keep=None)
    finally:
        await sql("ALTER TABLE auth.outbox DROP CONSTRAINT no_news")
    assert (await gateway.validate(account.token)).session.session_id == account.session_id


async def test_a_session_begun_during_a_revocation_can_be_revoked_by_it(gateway: Gateway, engine: AsyncEngine) -> None:
    account = await gateway.account()
    async with engine.begin() as conn:
        await session_storage.list_sessions(conn, uuid.UUID(account.user_id))  # the transaction's time is now
        later = await gateway.login(account.email, ip_address=account.ip_address)
        revocation = await session_storage.revoke_all_sessions(conn, uuid.UUID(account.user_id), keep=None)
    assert revocation is not None
    assert uuid.UUID(later.session.session_id) in revocation.session_ids


@pytest.mark.parametrize("session_id", ["", "x", "\x00", "{00000000-0000-0000-0000-000000000000}"])
async def test_an_invalid_id_is_refused(gateway: Gateway, session_id: str) -> None:
    account = await gateway.account()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await gateway.revoke(session_id, user=account.identity)
    assert excinfo.value.field == "session_id"
    if session_id:
        with pytest.raises(errors.InvalidArgument):
            await gateway.revoke_all(user=account.identity, keep=session_id)
