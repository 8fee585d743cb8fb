"""The declaration of demo mode as a lifecycle: its rows, its jobs, and the messages of each transition."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from chassis import outbox
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from services.demo import channels, convert, schema, storage
from services.demo.domain import Action, Mode
from worker import outbox as worker_outbox

_SUBMITTING = frozenset({Action.ENABLE, Action.DISABLE})
submit = partial(
    updates.new_job,
    storage.MODES,
    max_attempts=3,
    backoff=timedelta(seconds=0.5),
    max_backoff=timedelta(seconds=5),
    attempt_timeout=timedelta(minutes=10),
)


async def publish(tx: outbox.Transaction, mode: Mode, action: Action) -> None:
    """Publish the event of the transition that led to `mode`, and submit the job that it accepted."""
    payload = convert.event_to_proto(mode, action).SerializeToString()
    subject = channels.DEMO.subject(mode.owner_id)
    tx.publish(outbox.Message(subject=subject, payload=payload))
    if action in _SUBMITTING:
        tx.publish(worker_outbox.submit_message(submit(mode)))


DEMO_MODE = Lifecycle(rows=storage.MODES, outbox_table=schema.outbox, effects=publish, submit=submit)
