"""What users do to connections, what jobs do, and what happens when they meet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

import worker
from chassis import errors
from services.auth.connections import convert, handlers, storage, tasks
from services.auth.connections.domain import Action, JobPhase, State


async def test_youtube_is_connected_with_its_channel_and_videos(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("youtube")
    begun = await owner.begin()
    assert "access_type=offline" in begun.authorization_url
    assert "prompt=consent" in begun.authorization_url
    assert (await owner.connected()).account.name == "Ada's channel"
    connection = await owner.connection()
    assert (connection.item_count, connection.access_expires_at is not None) == (3, True)
    assert await owner.row_exists("connection_items")
    await owner.disconnect()
    assert await owner.take_back() == {"revoked": True}
    assert not await owner.row_exists("connection_items")


async def test_instagram_gets_a_lasting_token_and_cannot_take_it_back(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("instagram")
    assert (await owner.connected()).item_count == 2
    assert (await owner.tokens()).access_token.startswith("lasting-")
    await owner.disconnect()
    assert await owner.take_back() == {"revoked": False}
    assert (await owner.connection()).state is State.DISCONNECTED


async def test_an_instagram_token_is_renewed_when_it_is_a_day_old(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("instagram")
    await owner.connected()
    first = await owner.tokens()
    await owner.age("refresh_at", "60 days")
    with pytest.raises(worker.Snooze):
        await owner.refresh()
    assert await tampering.asked("/api/refresh_access_token") == []
    await shift_tokens(owner, "25 hours")
    assert await owner.refresh() == {"refreshed": True}
    assert (await owner.tokens()).access_token != first.access_token


async def shift_tokens(owner: Any, interval: str) -> None:
    """Let time pass for the tokens."""
    statement = sa.text(
        "UPDATE auth.connection_secrets SET issued_at = issued_at - CAST(:by AS interval),"
        " expires_at = expires_at - CAST(:by AS interval) WHERE user_id = :user"
    )
    async with owner.parts.engine.begin() as conn:
        await conn.execute(statement, {"by": interval, "user": owner.user_id})


async def test_demo_mode_stands_in_the_way(owner: Any) -> None:
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
        with pytest.raises(errors.NotFound) as missing:
            await call()
        assert missing.value.code == "platform_not_found"


async def test_a_connected_one_must_be_disconnected_first(owner: Any) -> None:
    await owner.connected()
    with pytest.raises(errors.FailedPrecondition) as refused:
        await owner.begin()
    assert refused.value.code == "connection_connected"
    await owner.disconnect()
    with pytest.raises(errors.FailedPrecondition) as refused:
        await owner.begin()
    assert refused.value.code == "connection_disconnecting"


async def test_disconnecting_twice_or_nothing_is_no_error(owner: Any) -> None:
    assert (await owner.disconnect()).generation == 0
    await owner.connected()
    first, second = await owner.disconnect(), await owner.disconnect()
    assert first == second
    await owner.take_back()
    assert (await owner.disconnect()).state is State.DISCONNECTED


async def test_a_disconnect_during_the_exchange_gives_back_what_came_too_late(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    context = await owner.context()
    provider = owner.parts.dependencies.providers["tampering"]
    exchange = type(provider).exchange

    async def overtaken(self: Any, code: str, transaction: Any) -> Any:
        tokens = await exchange(self, code, transaction)
        await owner.disconnect()
        return tokens

    monkeypatch.setattr(type(provider), "exchange", overtaken)
    with pytest.raises(worker.Cancelled):
        await owner.connect(context)
    [revoked] = await tampering.asked("/revoke")
    assert f"token={(await tampering.seen())['issued'][0]['refresh_token']}" in revoked["body"]
    assert (await owner.connection()).state is State.DISCONNECTING
    await owner.take_back()
    assert await owner.kept() is None


@pytest.mark.parametrize("is_taken_back", [True, False])
async def test_a_disconnect_wins_over_a_refresh_and_both_tokens_are_given_back(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    provider = owner.parts.dependencies.providers["tampering"]
    refresh = type(provider).refresh

    async def overtaken(self: Any, *given: Any) -> Any:
        tokens = await refresh(self, *given)
        await owner.disconnect()
        if is_taken_back:
            await owner.take_back()
        return tokens

    monkeypatch.setattr(type(provider), "refresh", overtaken)
    assert await owner.refresh() == {"refreshed": False}
    if not is_taken_back:
        await owner.take_back()
    assert len(await tampering.asked("/revoke")) == 2
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.kept() is None


async def test_of_two_refreshes_at_once_one_counts_and_the_refusal_of_the_other_does_not(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    provider = owner.parts.dependencies.providers["tampering"]
    refresh = type(provider).refresh
    is_inner = False

    async def overtaken(self: Any, *given: Any) -> Any:
        nonlocal is_inner
        if is_inner:
            return await refresh(self, *given)
        is_inner = True
        assert await owner.refresh() == {"refreshed": True}
        # As a provider says whose refresh tokens count once.
        await tampering.does(refuse=[{"path": "/token", "status": 400, "body": {"error": "invalid_grant"}, "times": 1}])
        return await refresh(self, *given)

    monkeypatch.setattr(type(provider), "refresh", overtaken)
    with pytest.raises(worker.Cancelled):
        await owner.refresh()
    assert (await owner.connection()).state is State.CONNECTED
    assert await tampering.asked("/revoke") == []


async def test_a_refresh_that_is_refused_for_good_fails_the_connection(owner: Any, tampering: Any) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    await tampering.does(refuse=[{"path": "/token", "status": 400, "body": {"error": "invalid_grant"}, "times": 1}])
    with pytest.raises(worker.JobFailed) as refused:
        await owner.refresh()
    assert not refused.value.retryable
    failed = await owner.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "reauthorization_required")
    assert failed.account is not None
    assert await owner.kept() is None
    assert (await owner.returned()).state is State.CONNECTING


@pytest.mark.parametrize(
    "refusal",
    [{"status": 503}, {"status": 429}, {"status": 401, "body": {"error": "invalid_client"}}, {"hang": True}],
    ids=str,
)
async def test_a_refresh_that_may_go_well_later_keeps_the_access(
    owner: Any, tampering: Any, refusal: dict[str, Any]
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    before = await owner.tokens()
    await tampering.does(refuse=[{"path": "/token", "times": 1, **refusal}])
    with pytest.raises(worker.JobFailed) as later:
        await owner.refresh()
    assert later.value.retryable
    assert (await owner.connection()).state is State.CONNECTED
    assert await owner.tokens() == before
    assert await owner.refresh() == {"refreshed": True}


async def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(owner: Any, tampering: Any) -> None:
    await owner.connected()
    before = await owner.tokens()
    await owner.age("refresh_at", "1 day")
    await tampering.does(without=["refresh_token"])
    assert await owner.refresh() == {"refreshed": True}
    after = await owner.tokens()
    assert after.refresh_token == before.refresh_token
    assert after.access_token != before.access_token


async def test_access_that_cannot_be_renewed_ends_with_a_reason(owner: Any, tampering: Any) -> None:
    await tampering.does(without=["refresh_token"])
    connection = await owner.connected()
    assert connection.refresh_at == connection.access_expires_at
    await owner.age("refresh_at", "1 day")
    with pytest.raises(worker.JobFailed):
        await owner.refresh()
    assert (await owner.connection()).error.code == "reauthorization_required"


async def test_a_refresh_of_an_older_generation_changes_nothing(owner: Any) -> None:
    first = await owner.connected()
    await owner.disconnect()
    await owner.take_back()
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    assert await owner.refresh(first.generation) == {"refreshed": False}


async def test_an_account_belongs_to_one_user_and_the_other_keeps_it(
    owner: Any, tampering: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    await owner.connected()
    other = await new_owner()
    await other.returned()
    with pytest.raises(worker.JobFailed):
        await other.connect()
    failed = await other.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "account_already_connected")
    assert await other.kept() is None
    assert await tampering.asked("/revoke") == [], "revoking would end the access of the other user"
    await owner.disconnect()
    await owner.take_back()
    await other.connected()


@pytest.mark.parametrize(
    ("refusal", "attempts"), [({"status": 503, "times": 99}, 4), ({"status": 400, "times": 99}, 1)], ids=str
)
async def test_secrets_go_even_if_the_platform_takes_nothing_back(
    owner: Any, tampering: Any, refusal: dict[str, Any], attempts: int
) -> None:
    await owner.connected()
    await owner.disconnect()
    await tampering.does(refuse=[{"path": "/revoke", **refusal}])
    for attempt in range(1, attempts):
        with pytest.raises(worker.JobFailed):
            await owner.take_back(await owner.context(attempt=attempt))
        assert await owner.kept()
    assert await owner.take_back(await owner.context(attempt=attempts)) == {"revoked": False}
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.kept() is None


async def test_a_job_that_is_cancelled_gives_back_what_it_got(owner: Any, tampering: Any) -> None:
    await tampering.does(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    context = await owner.context(attempt=2)
    context.cancelled.set()
    with pytest.raises(worker.Cancelled):
        await owner.connect(context)
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.kept() is None
    assert len(await tampering.asked("/revoke")) == 1


async def test_a_later_attempt_goes_on_with_the_tokens_it_finds(owner: Any, tampering: Any) -> None:
    await tampering.does(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
    await owner.returned()
    with pytest.raises(worker.JobFailed):
        await owner.connect()
    await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).state is State.CONNECTED
    assert len(await tampering.asked("/token")) == 1


async def test_a_code_is_not_sent_again_by_the_attempt_after_a_worker_that_died(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    provider = owner.parts.dependencies.providers["tampering"]
    exchange = type(provider).exchange

    async def dies(self: Any, *given: Any) -> Any:
        await exchange(self, *given)
        raise RuntimeError("the worker dies here")

    monkeypatch.setattr(type(provider), "exchange", dies)
    with pytest.raises(RuntimeError):
        await owner.connect()
    monkeypatch.setattr(type(provider), "exchange", exchange)
    with pytest.raises(worker.JobFailed):
        await owner.connect(await owner.context(attempt=2))
    assert (await owner.connection()).error.code == "consent_expired"
    assert len(await tampering.asked("/token")) == 1


async def test_an_attempt_that_is_overtaken_within_the_exchange_keeps_nothing(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.returned()
    first, second = await owner.context(attempt=1), await owner.context(attempt=2)
    provider = owner.parts.dependencies.providers["tampering"]
    exchange = type(provider).exchange

    async def overtaken(self: Any, *given: Any) -> Any:
        tokens = await exchange(self, *given)
        async with owner.parts.engine.begin() as conn:
            await storage.begin_attempt(conn, tasks.fence_of(second))
        return tokens

    monkeypatch.setattr(type(provider), "exchange", overtaken)
    with pytest.raises(worker.Cancelled):
        await owner.connect(first)
    assert (await owner.kept()).tokens is None
    assert len(await tampering.asked("/revoke")) == 1


async def test_a_zombie_attempt_changes_nothing(owner: Any) -> None:
    await owner.returned()
    zombie = await owner.context(attempt=1)
    async with owner.parts.engine.begin() as conn:
        await storage.begin_attempt(conn, tasks.fence_of(await owner.context(attempt=2)))
    with pytest.raises(worker.Cancelled):
        await owner.connect(zombie)
    assert (await owner.connection()).state is State.CONNECTING


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (JobPhase.FAILED, State.FAILED),
        (JobPhase.CANCELLED, State.DISCONNECTED),
        (JobPhase.COMPLETED, State.FAILED),
        (JobPhase.UNDER_WAY, State.CONNECTING),
    ],
)
async def test_the_end_of_a_connect_job_is_settled_once(owner: Any, phase: JobPhase, state: State) -> None:
    await owner.returned()
    news = await owner.news(phase)
    settled = await owner.parts.settlement.settle(news)
    assert settled.state is state
    assert await owner.parts.settlement.settle(news) == settled
    assert (await owner.kept() is None) == (state is not State.CONNECTING)


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED, JobPhase.COMPLETED])
async def test_however_a_disconnect_job_ends_the_secrets_are_gone(owner: Any, phase: JobPhase) -> None:
    await owner.connected()
    await owner.disconnect()
    assert (await owner.parts.settlement.settle(await owner.news(phase))).state is State.DISCONNECTED
    assert await owner.kept() is None


async def test_news_of_an_older_generation_changes_nothing(owner: Any) -> None:
    await owner.returned()
    late = await owner.news(JobPhase.FAILED)
    await owner.returned()
    assert (await owner.parts.settlement.settle(late)).is_moving


async def test_a_change_counts_for_its_own_generation_only(owner: Any) -> None:
    older = await owner.returned()
    newer = await owner.returned()
    async with owner.parts.engine.begin() as conn:
        assert await storage.move(conn, older, Action.CANCEL_CONNECT) is None
        assert await storage.move(conn, newer, Action.CANCEL_CONNECT) is not None


async def test_who_does_not_come_back_is_disconnected_by_reading_or_by_the_schedule(
    owner: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    other = await new_owner()
    for one in (owner, other):
        await one.begin()
        assert (await one.parts.operations.get(one.user_id, one.platform)).is_away
        await one.age("changed_at", "10 minutes")
    assert (await owner.parts.operations.get(owner.user_id, owner.platform)).state is State.DISCONNECTED
    await handlers.abandon(other.parts.settlement, worker.Context.for_test())
    assert (await other.connection()).state is State.DISCONNECTED
    for one in (owner, other):
        assert [reason for reason, _ in await one.told()] == ["connect_begun", "abandoned"]
        assert not await one.row_exists("connection_authorizations")


async def test_a_job_that_is_refused_for_ever_ends_its_transition(owner: Any) -> None:
    moving = await owner.returned()
    await owner.parts.submits.rejected(convert.submit_to_proto(moving))
    failed = await owner.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "job_rejected")
    moving = await owner.disconnect()
    await owner.parts.submits.rejected(convert.submit_to_proto(moving))
    assert (await owner.connection()).state is State.DISCONNECTED


async def test_lists_have_every_platform_in_the_order_of_the_settings(owner: Any) -> None:
    await owner.connected()
    found = await owner.parts.operations.list(owner.user_id)
    assert [(one.platform, one.state is State.CONNECTED) for one in found] == [
        ("honest", False),
        ("tampering", True),
        ("youtube", False),
        ("instagram", False),
    ]


async def test_what_is_due_gets_one_job_and_is_left_alone_for_a_minute(owner: Any) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    submitted: list[Any] = []

    async def submit(new: Any) -> list[Any]:
        found = list(new)
        submitted.extend(found)
        return [worker.Submitted(job_id=one.job_id, created=True, served=True, state="pending") for one in found]

    for _ in range(2):
        await handlers.refresh_due(owner.parts.dependencies, submit, worker.Context.for_test())
    mine = [one for one in submitted if one.spec.payload["user_id"] == str(owner.user_id)]
    assert len(mine) == 1
    assert mine[0].spec.owner_id == worker.SYSTEM
    assert mine[0].spec.unique_key
