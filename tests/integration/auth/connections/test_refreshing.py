"""Refreshes of access: in time, refused, concurrent."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

import worker
from services.auth.connections.domain import State
from services.auth.connections.handlers import due
from services.auth.connections.providers.outbound import Outbound
from worker import testing


async def test_an_instagram_token_is_renewed_when_it_is_a_day_old(new_owner: Any, tampering: Any) -> None:
    owner = await new_owner("instagram")
    await owner.connected()
    first = await owner.tokens()
    await owner.age("refresh_at", "60 days")
    with pytest.raises(worker.Snooze):
        await owner.refresh()
    assert await tampering.requests_to("/api/refresh_access_token") == []
    await shift_tokens(owner, "25 hours")
    assert await owner.refresh() == {"refreshed": True}
    assert (await owner.tokens()).access_token != first.access_token


async def shift_tokens(owner: Any, interval: str) -> None:
    """Move the times of the tokens into the past."""
    statement = sa.text(
        "UPDATE auth.connection_secrets SET issued_at = issued_at - CAST(:by AS interval),"
        " expires_at = expires_at - CAST(:by AS interval) WHERE user_id = :user"
    )
    async with owner.parts.engine.begin() as conn:
        await conn.execute(statement, {"by": interval, "user": owner.user_id})


async def test_slower_refresh_does_not_replace_the_tokens_of_the_faster_one(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    faster = []

    async def refresh_again() -> None:
        assert await owner.refresh() == {"refreshed": True}
        faster.append(await owner.tokens())

    owner.after_response(monkeypatch, "refresh", refresh_again)
    assert await owner.refresh() == {"refreshed": False}
    assert await owner.tokens() == faster[0]


@pytest.mark.parametrize("is_taken_back", [True, False])
async def test_disconnect_wins_over_a_refresh_and_both_tokens_are_revoked(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")

    async def end() -> None:
        await owner.disconnect()
        if is_taken_back:
            await owner.take_back()

    owner.after_response(monkeypatch, "refresh", end)
    assert await owner.refresh() == {"refreshed": False}
    if not is_taken_back:
        await owner.take_back()
    assert len(await tampering.requests_to("/revoke")) == 2
    assert (await owner.connection()).state is State.DISCONNECTED
    assert await owner.stored() is None


async def test_late_tokens_that_the_platform_does_not_revoke_now_are_revoked_later(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = await owner.connected()
    await owner.age("refresh_at", "1 day")

    async def end() -> None:
        await owner.disconnect()
        await owner.take_back()
        await tampering.misbehave(refuse=[{"path": "/revoke", "status": 503, "times": 1}])

    owner.after_response(monkeypatch, "refresh", end)
    assert await owner.refresh() == {"refreshed": False}
    assert (await owner.submitted())[-1] == "auth.revoke-tokens"
    assert await owner.revoke_tokens(connected.generation) == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 2


async def test_one_of_two_concurrent_refreshes_counts_and_the_other_refusal_is_ignored(
    owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    provider = owner.parts.dependencies.providers["tampering"]
    refresh = type(provider).refresh
    is_inner = False

    async def superseded(self: Any, *arguments: Any) -> Any:
        nonlocal is_inner
        if is_inner:
            return await refresh(self, *arguments)
        is_inner = True
        assert await owner.refresh() == {"refreshed": True}
        # As a provider says whose refresh tokens count once.
        await tampering.misbehave(
            refuse=[{"path": "/token", "status": 400, "body": {"error": "invalid_grant"}, "times": 1}]
        )
        return await refresh(self, *arguments)

    monkeypatch.setattr(type(provider), "refresh", superseded)
    with pytest.raises(worker.Cancelled):
        await owner.refresh()
    assert (await owner.connection()).state is State.CONNECTED
    assert await tampering.requests_to("/revoke") == []


async def test_refused_refresh_fails_the_connection(owner: Any, tampering: Any) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    await tampering.misbehave(
        refuse=[{"path": "/token", "status": 400, "body": {"error": "invalid_grant"}, "times": 1}]
    )
    with pytest.raises(worker.JobFailed) as excinfo:
        await owner.refresh()
    assert not excinfo.value.retryable
    failed = await owner.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "reauthorization_required")
    assert failed.account is not None
    assert await owner.stored() is None
    assert (await owner.returned()).state is State.CONNECTING


@pytest.mark.parametrize(
    "refusal",
    [{"status": 503}, {"status": 429}, {"status": 401, "body": {"error": "invalid_client"}}, {"hang": True}],
    ids=str,
)
async def test_retryable_refresh_keeps_the_access(
    owner: Any, tampering: Any, http: Outbound, monkeypatch: pytest.MonkeyPatch, refusal: dict[str, Any]
) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    before = await owner.tokens()
    await tampering.misbehave(refuse=[{"path": "/token", "times": 1, **refusal}])
    with pytest.raises(worker.JobFailed) as later, monkeypatch.context() as patched:
        if "hang" in refusal:
            patched.setattr(http, "_timeout", 1.0)
        await owner.refresh()
    assert later.value.retryable
    assert (await owner.connection()).state is State.CONNECTED
    assert await owner.tokens() == before
    assert await owner.refresh() == {"refreshed": True}


async def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(owner: Any, tampering: Any) -> None:
    await owner.connected()
    before = await owner.tokens()
    await owner.age("refresh_at", "1 day")
    await tampering.misbehave(without=["refresh_token"])
    assert await owner.refresh() == {"refreshed": True}
    after = await owner.tokens()
    assert after.refresh_token == before.refresh_token
    assert after.access_token != before.access_token


async def test_access_that_cannot_be_renewed_ends_with_a_reason(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(without=["refresh_token"])
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


async def test_due_connection_gets_one_refresh_job_per_minute(owner: Any) -> None:
    await owner.connected()
    await owner.age("refresh_at", "1 day")
    submitted: list[Any] = []

    async def submit(new: Any) -> list[Any]:
        jobs = list(new)
        submitted.extend(jobs)
        return [worker.SubmittedJob(job_id=job.job_id, created=True, has_worker=True, state="pending") for job in jobs]

    for _ in range(2):
        await due.refresh_due(owner.parts.dependencies, submit, testing.RecordingContext())
    own_jobs = [job for job in submitted if job.spec.payload["user_id"] == str(owner.user_id)]
    assert len(own_jobs) == 1
    assert own_jobs[0].spec.owner_id == worker.SYSTEM
    assert own_jobs[0].spec.unique_key


async def test_connection_that_stays_due_gets_fewer_and_fewer_jobs(owner: Any) -> None:
    await owner.connected()

    async def jobs_after(interval: str) -> int:
        """Return how many jobs the connection gets after a time in which nothing renewed it."""
        for column in ("refresh_at", "checked_at"):
            await owner.age(column, interval)
        submitted: list[Any] = []

        async def submit(new: Any) -> list[Any]:
            submitted.extend(new)
            return []

        await due.refresh_due(owner.parts.dependencies, submit, testing.RecordingContext())
        return [job.spec.payload["user_id"] for job in submitted].count(str(owner.user_id))

    await owner.age("refresh_at", "1 day")
    connection = await owner.connection()
    await owner.age("refresh_at", f"{(connection.refresh_at - connection.changed_at).total_seconds()} seconds")
    # A short outage of the platform costs little access.
    assert [await jobs_after("0"), await jobs_after("61 seconds"), await jobs_after("61 seconds")] == [1, 1, 1]
    await owner.age("refresh_at", "1 hour")
    assert [await jobs_after("14 minutes"), await jobs_after("2 minutes")] == [0, 1]
    await owner.age("refresh_at", "30 days")
    assert [await jobs_after("59 minutes"), await jobs_after("2 minutes")] == [0, 1]


async def test_account_and_items_of_a_connection_are_refreshed_daily(
    new_owner: Any, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await new_owner("youtube")
    assert (await owner.connected()).item_count == 3
    provider = type(owner.parts.dependencies.providers["youtube"])
    items = provider.items

    async def fewer(self: Any, *arguments: Any) -> Any:
        return (await items(self, *arguments))[:1]

    monkeypatch.setattr(provider, "items", fewer)
    assert await owner.refresh() == {"refreshed": False}
    await owner.age("synced_at", "25 hours")
    await tampering.misbehave(refuse=[{"path": "/api/channels", "status": 503, "times": 1}])
    assert await owner.refresh() == {"refreshed": False, "synced": False}
    assert (await owner.connection()).item_count == 3
    assert await owner.refresh() == {"refreshed": False, "synced": True}
    synced = await owner.connection()
    assert (synced.state, synced.item_count) == (State.CONNECTED, 1)
    assert (await owner.published_events())[-1] == ("synced", synced.version)
    assert await owner.refresh() == {"refreshed": False}


async def test_stale_connection_gets_at_most_one_job_per_hour(owner: Any) -> None:
    await owner.connected()
    submitted: list[Any] = []

    async def submit(new: Any) -> list[Any]:
        submitted.extend(new)
        return []

    await owner.age("synced_at", "25 hours")
    for _ in range(2):
        await due.refresh_due(owner.parts.dependencies, submit, testing.RecordingContext())
    assert [job.spec.payload["user_id"] for job in submitted].count(str(owner.user_id)) == 1


@pytest.mark.parametrize("misdeed", [{"without": ["expires_in"]}, {"tokens": {"expires_in": "3600.5"}}], ids=str)
async def test_access_is_renewed_also_if_the_platform_does_not_tell_its_end_as_a_number(
    owner: Any, tampering: Any, misdeed: dict[str, Any]
) -> None:
    await tampering.misbehave(**misdeed)
    connection = await owner.connected()
    assert connection.refresh_at is not None
    await owner.age("refresh_at", "1 hour")
    assert await owner.refresh() == {"refreshed": True}
    assert (await owner.connection()).refresh_at is not None


async def test_access_without_end_that_the_platform_has_ended_fails_the_connection(owner: Any, tampering: Any) -> None:
    await tampering.misbehave(without=["refresh_token", "expires_in"])
    assert (await owner.connected()).refresh_at is None
    await owner.age("synced_at", "25 hours")
    for status, state in ((403, State.CONNECTED), (401, State.FAILED)):
        await tampering.misbehave(refuse=[{"path": "/userinfo", "status": status, "times": 1}])
        if state is State.FAILED:
            with pytest.raises(worker.JobFailed):
                await owner.refresh()
        else:
            assert await owner.refresh() == {"refreshed": False, "synced": False}
        assert (await owner.connection()).state is state
    assert (await owner.connection()).error.code == "reauthorization_required"
