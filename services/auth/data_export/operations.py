"""The operations on data exports: start, get, download, expire."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from chassis import ids
from lifecycle import files
from lifecycle.file_states import Action, State
from lifecycle.settler import Settler
from services.auth import current_session, throttling
from services.auth import domain as auth_domain
from services.auth.audit import Kind, by_owner, record
from services.auth.context import Context, lock_account_with_fresh_session
from services.auth.data_export import domain, storage
from services.auth.data_export.declaration import DATA_EXPORT
from services.auth.data_export.domain import DataExport
from services.auth.email import jobs as email_jobs
from services.auth.email.templates import AccountChange

EXPIRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DataExports:
    """The operations. All raise `SessionInvalid`; `start` and `download` also `ReauthenticationRequired`."""

    context: Context
    settler: Settler[DataExport, Action]

    async def start(self, actor: auth_domain.Actor, *, client: auth_domain.Client) -> DataExport:
        """Accept to export the data of the caller, in place of an earlier export, and email the owner.

        Raises `DataExportRunning` and `TooManyAttempts`.
        """
        async with self.context.transaction() as tx:
            await lock_account_with_fresh_session(tx.conn, actor)
            started = await DATA_EXPORT.open(tx, (actor.user_id,), Action.START, {"job_id": ids.uuid7()})
            if started is None:
                raise domain.DataExportRunning()
            await throttling.count_each(tx.conn, throttling.of_data_exports(actor.user_id))
            await record(tx.conn, Kind.DATA_EXPORT_REQUESTED, by_owner(actor, client))
            tx.publish(email_jobs.account_change(actor.user_id, AccountChange.DATA_EXPORT_REQUESTED))
        return started

    async def get(self, actor: auth_domain.Actor) -> tuple[DataExport, datetime]:
        """Read the export of the caller, and the time until which the session is fresh.

        A state that its job has left is repaired first.
        """
        async with self.context.autocommit().connect() as conn:
            current = await current_session.get(conn, actor)
            data_export = await storage.DATA_EXPORTS.get(conn, (actor.user_id,))
        data_export, _ = await self.settler.repair(data_export)
        return data_export, current.fresh_until

    async def download(self, actor: auth_domain.Actor) -> AsyncGenerator[bytes, None]:
        """Return the chunks of a ready archive (see `Chunks.read`). Raises `DataExportNotFound` and `TooManyAttempts`."""
        async with self.context.transaction() as tx:
            await current_session.require_fresh(tx.conn, actor)
            data_export = await storage.DATA_EXPORTS.get(tx.conn, (actor.user_id,))
            if data_export.state is not State.READY:
                raise domain.DataExportNotFound()
            await throttling.count_each(tx.conn, throttling.of_downloads(actor.user_id))
            await record(tx.conn, Kind.DATA_EXPORT_DOWNLOADED, by_owner(actor))
        return storage.CHUNKS.read(self.context.engine, data_export)

    async def expire(self) -> int:
        """Delete the archives and failures whose time is over; return how many."""
        return await files.expire(
            DATA_EXPORT, age=domain.LIFETIME, engine=self.context.engine, relay=self.context.relay
        )
