"""Data exports: the work of their job, its bounds, and their expiry. tests/integration/gateway has them end to end."""

from __future__ import annotations

import io
import json
import secrets
import uuid
import zipfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

import pytest

import worker
from chassis import errors
from chassis.owner_rows import Part
from lifecycle import updates
from lifecycle.file_states import State
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from services.auth import domain as auth_domain
from services.auth import throttling
from services.auth.context import Context
from services.auth.data_export import domain, storage
from services.auth.data_export.declaration import DATA_EXPORT
from services.auth.data_export.domain import DataExport
from services.auth.data_export.handlers import Exporter
from services.auth.data_export.operations import DataExports
from services.auth.data_export.sources import Sources
from tests.integration.auth.client import Account, Gateway
from tests.integration.auth.mailbox import Mailbox
from worker import testing


class Jobs:
    """Stands in for the jobs service, which has no job."""

    async def get(self, job_id: str) -> None:
        """Return no job."""


class Rows:
    """Stands in for the sources: one table of random text, which does not compress."""

    def __init__(self, size: int, *, breaks: bool = False) -> None:
        self._size = size
        self._breaks = breaks

    @property
    def services(self) -> tuple[tuple[str, Callable[[uuid.UUID], AsyncGenerator[Part, None]]], ...]:
        """The one service."""
        return (("Reading", self._read),)

    async def _read(self, user_id: uuid.UUID) -> AsyncGenerator[Part, None]:
        for _ in range(self._size >> 18):
            yield Part("demo.content", json.dumps({"text": secrets.token_hex(1 << 18)}).encode() + b"\n")
        if self._breaks:
            raise errors.Unavailable
        yield Part("demo.outbox", reason="Messages.")


@pytest.fixture
def data_exports(context: Context) -> DataExports:
    """The operations."""
    jobs = cast(worker.JobsClient, Jobs())
    assert context.relay is not None
    submitter = LifecycleSubmitter(context.engine, jobs, DATA_EXPORT)
    relay = cast(Any, context.relay)
    return DataExports(
        context, Settler(DATA_EXPORT, engine=context.engine, relay=relay, jobs=jobs, submitter=submitter)
    )


def actor(account: Account) -> auth_domain.Actor:
    return auth_domain.Actor(user_id=uuid.UUID(account.user_id), session_id=uuid.UUID(account.session_id))


async def start(data_exports: DataExports, account: Account) -> DataExport:
    return await data_exports.start(actor(account), client=auth_domain.NOWHERE)


async def run(context: Context, data_export: DataExport, rows: Rows, *, attempt: int = 1, **options: Any) -> Any:
    """Run an attempt of the job of an export."""
    exporter = Exporter(engine=context.engine, relay=cast(Any, context.relay), sources=cast(Sources, rows), **options)
    recording = testing.RecordingContext(
        updates.payload(storage.DATA_EXPORTS, data_export),
        job_id=str(data_export.job_id),
        owner_id=str(data_export.user_id),
        kind=domain.KIND,
        attempt=attempt,
    )
    return await exporter.export(recording)


async def archive(data_exports: DataExports, account: Account) -> bytes:
    async with aclosing(await data_exports.download(actor(account))) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def chunk_count(sql: Callable[..., Any], account: Account) -> int:
    return len(await sql("SELECT FROM auth.data_export_chunks WHERE user_id = :user", user=account.user_id))


