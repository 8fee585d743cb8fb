"""Access that must end: of disabled accounts, at removed platforms, of jobs whose end was lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

import worker
from lifecycle.machine import JobPhase
from services.auth import domain as accounts
from services.auth.connections.domain import State
from services.auth.connections.handlers import maintenance, revoke_tokens
from worker import testing

OLDER = (
    "UPDATE auth.connection_pending_revocations SET set_aside_at = set_aside_at - CAST(:by AS interval),"
    " submitted_at = submitted_at - CAST(:by AS interval) WHERE user_id = :id"
)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a connection whose connect job got tokens and whose end was lost, in the way that the test names."""

    async def end(owner: Any, tampering: Any, phase: JobPhase) -> None:
        await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 503, "times": 1}])
        await owner.returned()
        with pytest.raises(worker.JobFailed):
            await owner.connect()
        assert (await owner.tokens()).access_token
        await owner.settle(await owner.update(phase))

    return end


async def run_maintenance(owner: Any) -> tuple[dict[str, int], list[Any]]:
    """Run the hourly job; return its counts and its submitted jobs."""
    submitted: list[Any] = []

    async def submit(new: Any) -> list[Any]:
        submitted.extend(new)
        return []

    return await maintenance.maintain(owner.parts.dependencies, submit, testing.RecordingContext()), submitted


async def execute(owner: Any, statement: str, **values: Any) -> Any:
    async with owner.parts.engine.begin() as conn:
        return await conn.execute(sa.text(statement), values)


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED])
async def test_tokens_of_a_connect_whose_end_was_lost_are_revoked(
    owner: Any, tampering: Any, ended: Any, phase: JobPhase
) -> None:
    await ended(owner, tampering, phase)
    assert await owner.stored() is None
    assert await owner.submitted() == ["auth.connect", "auth.revoke-tokens"]
    await tampering.misbehave(refuse=[{"path": "/revoke", "status": 503, "times": 1}])
    with pytest.raises(worker.JobFailed) as excinfo:
        await owner.revoke_tokens()
    assert excinfo.value.retryable
    assert await owner.revoke_tokens() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 2
    assert await owner.revoke_tokens() == {"revoked": False}
    assert not await owner.row_exists("connection_pending_revocations")


async def test_tokens_of_a_disconnect_whose_end_was_lost_are_revoked(owner: Any, tampering: Any) -> None:
    await owner.connected()
    await owner.disconnect()
    await owner.settle(await owner.update(JobPhase.CANCELLED))
    assert (await owner.submitted())[-1] == "auth.revoke-tokens"
    assert await owner.revoke_tokens() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 1


async def test_pending_revocation_waits_for_a_new_connect_and_keeps_its_access(
    owner: Any, tampering: Any, ended: Any
) -> None:
    await ended(owner, tampering, JobPhase.FAILED)
    failed = await owner.connection()
    payload = {"user_id": str(owner.user_id), "platform": owner.platform, "generation": failed.generation}
    context = testing.RecordingContext(payload)
    await owner.begin()
    with pytest.raises(worker.Snooze):
        await revoke_tokens.revoke_tokens(owner.parts.dependencies, context)
    await owner.connected()
    assert await revoke_tokens.revoke_tokens(owner.parts.dependencies, context) == {"revoked": False}
    assert await tampering.requests_to("/revoke") == []
    assert not await owner.row_exists("connection_pending_revocations")


async def test_tokens_of_another_account_than_the_one_connected_since_are_revoked(
    owner: Any, tampering: Any, ended: Any
) -> None:
    await ended(owner, tampering, JobPhase.FAILED)
    failed = await owner.connection()
    await tampering.misbehave(external_id="another account")
    await owner.connected()
    refresh_token = (await owner.tokens()).refresh_token
    # The tokens that were set aside show their own account.
    await tampering.misbehave()
    assert await owner.revoke_tokens(failed.generation) == {"revoked": True}
    [revoked] = await tampering.requests_to("/revoke")
    assert refresh_token not in revoked["body"]
    assert not await owner.row_exists("connection_pending_revocations")


