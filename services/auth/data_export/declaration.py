"""The declaration of a data export as a lifecycle: its rows, its job, and what each transition deletes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from chassis import outbox
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from lifecycle.file_states import Action
from services.auth import schema
from services.auth.data_export import storage
from services.auth.data_export.domain import DataExport
from worker import outbox as worker_outbox

_DELETING = frozenset({Action.START, Action.CANCEL, Action.FAIL, Action.EXPIRE})
submit = partial(
    updates.new_job,
    storage.DATA_EXPORTS,
    max_attempts=5,
    backoff=timedelta(seconds=1),
    max_backoff=timedelta(minutes=1),
    attempt_timeout=timedelta(minutes=10),
)


async def apply_effects(tx: outbox.Transaction, data_export: DataExport, action: Action) -> None:
    """Delete chunks that the export no longer needs, and submit its job. Pages follow the job's own events."""
    if action in _DELETING:
        await storage.CHUNKS.delete(tx.conn, data_export)
    if action is Action.START:
        tx.publish(worker_outbox.submit_message(submit(data_export)))


DATA_EXPORT = Lifecycle(rows=storage.DATA_EXPORTS, outbox_table=schema.outbox, effects=apply_effects, submit=submit)
