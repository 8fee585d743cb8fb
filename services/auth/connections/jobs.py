"""The jobs of connections as they are submitted. Payloads name connections, and nothing secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import worker
from lifecycle import updates
from repruv.jobs.v1 import jobs_service_pb2
from services.auth.connections import storage
from services.auth.connections.domain import Connection

REFRESH = "auth.refresh"
REVOKE_TOKENS = "auth.revoke-tokens"
MAX_ATTEMPTS = 6
BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(seconds=30)
ATTEMPT_TIMEOUT = timedelta(minutes=2)
TOTAL_TIMEOUT = timedelta(minutes=10)
"""By then a code has expired at every platform, and no user waits any more."""


def move(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    return updates.new_job(
        storage.CONNECTIONS,
        connection,
        max_attempts=MAX_ATTEMPTS,
        backoff=BACKOFF,
        max_backoff=MAX_BACKOFF,
        attempt_timeout=ATTEMPT_TIMEOUT,
        total_timeout=TOTAL_TIMEOUT,
        # Without a concurrency key: a superseded job that waits for its next attempt would block the next job.
        # The generation decides.
    )


def refresh(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    """Return the submit of a job that renews access; at most one at a time for a connection.

    It belongs to the system: users need not see each renewal among their jobs.
    """
    return _for_system(REFRESH, connection, f"{REFRESH}:{connection.user_id}/{connection.platform}")


def revoke_tokens(connection: Connection) -> jobs_service_pb2.SubmitJobRequest:
    """Return the submit of a job that revokes the tokens set aside of this generation; at most one at a time."""
    generation = f"{connection.user_id}/{connection.platform}/{connection.generation}"
    return _for_system(REVOKE_TOKENS, connection, f"{REVOKE_TOKENS}:{generation}")


def of_system_payload(payload: Mapping[str, Any]) -> tuple[UUID, str, int]:
    """Read user, platform and generation from the payload of a job of the system. Raises ValueError."""
    (user_id, platform), generation = updates.read_payload(storage.CONNECTIONS, str(payload.get("user_id")), payload)
    return user_id, platform, generation


def _for_system(kind: str, connection: Connection, unique_key: str) -> jobs_service_pb2.SubmitJobRequest:
    payload = {"user_id": str(connection.user_id), **updates.payload(storage.CONNECTIONS, connection)}
    return worker.new_job(kind, payload, unique_key=unique_key)