async def test_pending_revocations_are_submitted_again_and_deleted_after_a_week(
    owner: Any, tampering: Any, ended: Any
) -> None:
    await ended(owner, tampering, JobPhase.FAILED)

    async def own_kinds() -> list[str]:
        _, submitted = await run_maintenance(owner)
        return [job.spec.kind for job in submitted if job.spec.payload["user_id"] == str(owner.user_id)]

    assert await own_kinds() == []
    age = 0.0
    for _ in range(8):
        # The pause doubles up to a day.
        pause = min(max(1.0, age), 24.0)
        await execute(owner, OLDER, by=f"{0.9 * pause} hours", id=owner.user_id)
        assert await own_kinds() == []
        await execute(owner, OLDER, by=f"{0.2 * pause} hours", id=owner.user_id)
        assert await own_kinds() == ["auth.revoke-tokens"]
        age += 1.1 * pause
    assert 3 * 24 < age < 7 * 24
    await execute(owner, OLDER, by="7 days", id=owner.user_id)
    assert await own_kinds() == []
    assert not await owner.row_exists("connection_pending_revocations")


async def test_newer_pending_revocations_do_not_starve_older_ones(
    owner: Any, tampering: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(owner, tampering, JobPhase.FAILED)
    columns = "platform, sealed_access_token, sealed_refresh_token, subject"
    copies = (
        f"INSERT INTO auth.connection_pending_revocations (user_id, {columns}, generation, set_aside_at, submitted_at)"
        f" SELECT user_id, {columns}, generation + n, set_aside_at + n * interval '1 second',"
        " submitted_at + n * interval '1 second'"
        " FROM auth.connection_pending_revocations, generate_series(1, 5) n WHERE user_id = :id"
    )
    await execute(owner, OLDER, by="2 hours", id=owner.user_id)
    await execute(owner, copies, id=owner.user_id)
    monkeypatch.setattr(maintenance, "BATCH", 2)
    oldest = (await owner.connection()).generation

    async def own_generations() -> list[int]:
        _, submitted = await run_maintenance(owner)
        payloads = [job.spec.payload for job in submitted if job.spec.payload["user_id"] == str(owner.user_id)]
        return sorted(int(payload["generation"]) - oldest for payload in payloads)

    # One call submits all, in batches.
    assert await own_generations() == [0, 1, 2, 3, 4, 5]
    # The pause is the age at the last submit: two hours and what this test has taken until then.
    await execute(owner, OLDER, by="3 hours", id=owner.user_id)
    in_order = (
        "UPDATE auth.connection_pending_revocations SET submitted_at = submitted_at + generation * interval '1 second'"
    )
    await execute(owner, in_order + " WHERE user_id = :id", id=owner.user_id)
    monkeypatch.setattr(maintenance, "ROUNDS", 1)
    assert [await own_generations() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]


async def test_unreadable_tokens_fail_their_job_and_are_deleted_after_a_week(
    owner: Any, tampering: Any, ended: Any
) -> None:
    await ended(owner, tampering, JobPhase.FAILED)
    spoil = "UPDATE auth.connection_pending_revocations SET subject = subject, sealed_access_token ="
    spoil += " overlay(sealed_access_token placing '\\x0000'::bytea from octet_length(sealed_access_token) - 1)"
    await execute(owner, spoil + " WHERE user_id = :id", id=owner.user_id)
    with pytest.raises(worker.JobFailed) as excinfo:
        await owner.revoke_tokens()
    assert (excinfo.value.code, excinfo.value.retryable) == ("tokens_unreadable", False)
    assert await owner.row_exists("connection_pending_revocations")
    await execute(owner, OLDER, by="8 days", id=owner.user_id)
    await run_maintenance(owner)
    assert not await owner.row_exists("connection_pending_revocations")


async def test_disabling_an_account_revokes_its_access_and_enabling_does_not_connect_it(
    owner: Any, tampering: Any, new_owner: Any
) -> None:
    other = await new_owner()
    await owner.connected()
    away = owner.at("youtube")
    await away.begin()
    async with owner.parts.dependencies.transaction() as tx:
        admin = accounts.Actor(user_id=other.user_id, session_id=other.session_id)
        await maintenance.end_of_user(tx, owner.parts.dependencies.effects, owner.user_id, admin)
    assert [(await connected.connection()).state for connected in (owner, away)] == [State.DISCONNECTING] * 2
    assert (await owner.published_events())[-1][0] == "account_disabled"
    assert ("disconnected", "account_disabled") in await owner.recorded()
    assert (await owner.submitted())[-1] == "auth.disconnect"
    assert await owner.take_back() == {"revoked": True}
    assert len(await tampering.requests_to("/revoke")) == 1


async def test_disabled_account_with_a_valid_identity_can_neither_begin_nor_finish(owner: Any) -> None:
    values = await owner.consented()
    await execute(owner, "UPDATE auth.users SET disabled_at = now() WHERE user_id = :id", id=owner.user_id)
    with pytest.raises(accounts.SessionInvalid):
        await owner.come_back(values)
    with pytest.raises(accounts.SessionInvalid):
        await owner.begin()
    assert (await owner.connection()).awaits_consent


async def test_remaining_access_of_a_disabled_account_ends_within_the_hour(owner: Any) -> None:
    await owner.connected()
    await execute(owner, "UPDATE auth.users SET disabled_at = now() WHERE user_id = :id", id=owner.user_id)
    done, _ = await run_maintenance(owner)
    assert done["account_disabled"] >= 1
    assert (await owner.connection()).state is State.DISCONNECTING


async def test_platform_removed_for_a_day_is_disconnected_and_its_tokens_revoked(
    owner: Any, tampering: Any, parts: Any
) -> None:
    await owner.connected()
    others = parts.dependencies.offered - {"tampering"}
    without_platform = replace(owner, parts=replace(parts, dependencies=replace(parts.dependencies, offered=others)))
    await run_maintenance(owner)
    await run_maintenance(without_platform)
    assert (await owner.connection()).state is State.CONNECTED, "it may be missing by mistake"
    older = "UPDATE auth.connection_platforms SET offered_at = now() - interval '25 hours' WHERE platform = 'tampering'"
    await execute(owner, older)
    done, _ = await run_maintenance(without_platform)
    assert done["platform_withdrawn"] >= 1
    assert ("disconnected", "platform_withdrawn") in await owner.recorded()
    assert await without_platform.take_back() == {"revoked": True}
    assert await owner.stored() is None
    await run_maintenance(owner)


async def test_connection_of_a_platform_without_settings_is_deleted(owner: Any, tampering: Any, parts: Any) -> None:
    await owner.connected()
    await owner.disconnect()
    unknown = replace(owner, parts=replace(parts, dependencies=replace(parts.dependencies, providers={})))
    assert await unknown.take_back() == {"revoked": False}
    assert await owner.stored() is None
    assert (await owner.connection()).state is State.DISCONNECTED


async def test_access_at_a_removed_platform_is_shown_and_can_be_ended(owner: Any, parts: Any) -> None:
    await owner.connected()
    without = {name: entry for name, entry in parts.dependencies.providers.items() if name != "tampering"}
    parts.operations._providers = without
    assert [entry.platform for entry in await parts.operations.list(owner.user_id)][-1] == "tampering"
    assert (await parts.operations.get(owner.user_id, "tampering")).state is State.CONNECTED
    assert (await owner.disconnect()).state is State.DISCONNECTING
    await owner.take_back()
    assert "tampering" not in [entry.platform for entry in await parts.operations.list(owner.user_id)]