async def test_archive_is_written_in_chunks_and_the_owner_gets_an_email(
    gateway: Gateway, context: Context, data_exports: DataExports, mailbox: Mailbox, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    started = await start(data_exports, account)
    with pytest.raises(domain.DataExportRunning):
        await start(data_exports, account)
    with pytest.raises(domain.DataExportNotFound):
        await archive(data_exports, account)
    result = await run(context, started, Rows(6 << 20))
    ready, _ = await data_exports.get(actor(account))
    assert (ready.state, result) == (State.READY, {"bytes": ready.byte_count})
    assert ready.byte_count > 2 << 20
    assert await chunk_count(sql, account) == ready.chunk_count == -(-ready.byte_count // domain.CHUNK_BYTES)
    data = await archive(data_exports, account)
    assert len(data) == ready.byte_count
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert json.loads(opened.read("manifest.json"))["left_out"] == {"demo.outbox": "Messages."}
    assert "A copy of your data was requested" in (await mailbox.deliver(account, "notice"))["Subject"]


async def test_attempt_after_a_failed_one_begins_again(
    gateway: Gateway, context: Context, data_exports: DataExports, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    started = await start(data_exports, account)
    with pytest.raises(errors.Unavailable):
        await run(context, started, Rows(6 << 20, breaks=True))
    assert await chunk_count(sql, account) > 0
    await run(context, started, Rows(1 << 20), attempt=2)
    with zipfile.ZipFile(io.BytesIO(await archive(data_exports, account))) as opened:
        assert opened.testzip() is None
    # An attempt that is repeated after the end writes nothing.
    before = await sql("SELECT xmin FROM auth.data_export_chunks WHERE user_id = :user", user=account.user_id)
    await run(context, started, Rows(1 << 20), attempt=2)
    assert await sql("SELECT xmin FROM auth.data_export_chunks WHERE user_id = :user", user=account.user_id) == before


async def test_larger_archive_is_refused(
    gateway: Gateway, context: Context, data_exports: DataExports, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    started = await start(data_exports, account)
    with pytest.raises(worker.JobFailed) as excinfo:
        await run(context, started, Rows(6 << 20), max_bytes=domain.CHUNK_BYTES + 1)
    assert (excinfo.value.code, excinfo.value.retryable) == ("data_export_too_large", False)


async def test_new_export_replaces_the_old_one_and_three_may_start(
    gateway: Gateway, context: Context, data_exports: DataExports, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    for _ in range(3):
        started = await start(data_exports, account)
        assert await chunk_count(sql, account) == 0
        await run(context, started, Rows(1 << 20))
    with pytest.raises(auth_domain.TooManyAttempts):
        await start(data_exports, account)
    assert await archive(data_exports, account)


async def test_downloads_are_limited(
    gateway: Gateway, context: Context, data_exports: DataExports, sql: Callable[..., Any]
) -> None:
    """Each is a security event that stays for a year."""
    account = await gateway.account()
    await run(context, await start(data_exports, account), Rows(1 << 20))
    for _ in range(throttling.DOWNLOADS_PER_ACCOUNT):
        assert await archive(data_exports, account)
    with pytest.raises(auth_domain.TooManyAttempts):
        await archive(data_exports, account)
    recorded = "SELECT FROM auth.security_events WHERE user_id = :user AND kind = 'data_export_downloaded'"
    assert len(await sql(recorded, user=account.user_id)) == throttling.DOWNLOADS_PER_ACCOUNT


async def test_archive_expires_after_three_days(
    gateway: Gateway, context: Context, data_exports: DataExports, sql: Callable[..., Any]
) -> None:
    account = await gateway.account()
    await run(context, await start(data_exports, account), Rows(1 << 20))
    await data_exports.expire()
    assert await chunk_count(sql, account) > 0
    age = "UPDATE auth.data_exports SET changed_at = changed_at - :by WHERE user_id = :user"
    await sql(age, user=account.user_id, by=domain.LIFETIME)
    await data_exports.expire()
    assert (await data_exports.get(actor(account)))[0].state is State.NONE
    assert await chunk_count(sql, account) == 0


async def test_start_and_download_need_a_fresh_session(
    gateway: Gateway, context: Context, data_exports: DataExports, shift: Callable[..., Any]
) -> None:
    account = await gateway.account()
    await run(context, await start(data_exports, account), Rows(1 << 20))
    await shift(account.session_id, timedelta(minutes=11))
    with pytest.raises(auth_domain.ReauthenticationRequired):
        await start(data_exports, account)
    with pytest.raises(auth_domain.ReauthenticationRequired):
        await archive(data_exports, account)
