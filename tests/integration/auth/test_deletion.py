"""Deletion of accounts: the request, its cancellation, and the job that erases an account."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, timedelta
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

import worker
from chassis import errors, ids, streams
from provision import streams as provision_streams
from repruv.jobs.v1.jobs_service_pb2 import EraseOwnerResponse
from services.auth.connections.effects import Effects
from services.auth.context import Context
from services.auth.deletion import handlers, jobs, storage
from tests.integration.auth.client import Account, Gateway, new_address
from tests.integration.auth.mailbox import Mailbox
from worker import testing


class Engine:
    """Stands in for the jobs service: erases owners in a given number of calls, or by the answers of the test."""

    def __init__(self) -> None:
        self.incomplete = 0
        self.answers: list[EraseOwnerResponse | Exception] = []
        self.positions: list[str] = []
        self.erased: list[tuple[str, list[str]]] = []
        self.submitted: list[str] = []

    async def erase_owner(self, owner_id: str, texts: Iterable[str], *, after_job_id: str = "") -> EraseOwnerResponse:
        """Erase an owner."""
        self.erased.append((owner_id, list(texts)))
        self.positions.append(after_job_id)
        if self.answers:
            if isinstance(answer := self.answers.pop(0), Exception):
                raise answer
            return answer
        self.incomplete -= 1
        return EraseOwnerResponse(is_complete=self.incomplete < 0)

    async def submit_many(self, new_jobs: Iterable[worker.NewJob]) -> list[Any]:
        """Accept jobs."""
        self.submitted += [job.spec.unique_key for job in new_jobs]
        return []


@pytest.fixture
async def engine_of_jobs() -> AsyncIterator[Engine]:
    """The stand-in of the jobs service."""
    yield Engine()


@pytest.fixture
def erasure(context: Context, engine_of_jobs: Engine) -> handlers.Erasure:
    """The handlers, which do not wait for identities to expire."""
    assert context.relay is not None
    return handlers.Erasure(
        engine=context.engine,
        relay=context.relay,
        effects=Effects({}),
        jobs_client=engine_of_jobs,  # type: ignore[arg-type]
        settle=timedelta(),
        wait=timedelta(seconds=1),
    )


@pytest.fixture
def overdue(sql: Callable[..., Any]) -> Callable[[Account], Any]:
    """End the grace period of an account; return the id of its deletion."""

    async def end(account: Account) -> str:
        statement = "UPDATE auth.users SET deletion_due_at = now() WHERE user_id = :user RETURNING deletion_id"
        return str((await sql(statement, user=account.user_id))[0].deletion_id)

    return end


async def request(gateway: Gateway, account: Account, email: str = "") -> Any:
    return (await gateway.auth("RequestDeletion", user=account.identity, email=email or account.email)).user


async def run(erasure: handlers.Erasure, deletion_id: str, **options: Any) -> tuple[Any, testing.RecordingContext]:
    context = testing.RecordingContext({"deletion_id": deletion_id}, owner_id=worker.SYSTEM, **options)
    return await erasure.erase(context, jobs.Payload(deletion_id)), context


def child(state: Literal["completed", "failed"]) -> worker.Child:
    job_id = str(ids.uuid7())
    return worker.Child(job_id=job_id, kind="demo.erase", state=state, payload={}, result=None, error_code="")


async def test_request_needs_the_address_and_ends_all_other_sessions(gateway: Gateway) -> None:
    account = await gateway.account()
    other = await gateway.sign_in_again(account)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await request(gateway, account, "other@example.org")
    assert excinfo.value.field == "email"
    assert await gateway.is_valid(other.token)
    user = await request(gateway, account, f" {account.email.upper()} ")
    assert 13.9 < (user.deletion_time.ToDatetime() - user.create_time.ToDatetime()) / timedelta(days=1) < 14.1
    assert await gateway.is_valid(account.token)
    assert not await gateway.is_valid(other.token)
    assert await request(gateway, account) == user
    signed_in = await gateway.login(account.email, ip_address=account.ip_address)
    assert signed_in.user.deletion_time == user.deletion_time


async def test_request_needs_a_fresh_session(gateway: Gateway, shift: Callable[..., Any]) -> None:
    account = await gateway.account()
    await shift(account.session_id, timedelta(minutes=11))
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await request(gateway, account)
    assert excinfo.value.code == "reauthentication_required"


async def test_admin_account_is_not_deleted(gateway: Gateway, admin: Account, sql: Callable[..., Any]) -> None:
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await request(gateway, admin)
    assert excinfo.value.code == "admin_account"
    with pytest.raises(exc.IntegrityError):
        statement = "UPDATE auth.users SET deletion_id = :id, deletion_due_at = now() WHERE user_id = :user"
        await sql(statement, id=uuid.uuid4(), user=admin.user_id)
    account = await gateway.account()
    await request(gateway, account)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await gateway.admin("SetUserRole", user=admin.identity, user_id=account.user_id, role=2)
    assert excinfo.value.code == "deletion_pending"


async def test_user_cancels_the_deletion(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await request(gateway, account)
    user = (await gateway.auth("CancelDeletion", user=account.identity)).user
    assert not user.HasField("deletion_time")
    assert await gateway.validate(account.token)
    assert "Your account will not be deleted" in (await mailbox.deliver(account, "notice"))["Subject"]


async def test_emailed_link_cancels_once_without_a_session(gateway: Gateway, mailbox: Mailbox) -> None:
    account = await gateway.account()
    await request(gateway, account)
    token = await mailbox.link(account, "deletion")
    await gateway.auth("CancelDeletionByLink", token=token, ip_address=new_address())
    assert not (await gateway.validate(account.token)).user.HasField("deletion_time")
    for bad in (token, "", "rpl_x"):
        with pytest.raises(errors.InvalidArgument) as excinfo:
            await gateway.auth("CancelDeletionByLink", token=bad)
        assert excinfo.value.code == "token_invalid"


async def test_cancelled_or_early_deletion_erases_nothing(
    gateway: Gateway, erasure: handlers.Erasure, overdue: Callable[[Account], Any], sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    await request(gateway, account)
    [row] = await sql("SELECT deletion_id FROM auth.users WHERE user_id = :user", user=account.user_id)
    assert (await run(erasure, str(row.deletion_id)))[0] == {"outcome": "nothing_to_erase"}
    deletion_id = await overdue(account)
    await gateway.auth("CancelDeletion", user=account.identity)
    assert (await run(erasure, deletion_id))[0] == {"outcome": "nothing_to_erase"}
    assert await gateway.is_valid(account.token)


async def test_erasing_waits_for_identities_and_for_the_demo_service(
    gateway: Gateway,
    erasure: handlers.Erasure,
    engine_of_jobs: Engine,
    overdue: Callable[[Account], Any],
    admin: Account,
    context: Context,
) -> None:
    account = await gateway.account()
    await request(gateway, account)
    deletion_id = await overdue(account)
    assert context.relay is not None
    waiting = handlers.Erasure(
        engine=context.engine,
        relay=context.relay,
        effects=Effects({}),
        jobs_client=engine_of_jobs,  # type: ignore[arg-type]
    )
    with pytest.raises(worker.Snooze) as excinfo:
        await run(waiting, deletion_id)
    assert timedelta(minutes=5) < excinfo.value.delay <= handlers.SETTLE
    assert not await gateway.is_valid(account.token)
    with pytest.raises(errors.Unauthenticated):
        await gateway.login(account.email)
    for rpc in ("EnableUser", "CancelUserDeletion"):
        with pytest.raises(errors.FailedPrecondition):
            await gateway.admin(rpc, user=admin.identity, user_id=account.user_id)
    with pytest.raises(worker.WaitForChildren):
        await run(erasure, deletion_id)
    with pytest.raises(worker.JobFailed):
        await run(erasure, deletion_id, children=[child("failed")])
    assert engine_of_jobs.erased == []


async def test_erased_account_leaves_no_row(
    gateway: Gateway,
    erasure: handlers.Erasure,
    engine_of_jobs: Engine,
    overdue: Callable[[Account], Any],
    admin: Account,
    sql: Callable[..., Any],
) -> None:
    account = await gateway.account()
    await gateway.auth("RequestPasswordReset", email=account.email, ip_address=account.ip_address)
    await request(gateway, account)
    # An event about another account, of a time when this one had admin rights.
    statement = """
        INSERT INTO auth.security_events (event_id, kind, user_id, actor_id, session_id, ip_address, client_name, details)
        VALUES (:id, 'role_changed', :other, :user, :user, '', '', '{}')
    """
    await sql(statement, id=ids.uuid7(), other=admin.user_id, user=account.user_id)
    with pytest.raises(exc.IntegrityError):
        await sql("DELETE FROM auth.security_events WHERE user_id = :user", user=account.user_id)
    # The address of another account, whose count must stay.
    longer = f"x{account.email}"
    await gateway.auth("RequestPasswordReset", email=longer, ip_address=account.ip_address)
    deletion_id = await overdue(account)
    engine_of_jobs.incomplete = 1
    attempts = 0
    while True:
        attempts += 1
        try:
            outcome, recorded = await run(erasure, deletion_id, children=[child("completed")])
        except worker.Snooze:
            assert attempts < 1_000
            continue
        break
    assert (outcome, attempts > 1) == ({"outcome": "erased"}, True)
    assert engine_of_jobs.erased[-1] == (account.user_id, [account.email])
    reported = [recorded.payload, *recorded.recorded.progress, recorded.recorded.checkpoints, outcome]
    assert not any(text in str(reported) for text in (account.user_id, account.email))
    for statement in (
        "SELECT FROM auth.users WHERE user_id = :user",
        "SELECT FROM auth.sessions WHERE user_id = :user",
        "SELECT FROM auth.security_events WHERE :user IN (user_id, actor_id, session_id)",
    ):
        assert await sql(statement, user=uuid.UUID(account.user_id)) == []
    counts = await sql("SELECT key FROM auth.login_failures WHERE strpos(key, :email) > 0", email=account.email)
    assert [row.key for row in counts] == [f"emails:reset:{longer}"]
    about = "SELECT FROM auth.security_events WHERE kind = 'role_changed' AND user_id = :user AND actor_id IS NULL"
    assert len(await sql(about, user=admin.user_id)) == 1
    deleted = "SELECT FROM auth.security_events WHERE kind = 'account_deleted' AND details ->> 'deletion_id' = :id"
    assert len(await sql(deleted, id=deletion_id)) == 1
    assert (await run(erasure, deletion_id))[0] == {"outcome": "nothing_to_erase"}


async def test_no_statement_of_an_erasure_deletes_many_events(
    gateway: Gateway,
    erasure: handlers.Erasure,
    overdue: Callable[[Account], Any],
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A statement ends after ten seconds: an account with hundreds of thousands of events could never be erased."""
    monkeypatch.setattr(handlers, "EVENTS_BATCH", 3)
    account = await gateway.account()
    for _ in range(5):
        await gateway.sign_in_again(account)
    await request(gateway, account)
    deletion_id = await overdue(account)
    counts: list[int] = []

    def note(_conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM auth.security_events"):
            counts.append(cursor.rowcount)

    engine = context.engine.sync_engine
    sa.event.listen(engine, "after_cursor_execute", note)
    try:
        outcome = None
        while outcome is None:
            with contextlib.suppress(worker.Snooze):
                outcome, _ = await run(erasure, deletion_id, children=[child("completed")])
    finally:
        sa.event.remove(engine, "after_cursor_execute", note)
    assert sum(counts) >= 7
    assert max(counts) <= 3


_ATTEMPTS = sa.text("""
    INSERT INTO security_events (event_id, kind, ip_address, client_name, details)
    SELECT gen_random_uuid(), 'login_failed', '192.0.2.1', '', jsonb_build_object('email', n || '@example.org')
    FROM generate_series(1, 2000) n
""")


async def test_attempts_at_an_address_are_found_by_an_index(context: Context) -> None:
    """Without one each erasure would read all security events, of all accounts and a year."""
    explained = storage.attempts_at("ada@example.org").compile(
        dialect=context.engine.dialect, compile_kwargs={"literal_binds": True}
    )
    async with context.engine.connect() as conn:  # which takes the rows back
        # All indexes of an empty table cost the same.
        await conn.execute(_ATTEMPTS)
        await conn.execute(sa.text("ANALYZE security_events"))
        plan = "\n".join((await conn.exec_driver_sql(f"EXPLAIN {explained}".replace("%", "%%"))).scalars())
    assert "security_events_attempts_at_address" in plan


async def test_search_for_mentions_continues_where_an_attempt_has_ended(
    gateway: Gateway, erasure: handlers.Erasure, engine_of_jobs: Engine, overdue: Callable[[Account], Any]
) -> None:
    account = await gateway.account()
    await request(gateway, account)
    deletion_id = await overdue(account)
    engine_of_jobs.answers = [
        EraseOwnerResponse(is_complete=True, next_job_id="a"),
        EraseOwnerResponse(is_complete=False, deleted_count=1, next_job_id="b"),
        EraseOwnerResponse(is_complete=True, next_job_id="b"),
        errors.Unavailable("The jobs service does not answer."),
        EraseOwnerResponse(is_complete=False, next_job_id="c"),
        EraseOwnerResponse(is_complete=True, next_job_id="c"),
    ]
    checkpoints: dict[str, Any] = {}
    outcome, attempts = None, 0
    while outcome is None:
        attempts += 1
        assert attempts < 1_000
        context = testing.RecordingContext(checkpoints=checkpoints, children=[child("completed")])
        with contextlib.suppress(errors.Unavailable, worker.Snooze):
            outcome = await erasure.erase(context, jobs.Payload(deletion_id))
        checkpoints = context.recorded.checkpoints
    assert outcome == {"outcome": "erased"}
    assert engine_of_jobs.positions == ["", "a", "a", "b", "b", "b", "c"]


async def test_search_for_mentions_of_a_guest_begins_at_its_time(
    gateway: Gateway, erasure: handlers.Erasure, engine_of_jobs: Engine, sql: Callable[..., Any]
) -> None:
    guest = (await gateway.auth("BeginGuestSession", ip_address=new_address())).user
    due = "UPDATE auth.users SET deletion_due_at = now() WHERE user_id = :user RETURNING deletion_id"
    [row] = await sql(due, user=guest.user_id)
    outcome, attempts = None, 0
    while outcome is None:
        attempts += 1
        assert attempts < 1_000
        with contextlib.suppress(worker.Snooze):
            outcome, _ = await run(erasure, str(row.deletion_id), children=[child("completed")])
    begin = ids.timestamp_of(uuid.UUID(engine_of_jobs.positions[0]))
    since = guest.create_time.ToDatetime(UTC) - begin
    assert timedelta(hours=23) < since < timedelta(hours=25)


async def test_schedule_submits_overdue_deletions_only(
    gateway: Gateway, erasure: handlers.Erasure, engine_of_jobs: Engine, overdue: Callable[[Account], Any]
) -> None:
    first, second = await gateway.account(), await gateway.account()
    await request(gateway, first)
    await request(gateway, second)
    deletion_id = await overdue(second)
    await erasure.submit_due(testing.RecordingContext())
    assert f"auth.erase:{deletion_id}" in engine_of_jobs.submitted
    assert len(set(engine_of_jobs.submitted)) == len(engine_of_jobs.submitted)
    await erasure.submit_due(testing.RecordingContext())
    assert engine_of_jobs.submitted.count(f"auth.erase:{deletion_id}") == 2


async def test_admin_begins_lists_and_cancels_a_deletion(gateway: Gateway, admin: Account) -> None:
    account = await gateway.account()
    assert (await gateway.admin("RequestUserDeletion", user=admin.identity, user_id=account.user_id)).user.HasField(
        "deletion_time"
    )
    assert not await gateway.is_valid(account.token)
    page = await gateway.admin("ListUsers", user=admin.identity, deleting_only=True, email_prefix=account.email)
    assert [user.user_id for user in page.users] == [account.user_id]
    response = await gateway.admin("CancelUserDeletion", user=admin.identity, user_id=account.user_id)
    assert not response.user.HasField("deletion_time")
    page = await gateway.admin("ListUsers", user=admin.identity, deleting_only=True, email_prefix=account.email)
    assert list(page.users) == []
    with pytest.raises(errors.FailedPrecondition):
        await gateway.admin("RequestUserDeletion", user=admin.identity, user_id=admin.user_id)
    with pytest.raises(errors.PermissionDenied):
        await gateway.admin(
            "RequestUserDeletion", user=(await gateway.sign_in_again(account)).identity, user_id=admin.user_id
        )


def test_stream_with_names_is_empty_before_an_erasure_ends() -> None:
    config = streams.stream_config("auth", replicas=1)
    assert config.max_age is not None
    assert config.duplicate_window is not None
    assert config.duplicate_window <= config.max_age < handlers.SETTLE.total_seconds()
    assert "auth" not in {publisher for publisher, _, _ in provision_streams.CONSUMERS}, "one that reads it later"
