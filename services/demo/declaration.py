"""The declaration of demo mode as a lifecycle: its rows, its jobs, and the messages of each transition."""

from __future__ import annotations

from datetime import timedelta

from chassis import outbox
from lifecycle import updates
from lifecycle.declaration import Lifecycle
from repruv.jobs.v1 import jobs_service_pb2
from services.demo import channels, convert, schema, storage
from services.demo.domain import Action, Mode
from worker import outbox as worker_outbox

MAX_ATTEMPTS = 3
BACKOFF = timedelta(seconds=0.5)
MAX_BACKOFF = timedelta(seconds=5)
ATTEMPT_TIMEOUT = timedelta(minutes=10)

_SUBMITTING = frozenset({Action.ENABLE, Action.DISABLE})


async def publish(tx: outbox.Transaction, mode: Mode, action: Action) -> None:
    """Publish the event of the transition that led to `mode`, and submit the job that it accepted."""
    payload = convert.event_to_proto(mode, action).SerializeToString()
    subject = channels.DEMO.subject(mode.owner_id)
    tx.publish(outbox.Message(subject=subject, payload=payload))
    if action in _SUBMITTING:
        tx.publish(worker_outbox.submit_message(submit(mode)))


def submit(mode: Mode) -> jobs_service_pb2.SubmitJobRequest:
    return updates.new_job(
        storage.MODES,
        mode,
        max_attempts=MAX_ATTEMPTS,
        backoff=BACKOFF,
        max_backoff=MAX_BACKOFF,
        attempt_timeout=ATTEMPT_TIMEOUT,
    )


DEMO_MODE = Lifecycle(rows=storage.MODES, outbox_table=schema.outbox, effects=publish, submit=submit)
