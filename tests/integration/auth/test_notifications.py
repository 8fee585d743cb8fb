"""Notification settings, and emails about long jobs that ended while their owner was away; with the real jobs service."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email import policy as email_policy
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids, postgres
from repruv.auth.v1 import auth_pb2
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2, kind_pb2
from services.auth import email_handler
from services.auth.email import jobs as email_jobs
from services.auth.email.senders import open_sender
from services.auth.notifications import domain as notifications
from services.auth.notifications import ended_jobs
from services.auth.notifications.subscriber import Subscriber
from tests.integration.auth.client import Account, Gateway, new_address
from tests.integration.auth.conftest import PUBLIC_URL, AuthProcesses
from tests.integration.auth.test_email import written
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi
from worker import JobsClient, testing

AllOf = dict[str, Any]
NOW = datetime.now(UTC)
WINDOW = notifications.window_of(NOW - timedelta(hours=1))
"""A window that is over, so that its email is due."""
END = WINDOW + timedelta(minutes=7)


@pytest.fixture
async def jobs_client(jobs_target: str, jobs_of: Callable[[str, str], JobsClient]) -> JobsClient:
    """Return the jobs service as auth sees it."""
    return jobs_of("auth", jobs_target)


@pytest.fixture
async def kind(jobs_api: JobsApi) -> str:
    """Return a kind that notifies its owners."""
    name = f"demo.{uuid.uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name, notify_owner=True))
    return name


@pytest.fixture
def end(jobs_api: JobsApi, kind: str, database: Callable[[str], AsyncEngine]) -> Callable[..., Awaitable[str]]:
    """Run a job of an owner to its end, and move its times."""

    async def ended(owner_id: str, *, at: datetime = END, seconds: int = 125, **outcome: Any) -> str:
        await jobs_api.submit(kind, owner_id)
        (claimed_job,) = await jobs_api.claim(kind)
        await jobs_api.finish(claimed_job, **outcome)
        statement = "UPDATE jobs.jobs SET started_at = :start, finished_at = :end WHERE job_id = :job_id"
        values = {"start": at - timedelta(seconds=seconds), "end": at, "job_id": uuid.UUID(claimed_job.job_id)}
        async with database("jobs").begin() as conn:
            await conn.execute(sa.text(statement), values)
        return claimed_job.job_id

    return ended


@pytest.fixture
async def away(gateway: Gateway, sql: Callable[..., Any], shift: Callable[..., Any]) -> Account:
    """Return a user with a verified address who has used Repruv last before the window."""
    account = await gateway.account()
    await sql("UPDATE auth.users SET email_verified_at = now() WHERE user_id = :user", user=account.user_id)
    await shift(account.session_id, datetime.now(UTC) - END + timedelta(minutes=6))
    return account


@pytest.fixture
def mailer(engine: AsyncEngine, jobs_client: JobsClient, tmp_path: Path) -> email_handler.EmailJobHandler:
    sender = open_sender(f"folder:{tmp_path}", sender="Repruv <no-reply@example.org>", is_production=False)
    return email_handler.EmailJobHandler(
        engine=engine,
        sender=sender,
        public_url=PUBLIC_URL,
        renderers={
            ended_jobs.PURPOSE: ended_jobs.EndedJobs(engine=engine, jobs=jobs_client, public_url=PUBLIC_URL).render
        },
    )


@pytest.fixture
def mail(mailer: email_handler.EmailJobHandler, tmp_path: Path) -> Callable[[str], Awaitable[str]]:
    """Run the job of a user and the window; return the email, or an empty string if none was sent."""

    async def sent(user_id: str) -> str:
        payload = email_jobs.Payload(ended_jobs.PURPOSE, user_id=user_id, about=WINDOW.isoformat())
        outcome = (await mailer.send(testing.RecordingContext(), payload))["outcome"]
        texts = written(tmp_path)
        assert len(texts) == (outcome == "sent"), outcome
        return decoded(texts[0]) if texts else ""

    return sent


def decoded(raw: str) -> str:
    """Return the headers and both texts of an email."""
    message = Parser(policy=email_policy.default).parsestr(raw)
    bodies = [message.get_body((kind,)) for kind in ("plain", "html")]
    return "\n".join(
        [f"To: {message['to']}", f"Subject: {message['subject']}", *(b.get_content() for b in bodies if b)]
    )


async def choose(gateway: Gateway, user: str, **fields: Any) -> auth_pb2.NotificationSettings:
    updated = await gateway.auth("UpdateNotificationSettings", user=user, **fields)
    settings: auth_pb2.NotificationSettings = updated.user.notification_settings
    return settings


async def test_settings_are_changed_one_by_one_and_follow_the_session(gateway: Gateway) -> None:
    account = await gateway.account()
    everything = (await gateway.validate(account.token)).user.notification_settings
    assert (everything.page_notices, everything.job_emails) == (True, auth_pb2.JOB_EMAILS_ALL)
    await choose(gateway, account.identity, job_emails=auth_pb2.JOB_EMAILS_FAILED)
    changed = await choose(gateway, account.identity, page_notices=False)
    assert (changed.page_notices, changed.job_emails) == (False, auth_pb2.JOB_EMAILS_FAILED)
    muted = auth_pb2.NoticeCategories(
        categories=[auth_pb2.NOTICE_CATEGORY_OTHER, auth_pb2.NOTICE_CATEGORY_EXPORTS, auth_pb2.NOTICE_CATEGORY_OTHER]
    )
    changed = await choose(gateway, account.identity, muted_notices=muted)
    assert list(changed.muted_notices) == [auth_pb2.NOTICE_CATEGORY_EXPORTS, auth_pb2.NOTICE_CATEGORY_OTHER]
    assert list((await choose(gateway, account.identity, page_notices=False)).muted_notices) == list(
        changed.muted_notices
    )
    assert (await gateway.validate(account.token)).user.notification_settings == changed
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await choose(gateway, account.identity, job_emails=auth_pb2.JOB_EMAILS_UNSPECIFIED)
    assert excinfo.value.field == "job_emails"


async def test_database_rejects_an_unknown_setting(gateway: Gateway, sql: Callable[..., Any]) -> None:
    account = await gateway.account()
    with pytest.raises(exc.IntegrityError, match="users_job_emails_is_known"):
        await sql("UPDATE auth.users SET job_emails = 'weekly' WHERE user_id = :user", user=account.user_id)


async def test_email_tells_about_a_long_job(
    away: Account, end: Callable[..., Awaitable[str]], mail: Callable[[str], Awaitable[str]], kind: str
) -> None:
    job_id = await end(away.user_id, failed=jobs_server.failed("mailbox_full"))
    text = await mail(away.user_id)
    assert f"To: {away.email}" in text
    assert "This job failed after 2 min 5 s, while you were away." in text
    assert "What went wrong: It did not work." in text
    assert text.count(f"{PUBLIC_URL}/jobs/{job_id}") == 2  # plain text and HTML
    assert text.count(f"{PUBLIC_URL}/settings/notifications") == 2
    assert "prefers-color-scheme: dark" in text


async def test_one_email_lists_the_jobs_of_its_window(
    away: Account, end: Callable[..., Awaitable[str]], mail: Callable[[str], Awaitable[str]]
) -> None:
    listed = [await end(away.user_id, at=END + timedelta(seconds=second)) for second in range(12)]
    failed = await end(away.user_id, at=END + timedelta(minutes=1), failed=jobs_server.failed("mailbox_full"))
    others = [await end(away.user_id, at=END + notifications.WINDOW), await end(away.user_id, seconds=59)]
    text = await mail(away.user_id)
    assert "Subject: Your jobs: 12 completed, 1 failed" in text
    assert "And 3 more." in text
    assert all(f"{PUBLIC_URL}/jobs/{job_id}" in text for job_id in (failed, *listed[-9:]))
    assert not any(job_id in text for job_id in (*others, *listed[:3]))


@pytest.mark.parametrize("reason", ["read", "present", "unverified", "off", "completed", "short", "disabled"])
async def test_no_email(
    reason: str,
    away: Account,
    gateway: Gateway,
    jobs_api: JobsApi,
    end: Callable[..., Awaitable[str]],
    mail: Callable[[str], Awaitable[str]],
    sql: Callable[..., Any],
) -> None:
    await end(away.user_id, seconds=59 if reason == "short" else 60)
    if reason == "read":
        request = jobs_service_pb2.MarkNotificationsReadRequest()
        await jobs_api.call(jobs_api.jobs.MarkNotificationsRead, request, service="gateway", user=away.user_id)
    elif reason == "present":
        await gateway.validate(away.token)
    elif reason in ("unverified", "disabled"):
        column = "email_verified_at = NULL" if reason == "unverified" else "disabled_at = now()"
        await sql(f"UPDATE auth.users SET {column} WHERE user_id = :user", user=away.user_id)
    elif reason in ("off", "completed"):
        setting = "none" if reason == "off" else "failed"
        await sql("UPDATE auth.users SET job_emails = :to WHERE user_id = :user", to=setting, user=away.user_id)
    assert await mail(away.user_id) == ""


async def test_guests_have_no_settings_and_get_no_email(
    gateway: Gateway, end: Callable[..., Awaitable[str]], mail: Callable[[str], Awaitable[str]], sql: Callable[..., Any]
) -> None:
    guest = await gateway.auth("BeginGuestSession", ip_address=new_address())
    user = (await gateway.validate(guest.token)).identity
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await choose(gateway, user, page_notices=False)
    assert excinfo.value.code == "account_required"
    await sql("UPDATE auth.users SET email_verified_at = now() WHERE user_id = :user", user=guest.user.user_id)
    await sql("DELETE FROM auth.sessions WHERE user_id = :user", user=guest.user.user_id)
    await end(guest.user.user_id)
    assert await mail(guest.user.user_id) == ""


async def test_events_of_one_owner_and_window_submit_one_job(
    jobs_client: JobsClient, database: Callable[[str], AsyncEngine]
) -> None:
    """Late, repeated and batched events: a user gets at most one email for each window."""
    owner, stranger = str(uuid.uuid4()), str(uuid.uuid4())
    moments = [END, END + timedelta(minutes=1), WINDOW - timedelta(seconds=1)]
    events = job_events_pb2.JobEvents()
    for owner_id, moment in [*((owner, moment) for moment in moments), (stranger, END)]:
        job = job_pb2.Job(job_id=str(ids.uuid7()))
        job.finish_time.FromDatetime(moment)
        events.events.add(owner_id=owner_id, job=job)
    received = bus.Received(
        subject="jobs.events.notifications.long_ended", payload=events.SerializeToString(), message_id=""
    )
    for _ in range(2):
        await Subscriber(jobs_client).receive(received)
    query = "SELECT scheduled_at FROM jobs.jobs WHERE payload->>'user_id' = :owner ORDER BY scheduled_at"
    async with database("jobs").connect() as conn:
        due = {
            each: list((await conn.execute(sa.text(query), {"owner": each})).scalars()) for each in (owner, stranger)
        }
    delay = notifications.WINDOW + notifications.DELAY
    assert due == {owner: [WINDOW + notifications.DELAY, WINDOW + delay], stranger: [WINDOW + delay]}


async def test_email_end_to_end(
    auth_processes: AuthProcesses,
    services_database: Callable[[str], str],
    jobs_api: JobsApi,
    kind: str,
    database: Callable[[str], AsyncEngine],
    tmp_path: Path,
    eventually: Any,
) -> None:
    """From the finish of a worker to the email: event, outbox, stream, consumer, job, mail."""
    _, stop, running = auth_processes
    owner_id = uuid.uuid4()
    insert = (
        "INSERT INTO auth.users (user_id, email, name, role, password_hash, email_verified_at)"
        f" VALUES (:user, '{owner_id}@example.org', 'Ada', 'user', '$argon2id$x', now())"
    )
    auth_engine = postgres.engine(services_database("auth"), name="test-owner")
    async with auth_engine.begin() as conn:
        await conn.execute(sa.text(insert), {"user": owner_id})
    await auth_engine.dispose()
    await jobs_api.submit(kind, str(owner_id))
    (claimed_job,) = await jobs_api.claim(kind)
    # A minute has passed, and later the window and the delay.
    async with database("jobs").begin() as conn:
        started = "UPDATE jobs.jobs SET started_at = now() - interval '61 s' WHERE job_id = :job_id"
        await conn.execute(sa.text(started), {"job_id": uuid.UUID(claimed_job.job_id)})
    await jobs_api.finish(claimed_job)

    async def has_mail() -> bool:
        assert not running.done()
        due = "UPDATE jobs.jobs SET run_at = now() WHERE payload->>'user_id' = :owner AND run_at > now()"
        async with database("jobs").begin() as conn:
            await conn.execute(sa.text(due), {"owner": str(owner_id)})
        return any(claimed_job.job_id in decoded(text) for text in written(tmp_path))

    try:
        await eventually(has_mail)
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)
