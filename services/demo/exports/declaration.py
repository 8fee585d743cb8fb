"""The declaration of an export as a lifecycle: its rows, its job, and what each transition publishes and deletes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from chassis import outbox
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from lifecycle.file_states import Action
from services.demo import channels, schema
from services.demo.exports import convert, storage
from services.demo.exports.domain import Export
from worker import outbox as worker_outbox

_DELETING = frozenset({Action.START, Action.CANCEL, Action.EXPIRE})
submit = partial(
    updates.new_job,
    storage.EXPORTS,
    max_attempts=3,
    backoff=timedelta(seconds=0.5),
    max_backoff=timedelta(seconds=5),
    attempt_timeout=timedelta(minutes=10),
)


async def publish(tx: outbox.Transaction, export: Export, action: Action) -> None:
    """Publish the event of the transition that led to `export`, delete chunks it no longer needs, submit its job."""
    if action in _DELETING:
        await storage.CHUNKS.delete(tx.conn, export)
    subject = channels.EXPORTS.subject(export.owner_id)
    tx.publish(outbox.Message(subject=subject, payload=convert.event_to_proto(export, action).SerializeToString()))
    if action is Action.START:
        tx.publish(worker_outbox.submit_message(submit(export)))


EXPORT = Lifecycle(rows=storage.EXPORTS, outbox_table=schema.outbox, effects=publish, submit=submit)
